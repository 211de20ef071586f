"""The operations of a graph that draw random numbers, and numbers in their place."""

import contextlib
import functools
import re
import typing

import keras
import numpy as np
import tensorflow as tf

from keras_floss.utils.private_keras import replaced_operations
from keras_floss.utils.shapes import extent


def _philox(function):
    # The same under XLA and without, and the same however many more follow.
    return functools.partial(function, alg="philox")


def _binomial(shape, seed, dtype, **constants):
    return tf.random.stateless_binomial(shape, seed, output_dtype=dtype, **constants)


# Operations by name, without `Stateless`, `Stateful`, `Random`, `Standard` and the version:
# the function that draws in place of each, and the names of its parameters in both.
KINDS = {
    "Normal": (_philox(tf.random.stateless_normal), {}),
    "TruncatedNormal": (_philox(tf.random.stateless_truncated_normal), {}),
    "Uniform": (_philox(tf.random.stateless_uniform), {}),
    "UniformInt": (
        _philox(tf.random.stateless_uniform),
        {"minval": "minval", "maxval": "maxval"},
    ),
    "Binomial": (_binomial, {"counts": "counts", "probs": "probs"}),
    "Gamma": (tf.random.stateless_gamma, {"alpha": "alpha"}),
    "Poisson": (tf.random.stateless_poisson, {"rate": "lam", "lam": "lam"}),
}
OTHERS = {
    "Multinomial",
    "NonDeterministicInts",
    "ParameterizedTruncatedNormal",
    "Shuffle",
    "UniformFullInt",
}
# Moves the state of a `tf.random.Generator` on and returns the state before.
GENERATOR = "RngReadAndSkip"


class CannotReplace(Exception):
    """Why the numbers that an operation draws cannot be drawn elsewhere."""


class Draw(typing.NamedTuple):
    """What an operation draws at a step.

    Attributes:
        shape: of the numbers, 1 in place of the batch.
        axis: that of the batch; None for numbers that all sequences share.
        dtype: of the numbers.
        seed: a constant with which it draws the same numbers at each step, or None.
        function: what draws in place of it, `function(shape, seed, dtype=dtype)`.
    """

    shape: list
    axis: int | None
    dtype: tf.DType
    seed: np.ndarray | None
    function: typing.Callable

    @property
    def columns(self):
        """How many numbers there are for one sequence."""
        return int(np.prod(self.shape))

    def draw(self, time, batch, seed):
        """Numbers for so many steps, `(batch or 1, time or 1, columns)`."""
        shape = [batch if i == self.axis else n for i, n in enumerate(self.shape)]
        if self.seed is None:
            numbers = self.function((time, *shape), seed, dtype=self.dtype)
        else:
            numbers = self.function(shape, self.seed, dtype=self.dtype)[None]
        if self.axis is None:
            numbers = numbers[None]
        else:
            numbers = keras.ops.moveaxis(numbers, self.axis + 1, 0)
        batch, time = extent(numbers, 0), extent(numbers, 1)
        return tf.reshape(numbers, (batch, time, self.columns))

    def at_step(self, columns):
        """`(batch, columns)` as the operation gives it."""
        numbers = tf.cast(columns, self.dtype)
        if self.axis is None:
            return tf.reshape(numbers[0], self.shape)
        rest = [n for i, n in enumerate(self.shape) if i != self.axis]
        numbers = tf.reshape(numbers, (extent(numbers, 0), *rest))
        return keras.ops.moveaxis(numbers, 0, self.axis)


def draws_in(graph):
    """The operations of a graph, without functions in it, that draw random numbers."""
    return [op for op in graph.get_operations() if _kind(op.type)]


def sources(tensors):
    """The set of the operations that tensors of a graph depend on."""
    found, waiting = set(), [x.op for x in tensors]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting.extend(x.op for x in op.inputs)
    return found


def functions_draw(operations):
    """Whether a function that is called (a loop or a branch, too) draws random numbers."""
    for op in operations:
        if any(x.func.name or x.list.func for x in op.node_def.attr.values()):
            functions = op.graph.as_graph_def().library.function
            return any(_kind(node.op) for f in functions for node in f.node_def)
    return False


def depend_on_draws(tensors):
    """Whether tensors of a graph depend on random numbers that are drawn in it."""
    operations = sources(tensors)
    return any(_kind(op.type) for op in operations) or functions_draw(operations)


def as_draw(op, larger, largest):
    """The `Draw` of an operation.

    Args:
        op: the operation in a trace with a batch of 2, and
        larger: in one with a batch of 3.
        largest: the largest integer that may be drawn.
    """
    kind = _kind(op.type)
    if kind not in KINDS:
        raise CannotReplace(f"by {op.type}")
    function, parameters = KINDS[kind]
    constants, seed = {}, None
    for place, x in zip(op.op_def.input_arg, op.inputs, strict=True):
        if place.name in parameters:
            while x.op.type == "BroadcastTo":
                x = x.op.inputs[0]
            value = tf.get_static_value(x)
            if value is None or np.ptp(value):
                raise CannotReplace(f"by {op.type} with parameters that are not constant")
            constants[parameters[place.name]] = np.ravel(value)[0]
        elif place.name in ("seed", "key"):
            seed = _constant_seed(x)
    if constants:
        function = functools.partial(function, **constants)
    (numbers,), (others,) = op.outputs, larger.outputs
    if numbers.dtype.is_integer and max(map(abs, constants.values())) > largest:
        raise CannotReplace(f"by {op.type} of integers beyond {largest}")
    shape, axis = _batch_axis(op.type, numbers.shape, others.shape)
    return Draw(shape, axis, numbers.dtype, seed, function)


def _kind(operation):
    """What an operation draws, or None."""
    kind = re.sub(r"^(Stateless|Stateful)?(Random)?(Standard)?|V\d$", "", operation)
    return kind if kind in KINDS.keys() | OTHERS else None


def _batch_axis(operation, two, three):
    """A shape with 1 for the batch, and its axis, given the shapes for 2 and for 3."""
    if not (two.is_fully_defined() and three.is_fully_defined()):
        raise CannotReplace(f"by {operation} of a shape that is not known")
    differ = [i for i, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if differ and [(two[i], three[i]) for i in differ] != [(2, 3)]:
        raise CannotReplace(f"by {operation} of a shape in which the batch is no axis")
    axis = differ[0] if differ else None
    return [1 if i == axis else n for i, n in enumerate(two)], axis


def _constant_seed(seed):
    """A seed that is the same at every step, or None where it is another each time."""
    if seed.op.type == "StatelessRandomGetKeyCounter":
        seed = seed.op.inputs[0]
    given = [op for op in sources([seed]) if op.type == "Placeholder"]
    # A variable is taken for that of a generator, which moves on.
    if any(op.outputs[0].dtype == tf.resource for op in given):
        return None
    if given:
        raise CannotReplace("by a seed that is no constant and no generator's")
    # Made of constants alone, so it has a value.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(seed.graph.as_graph_def(), name="")
        return session.run(seed.name)


@contextlib.contextmanager
def replaced(numbers):
    """A block in a graph, in which operations give these numbers instead of drawing.

    Args:
        numbers: for each operation that draws, in order, a tensor of the graph, or None
            where it may draw.
    """
    numbers = list(numbers)
    drawn = []

    def replace(kind):
        if _kind(kind):
            drawn.append(kind)
            return numbers[min(len(drawn), len(numbers)) - 1]
        return tf.zeros(3, tf.int64) if kind == GENERATOR else None

    with replaced_operations(replace):
        yield
    if len(drawn) != len(numbers):
        raise RuntimeError(
            f"A step that is traced again must draw random numbers as often as before, "
            f"{len(numbers)} times, and keep none of them. It drew {len(drawn)} times "
            f"(TensorFlow {tf.__version__})."
        )
