"""The flossing loss."""

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
        A scalar. Collapsed directions (−∞) are left out. A NaN in the exponents is a
        NaN in the loss.
    """
    collapsed = tf.math.is_inf(exponents) & (exponents < 0)
    used = ~collapsed & (counted > 0)[:, None]
    # Inside and outside of the square: `where` alone would leave 0·∞ in the gradient.
    distance = tf.where(used, exponents, 0.0) - target
    square = tf.where(used, distance**2, 0.0)
    number = tf.reduce_sum(tf.cast(used, square.dtype))
    return tf.reduce_sum(square) / tf.maximum(number, 1.0)
