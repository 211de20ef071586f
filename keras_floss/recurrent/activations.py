"""Activations in a form whose derivatives can be trusted.

TensorFlow computes tanh'(x) as 1 − y² from the rounded value y: in float32 that has no
correct digit from |x| ≈ 8 on, and is 0 a little later. The formulas here,

    tanh'(x) = 4 σ(2x) σ(−2x),    σ'(x) = σ(x) σ(−x)

are right to rounding until they underflow, at |x| ≈ 43 and 87 in float32. Of its own
softsign TensorFlow has no second derivative, which the tangents take.
"""

import keras
import tensorflow as tf

from keras_floss.utils.custom_gradient import custom_gradient


@custom_gradient
def tanh(x):
    """tanh, with TensorFlow's value."""
    return tf.tanh(x), lambda d: 4.0 * d * tf.sigmoid(2.0 * x) * tf.sigmoid(-2.0 * x)


@custom_gradient
def sigmoid(x):
    """The logistic function, with TensorFlow's value."""
    return tf.sigmoid(x), lambda d: d * tf.sigmoid(x) * tf.sigmoid(-x)


def softsign(x):
    """x / (1 + |x|)."""
    return x / (1.0 + tf.abs(x))


PRECISE = {
    keras.activations.tanh: tanh,
    keras.ops.tanh: tanh,
    tf.tanh: tanh,
    keras.activations.sigmoid: sigmoid,
    keras.ops.sigmoid: sigmoid,
    tf.sigmoid: sigmoid,
    keras.activations.softsign: softsign,
    keras.ops.softsign: softsign,
    tf.nn.softsign: softsign,
}
