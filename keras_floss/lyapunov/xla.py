"""The gradient of an XLA operation that TensorFlow does not have.

Under XLA the gradient of a slice is an `XlaDynamicUpdateSlice`, and TensorFlow has no
gradient for that. Cells that concatenate, split or slice (LSTM-like ones) meet it,
because the tangent of a cell is a derivative of its derivative.
"""

import contextlib

import tensorflow as tf


def _gradient(op, grad):
    _, update, begin = op.inputs
    size = tf.shape(update)
    d_update = tf.slice(grad, begin, size)
    # To the operand goes what the update does not cover.
    covered = tf.ones((), tf.bool)
    for axis, length in enumerate(grad.shape):
        place = tf.range(length) - begin[axis]
        inside = (place >= 0) & (place < size[axis])
        covered &= tf.reshape(inside, [-1] + [1] * (grad.shape.rank - 1 - axis))
    return tf.where(covered, tf.zeros_like(grad), grad), d_update, None


# KeyError: a TensorFlow that has it, or another library that registered it first.
with contextlib.suppress(KeyError):
    tf.RegisterGradient("XlaDynamicUpdateSlice")(_gradient)
