"""A plain function as a map on its state."""

import inspect
import numbers

import keras
import numpy as np
import tensorflow as tf

from keras_floss.recurrent.draws import depend_on_draws
from keras_floss.recurrent.output_map import Output
from keras_floss.utils.shapes import extent

# Operations whose derivatives TensorFlow is known to vectorise rightly (not all are, see
# `CellMap`): what networks are made of, as functions.
VECTORIZED = {
    *("Placeholder", "Const", "Identity", "ReadVariableOp", "NoOp"),
    *("MatMul", "BiasAdd", "AddV2", "Sub", "Mul", "RealDiv", "Neg", "Square", "Pow"),
    *("Tanh", "Sigmoid", "Relu", "Softplus", "Exp", "Sin", "Cos"),
}


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

    noisy = columns = None
    seen = "state"
    variables = ()
    vectorizes = False

    def __init__(self, step, name, states, features):
        self.name = name
        self.step = step
        self._structure = keras.tree.map_structure(lambda _: 0, states)
        shapes = [s.shape for s in keras.tree.flatten(states)]
        if not shapes or any(s.rank != 2 or not s[1] for s in shapes):
            raise ValueError(
                f"The initial state of `{self.name}` must be of shape (batch, size), or "
                f"several such. Received shapes: {[tuple(s) for s in shapes]}"
            )
        self.sizes = [s[1] for s in shapes]
        self.shapes = [(d,) for d in self.sizes]
        self.dim = self.most = sum(self.sizes)
        dtypes = [s.dtype for s in keras.tree.flatten(states)]
        self.dtype = "float64" if tf.float64 in dtypes else "float32"
        self._driven = features > 0
        _check_arguments(step, name, self._driven)

    def trace(self, inputs):
        """Finds out whether it is `noisy` and `vectorizes`; else as that of a `CellMap`."""
        sizes = inputs.shape[-1], *self.sizes
        specs = [tf.TensorSpec((inputs.shape[0], d), self.dtype) for d in sizes]

        def step(inputs, *states):
            return self(inputs, states, ())[1]

        traced = tf.function(step, autograph=False).get_concrete_function(*specs)
        self.noisy = depend_on_draws(traced.graph.outputs)
        self.vectorizes = _vectorizes(traced.graph)
        self.output = Output(0, len(self.sizes) == 1, self.sizes[0], (), self.noisy)
        return self

    def values(self):
        """No weights."""
        return []

    def __call__(self, inputs, states, values):
        """One step, as that of a `CellMap`; the output is the first state."""
        state = keras.tree.pack_sequence_as(self._structure, states)
        new = self.step(state, inputs) if self._driven else self.step(state)
        try:
            keras.tree.assert_same_structure(self._structure, new)
        except ValueError as error:
            raise ValueError(
                f"`{self.name}` must return a new state that looks like the old one. "
                f"Received: {new!r}"
            ) from error
        new = [tf.convert_to_tensor(s) for s in keras.tree.flatten(new)]
        for size, s in zip(self.sizes, new, strict=True):
            if not s.shape.is_compatible_with((inputs.shape[0], size)):
                raise ValueError(
                    f"`{self.name}` must return a new state of the shape of the old one, "
                    f"(batch, {size}); here the batch is {inputs.shape[0]}. "
                    f"Received shape: {s.shape}"
                )
        new = [tf.cast(s, self.dtype) for s in new]
        return new[0], new


def _vectorizes(graph):
    """Whether the derivatives of what a graph computes may go through `vectorized_map`."""
    known = all(op.type in VECTORIZED for op in graph.get_operations())
    # A tensor of a program around it could not be read where tangents are traced.
    return known and all(hasattr(tensor, "numpy") for tensor, _ in graph.captures)


def function_inputs(step, inputs, initial_state):
    """Inputs and initial state of a plain function as tensors.

    A number of steps becomes inputs with no features.
    """
    if initial_state is None or not keras.tree.flatten(initial_state):
        raise ValueError(
            "A plain function needs an `initial_state`, of shape (batch, size). "
            f"Received initial_state={initial_state} with: {step!r}"
        )
    initial_state = _as_state(initial_state)
    if inputs is None or np.isscalar(inputs):
        whole = isinstance(inputs, numbers.Integral) and not isinstance(inputs, bool)
        if not whole or inputs < 1:
            raise ValueError(
                "`inputs` of a plain function must be of shape (batch, time, features), "
                f"or a number of steps, an integer of at least 1. Received: {inputs!r}"
            )
        first = keras.tree.flatten(initial_state)[0]
        batch = extent(first, 0) if first.shape.rank else 1
        inputs = tf.zeros((batch, int(inputs), 0))
    return inputs, initial_state


def _as_state(state):
    """A state as tensors, where [[0.1, 0.1]] is one and no structure of numbers."""
    if isinstance(state, dict):
        return {name: _as_state(value) for name, value in state.items()}
    if not tf.is_tensor(state) and all(map(np.isscalar, keras.tree.flatten(state))):
        return tf.convert_to_tensor(state)
    return keras.tree.map_structure(tf.convert_to_tensor, state)


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
