"""Any Keras recurrent cell as one map on its state.

A cell computes `s_t = F(x_t, s_{t-1})`. The state is *all* states side by side
(LSTM: h and c; stacked cells: those of every cell), here kept as a flat list of
`(batch, d_i)` tensors with `D = Σ d_i`. `CellMap` is that map as a pure
function: the weights come in as tensors, dropout is off, the arithmetic is float32 or
float64 whatever the dtype policy of the layer, and the activations of Keras's cells keep
the precision of their derivatives where they saturate.
"""

import contextlib
import inspect
import math
import numbers

import keras
import tensorflow as tf

from keras_floss.recurrent.activations import PRECISE
from keras_floss.recurrent.draws import depend_on_draws
from keras_floss.recurrent.output_map import Output, size_of
from keras_floss.utils.custom_gradient import tie_gradients
from keras_floss.utils.private_keras import all_layers
from keras_floss.utils.shapes import reshape_rows

ACTIVATIONS = ("activation", "recurrent_activation")
VECTORIZED = {
    keras.layers.SimpleRNNCell,
    keras.layers.GRUCell,
    keras.layers.LSTMCell,
    keras.layers.StackedRNNCells,
}


class CellMap:
    """A built cell as the map `(x_t, s_{t-1}, weights) ↦ (y_t, s_t)`.

    Attributes:
        dim: D, the number of state variables of one sequence.
        sizes: `d_i`, the sizes of the single states, and
        shapes: their shapes for the cell, which flat vectors stand for here.
        dtype: `"float64"` where the weights are float64, else `"float32"`.
        variables: the variables that a step depends on, after `trace`. (An initial
            state that is trained is a weight of the cell, but not of the map.)
        noisy: a step draws random numbers, after `trace`.
        output: an `Output`, what there is to know of that; after `trace`.
        columns, seen, most: what an `OutputMap` has, for the state itself.
        vectorizes: its derivatives may go through `tf.vectorized_map`.
    """

    columns, seen = None, "state"

    def __init__(self, cell, name=None):
        self.cell = cell
        self.name = name or getattr(cell, "name", type(cell).__name__)
        size = cell.state_size
        # Keras's RNN hands the states over as a list even if there is only one.
        self._structure = size if keras.tree.is_nested(size) else [size]
        sizes = keras.tree.flatten(self._structure)
        if not all(isinstance(d, numbers.Integral) and d > 0 for d in sizes):
            raise ValueError(
                f"`state_size` of `{self.name}` must hold positive integers. Received: "
                f"{size}"
            )
        self.shapes = [(int(d),) for d in sizes]
        if keras.tree.is_nested(size) and hasattr(cell, "get_initial_state"):
            # A tuple is the shape of a matrix or the sizes of several vectors: see which.
            with keras.StatelessScope():
                start = cell.get_initial_state(batch_size=1)
            self._structure = start if keras.tree.is_nested(start) else [start]
            self.shapes = [tuple(s.shape[1:]) for s in keras.tree.flatten(start)]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.dim = self.most = sum(self.sizes)
        self._weights = [
            v
            for v in getattr(cell, "variables", [])
            if keras.backend.is_float_dtype(v.dtype)
        ]
        # Keras gives stacked cells its default policy, whatever that of the cells in them.
        dtypes = [v.dtype for v in self._weights] or [
            getattr(cell, "variable_dtype", "float32")
        ]
        half = {"float16", "bfloat16"}.intersection(dtypes)
        if half:
            raise ValueError(
                f"The weights of `{self.name}` must be float32 or float64. Received: "
                f'{half.pop()}. A dtype policy such as "mixed_float16" computes in half '
                "precision and keeps float32 weights."
            )
        self.dtype = "float64" if "float64" in dtypes else "float32"
        call = cell.call if hasattr(cell, "call") else cell
        self._call = cell if callable(cell) else call
        takes_training = "training" in inspect.signature(call).parameters
        self._kwargs = {"training": False} if takes_training else {}
        layers = self._layers()
        self.vectorizes = bool(layers) and all(map(_vectorizes, layers))
        self.variables = self.noisy = self.output = None

    def trace(self, inputs):
        """Finds out what a step on such inputs, `(batch, ..., features)`, depends on."""
        features = inputs.shape[-1]

        def step():
            values = [tf.zeros(v.shape, v.dtype) for v in self._weights]
            states = [tf.zeros((1, d), self.dtype) for d in self.sizes]
            with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                tape.watch(values)
                scope = keras.StatelessScope(zip(self._weights, values, strict=True))
                with scope, self.precision():
                    output, new = self._run(tf.zeros((1, features), self.dtype), states)
            self.noisy = depend_on_draws(new)
            self.variables = self._used(tape.gradient(new, values))
            place = next((i for i, s in enumerate(new) if output is s), None)
            if place is None:
                both = [*new, *keras.tree.flatten(output)]
                used, noisy = self._used(tape.gradient(both, values)), depend_on_draws(both)
            else:
                used, noisy = self.variables, self.noisy
            self.output = Output(
                place, len(new) == 1 and place == 0, size_of(output), used, noisy
            )

        tf.function(step, autograph=False).get_concrete_function()
        return self

    def _used(self, gradients):
        """The weights that have a gradient."""
        pairs = zip(self._weights, gradients, strict=True)
        return [v for v, g in pairs if g is not None]

    def values(self):
        """The weights of the map as tensors, read once and differentiable."""
        return [tf.convert_to_tensor(v.value) for v in self.variables]

    def __call__(self, inputs, states, values):
        """One step: `(output, states)`. The output may be a state, or a structure.

        Args:
            inputs: `(batch, features)`.
            states: list of `(batch, d_i)`, and so are the new ones.
            values: list of tensors in place of `variables`.
        """
        scope = keras.StatelessScope(zip(self.variables, values, strict=True))
        with scope, self.precision():
            return self._run(inputs, states)

    def _run(self, inputs, states):
        shaped = list(map(reshape_rows, states, self.shapes))
        shaped = keras.tree.pack_sequence_as(self._structure, shaped)
        try:
            output, states = self._call(inputs, shaped, **self._kwargs)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"The cell of `{self.name}` must return `(output, states)` when it is "
                "called on its own, as `cell(inputs, states)`. What a layer hands to its "
                "cell besides (attention, constants) is not supported: concatenate it to "
                f"the inputs of each step. What failed: {error}"
            ) from error
        tie_gradients()
        states = keras.tree.flatten(states)
        if len(states) != len(self.sizes) or not all(
            tf.is_tensor(s) and s.shape[1:].is_compatible_with(shape)
            for s, shape in zip(states, self.shapes, strict=True)
        ):
            raise ValueError(
                f"The cell of `{self.name}` must return its states as tensors of shape "
                f"(batch, *size), with the sizes {self.shapes}. Received: {states}"
            )
        new = [
            reshape_rows(tf.cast(s, self.dtype), (size,))
            for s, size in zip(states, self.sizes, strict=True)
        ]
        for state, cast in zip(states, new, strict=True):
            if output is state:
                return cast, new
        return keras.tree.map_structure(lambda y: tf.cast(y, self.dtype), output), new

    @contextlib.contextmanager
    def precision(self):
        """For the length of the block the cell computes in `dtype`, sublayers too."""
        # `cell(x, s)` would run in half precision under a mixed policy, and
        # stacked cells re-enter it for each of their cells.
        with contextlib.ExitStack() as restored:

            def change(layer, name, value):
                restored.callback(setattr, layer, name, getattr(layer, name))
                setattr(layer, name, value)

            for layer in self._layers():
                if layer.dtype_policy.compute_dtype != self.dtype:
                    change(layer, "dtype_policy", keras.DTypePolicy(self.dtype))
                for name in ACTIVATIONS:
                    function = getattr(layer, name, None)
                    if callable(function) and function in PRECISE:
                        change(layer, name, PRECISE[function])
            yield

    def _layers(self):
        """The cell and its sublayers, where it is a Keras layer."""
        return all_layers(self.cell) if isinstance(self.cell, keras.Layer) else []


def _vectorizes(layer):
    """Whether TensorFlow is known to vectorise the derivatives of a cell rightly.

    Not of any cell: of `tf.roll` over the last axis, given as −1, it makes a roll over
    tangents, and some operations it cannot do. A class says so of itself by
    `vectorize_tangents = True`, which its subclasses do not inherit.
    """
    kind = type(layer)
    functions = [getattr(layer, name, None) for name in ACTIVATIONS]
    of_keras = [
        f is None or f is getattr(keras.activations, getattr(f, "__name__", ""), None)
        for f in functions
    ]
    known = kind in VECTORIZED or vars(kind).get("vectorize_tangents", False)
    return known and all(of_keras)
