"""A plain function as a map on its state."""

import inspect
import numbers

import keras
import numpy as np
import tensorflow as tf

from keras_floss.lyapunov.schedule import extent


def is_function(step):
    """Whether `step` is a plain function, and no layer, cell or class."""
    layer = isinstance(step, keras.Layer) or hasattr(step, "state_size")
    return callable(step) and not layer and not inspect.isclass(step)


class FunctionMap:
    """`step(state, x)`, or `step(state)`, as the map `(x_t, s_{t-1}) ↦ s_t`.

    It looks like a `CellMap`. Variables that the function uses are not among its
    weights; TensorFlow finds them.

    Args:
        step: the function. It takes a state that looks like the initial one, and the
            input `(batch, features)` where there are features, and returns the new
            state. Every row of the batch must be on its own.
        name: of the function, for errors.
        states: the initial state, a tensor `(batch, d)` or a structure of them.
        features: number of input features.
    """

    variables = ()

    def __init__(self, step, name, states, features):
        self.name = name
        self.step = step
        self._structure = keras.tree.map_structure(lambda _: None, states)
        shapes = [s.shape for s in keras.tree.flatten(states)]
        if not shapes or any(s.rank != 2 or not s[1] for s in shapes):
            raise ValueError(
                f"The initial state of `{self.name}` must be of shape (batch, size), or "
                f"several such. Received shapes: {[tuple(s) for s in shapes]}"
            )
        self.sizes = [s[1] for s in shapes]
        self.dim = sum(self.sizes)
        dtypes = [s.dtype for s in keras.tree.flatten(states)]
        self.dtype = "float64" if tf.float64 in dtypes else "float32"
        self._driven = features > 0
        _check_arguments(step, name, self._driven)

    def values(self):
        """No weights."""
        return []

    def __call__(self, inputs, states, values):
        """One step: inputs `(batch, features)`, states and result `(batch, d_i)`."""
        state = keras.tree.pack_sequence_as(self._structure, states)
        new = self.step(state, inputs) if self._driven else self.step(state)
        new = [tf.convert_to_tensor(s) for s in keras.tree.flatten(new)]
        shapes, wanted = [s.shape for s in new], [s.shape for s in states]
        if len(new) != len(wanted) or not all(
            map(tf.TensorShape.is_compatible_with, shapes, wanted)
        ):
            raise ValueError(
                f"`{self.name}` must return a new state of the shape of the old one: "
                f"{[tuple(s) for s in wanted]}. Received: {[tuple(s) for s in shapes]}"
            )
        return [tf.cast(s, self.dtype) for s in new]


def function_inputs(step, inputs, initial_state):
    """Inputs and initial state of a plain function as tensors.

    A number of steps becomes inputs with no features.
    """
    if initial_state is None:
        raise ValueError(
            "A plain function wants an `initial_state`, of shape (batch, size). "
            f"Received initial_state=None with: {step!r}"
        )
    if all(np.isscalar(x) for x in keras.tree.flatten(initial_state)):
        # [[0.1, 0.1]] is one state and no structure of numbers.
        initial_state = tf.convert_to_tensor(initial_state)
    initial_state = keras.tree.map_structure(tf.convert_to_tensor, initial_state)
    if isinstance(inputs, numbers.Integral) and not isinstance(inputs, bool):
        if inputs < 1:
            raise ValueError(
                f"`inputs`, the number of steps, must be at least 1. Received: {inputs}"
            )
        first = keras.tree.flatten(initial_state)[0]
        batch = extent(first, 0) if first.shape.rank else 1
        inputs = tf.zeros((batch, int(inputs), 0))
    return inputs, initial_state


def _check_arguments(step, name, driven):
    try:
        signature = inspect.signature(step)
    except ValueError:  # of a function written in C
        return
    arguments = ["state", "x"] if driven else ["state"]
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise ValueError(
            f"`{name}` is called as {name}({', '.join(arguments)}), with x where the "
            "inputs have features and without it where `inputs` is a number of steps. "
            f"Received a function of arguments {signature}"
        ) from error
