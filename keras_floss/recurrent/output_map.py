"""What a read-out sees of a state: the output of a cell, at the end of a sequence.

Exponents are stretches of tangents of the state. What comes after a layer sees its output
alone: of an LSTM h, and c only by way of h. Where a sequence ends, a tangent is therefore
looked at in the output instead. Its frame has a column for each state variable, and, where
the output is none of the states, for each variable of the output; which of them are kept is
a matter of the step.
"""

import copy
import typing

import keras
import numpy as np
import tensorflow as tf

from keras_floss.utils.checks import check_choice
from keras_floss.utils.shapes import extent

Seen: typing.TypeAlias = typing.Literal["state", "output"]


class Output(typing.NamedTuple):
    """What there is to know of the output of a map.

    Attributes:
        place: which of the states it is, by number; None: it is none of them.
        is_all: it is the only state.
        size: the number of its variables; None: not known.
        variables: the TensorFlow or Keras variables that states and output depend on.
        noisy: either of them depends on random numbers.
    """

    place: int | None
    is_all: bool
    size: int | None
    variables: typing.Sequence
    noisy: bool


def check_seen(of: str, *others: str) -> None:
    """Raises ValueError unless `of` is a `Seen`, or one of others."""
    check_choice("of", of, (*others, "state", "output"))


def seen_in(trajectory, of):
    """A `Trajectory` whose map is `seen_as` that."""
    step = seen_as(trajectory.map, of)
    batch = extent(trajectory.inputs, 0)
    more = [tf.zeros((batch, d), step.dtype) for d in step.sizes[len(trajectory.states) :]]
    return trajectory._replace(map=step, states=[*trajectory.states, *more])


def seen_as(step, of):
    """A map whose exponents are those of the state, or as the output has them.

    Args:
        step: a `CellMap` or a `FunctionMap`, after `trace`.
        of: `"state"`, `"output"`, or `"auto"`: the output where it is not the whole state.
    """
    return step if of == "state" or step.output.is_all else OutputMap(step)


class OutputMap:
    """A map whose tangents are looked at in its output at the end of a sequence.

    It looks like the `CellMap` or the `FunctionMap` that it is made of, after `trace`. An
    output that is none of the states becomes a further one, on which no step depends.

    Attributes:
        columns: which variables of all states a tangent is looked at in, NumPy booleans:
            after each step but the last, and after that.
        seen: what they are then those of.
        most: the number of exponents there are.
    """

    seen = "output"

    def __init__(self, step):
        place, size = step.output.place, step.output.size
        if size is None:
            raise ValueError(
                f"The output of the cell of `{step.name}` must have a size that is known "
                "while it is traced, to be looked at in place of the state."
            )
        if place is None:
            # With what only the output depends on.
            step = copy.copy(step)
            step.variables, step.noisy = step.output.variables, step.output.noisy
        self._step, self.cell = step, getattr(step, "cell", None)
        self.name, self.dtype, self.dim = step.name, step.dtype, step.dim
        self.variables, self.values = step.variables, step.values
        self.noisy, self.vectorizes = step.noisy, step.vectorizes
        self.sizes = step.sizes if place is not None else [*step.sizes, size]
        number = np.repeat(np.arange(len(self.sizes)), self.sizes)
        seen = len(self.sizes) - 1 if place is None else place
        self.columns = number < len(step.sizes), number == seen
        self.most = min(size, step.dim)

    def __call__(self, inputs, states, values):
        """One step, as that of the map."""
        output, new = self._step(inputs, states[: len(self._step.sizes)], values)
        if len(new) < len(self.sizes):
            new = [*new, flat_output(output)]
        return output, new


def size_of(output):
    """The number of variables of an output, None where it is not known."""
    sizes = [y.shape[1:].num_elements() for y in keras.tree.flatten(output)]
    return None if None in sizes else sum(sizes)


def flat_output(output):
    """An output, which may be a structure of tensors of any shape, as `(batch, size)`."""
    parts = keras.tree.flatten(output)
    parts = [tf.reshape(y, (extent(y, 0), y.shape[1:].num_elements())) for y in parts]
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
