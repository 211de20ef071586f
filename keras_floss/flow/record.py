"""What a forward sweep leaves for the backward sweep, and the arrays that it grows in."""

import typing

import tensorflow as tf

from keras_floss.utils.shapes import extent
from keras_floss.utils.xla import diagonal


class Record(typing.NamedTuple):
    """What the forward sweep leaves for the backward sweep.

    Attributes:
        states: list of `(time, batch, d_i)`, before each step.
        frames: `(time, batch, k, D)`, before each step.
        inverses: `(time, batch, k, k)`, R⁻ᵀ of each step (the identity without QR).
        diagonals: `(time, batch, k)`, the diagonals of `inverses`: without a backward sweep
            they are all that is wanted of these.
        qr: `(time, batch or 1)` booleans, whether there was a QR.
        last_states: list of `(batch, d_i)`, and
        last_frame: `(batch, k, D)`, after the last step.
        last_origin: `(batch, k, D)`, the frame that the last QR left.
    """

    states: list
    frames: tf.Tensor
    inverses: tf.Tensor
    diagonals: tf.Tensor
    qr: tf.Tensor
    last_states: list
    last_frame: tf.Tensor
    last_origin: tf.Tensor


def array(inputs, *shape):
    """A TensorArray over the steps of `inputs` of `(batch, *shape)`."""
    time = extent(inputs, 0)
    return tf.TensorArray(inputs.dtype, time, element_shape=(inputs.shape[1], *shape))


def arrays(inputs, states, frame):
    """`(before, found)`, TensorArrays of what is before each step, and of each QR."""
    k, dim = frame.shape[1:]
    before = [*(array(inputs, s.shape[-1]) for s in states), array(inputs, k, dim)]
    return before, [array(inputs, k, k), array(inputs, k)]


def write_before(before, t, states, frame):
    """Writes what is before step t."""
    return [a.write(t, x) for a, x in zip(before, [*states, frame], strict=True)]


def write_found(found, t, inverse):
    """Writes what a QR after step t found."""
    values = inverse, diagonal(inverse)
    return [a.write(t, x) for a, x in zip(found, values, strict=True)]


def as_record(before, found, qr, states, frame, origin):
    """The `Record` of arrays that are full, and of what comes last."""
    *past_states, frames = (a.stack() for a in before)
    inverses, diagonals = (a.stack() for a in found)
    return Record(past_states, frames, inverses, diagonals, qr, states, frame, origin)
