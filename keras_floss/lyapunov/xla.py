"""The gradient of an XLA operation that TensorFlow does not have.

Under XLA the gradient of a slice is an `XlaDynamicUpdateSlice`, and TensorFlow has no
gradient for that. Cells that concatenate, split or slice (LSTM-like ones) meet it,
because the tangent of a cell is a derivative of its derivative.
"""

import contextlib

import tensorflow as tf


def _gradient(op, grad):
    operand, update, begin = op.inputs
    d_update = tf.slice(grad, begin, tf.shape(update))
    d_operand = tf.raw_ops.XlaDynamicUpdateSlice(
        input=grad, update=tf.zeros_like(update), indices=begin
    )
    return d_operand, d_update, None


# KeyError: a TensorFlow that has it, or another library that registered it first.
with contextlib.suppress(KeyError):
    tf.RegisterGradient("XlaDynamicUpdateSlice")(_gradient)
