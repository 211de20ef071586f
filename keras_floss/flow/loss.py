"""The flossing loss."""

import numpy as np
import tensorflow as tf


def flossing_loss(exponents, counted, target=0.0):
    """Mean of `(λ_i − target)²` over exponents and sequences.

    Engelken, NeurIPS 2023, eq. 4, with the mean of the released code in place of the
    sum.

    Args:
        exponents: `(batch, k)`.
        counted: `(batch,)`, the number of counted steps. A sequence without any is
            left out.
        target: a number, or `(k,)`.

    Returns:
        A scalar. Lost directions (−∞) are left out; where no direction is left in
        any sequence it is ∞, without gradient. A NaN in the exponents is a NaN in the
        loss.
    """
    measured = (counted > 0)[:, None]
    lost = tf.math.is_inf(exponents) & (exponents < 0)
    used = measured & ~lost
    # Inside and outside of the square: `where` alone would leave 0·∞ in the gradient.
    distance = tf.where(used, exponents, 0.0) - target
    square = tf.where(used, distance**2, 0.0)
    number = tf.reduce_sum(tf.cast(used, square.dtype))
    mean = tf.reduce_sum(square) / tf.maximum(number, 1.0)
    dead = tf.reduce_any(measured) & ~tf.reduce_any(used)
    return tf.where(dead, tf.cast(np.inf, mean.dtype), mean)
