"""Which directions of a frame are lost: nothing is left of their tangent but rounding.

A tangent z = J q is known to `eps · |J||q|`, component by component: rounding is relative
to what is added up in a component, however small that is beside the other components
(slopes of saturated units) or the other tangents. To that comes the rounding of the QR,
relative to the same component of the tangents before it, all scaled to one length. What is
left of a tangent once those before it are taken out is noise where no component of it is
larger than both.
"""

import numpy as np
import tensorflow as tf

from keras_floss.utils.precision import eps
from keras_floss.utils.xla import diagonal

# So many roundings noise stays below: it is a sum of several.
NOISE = 8.0


def well_conditioned(tangents, inverse):
    """Whether R is right to a tenth and better, so that no direction can be lost.

    The arguments are those of `lost_rank`.
    """
    size, largest = (tf.reduce_max(tf.abs(x), axis=(-2, -1)) for x in (tangents, inverse))
    # NaN is not less than anything.
    return tf.reduce_all(size * largest < condition_limit(tangents))


def condition_limit(tangents):
    """Up to this condition number R is right to a tenth and better."""
    return 0.1 / (tangents.shape[-1] * eps(tangents.dtype))


def rank_is_safe(left, length, dim):
    """Whether no direction can be lost, each alone: more of it is left than there is noise.

    Both terms of `lost_rank` are at most the square root of k, as the rows of `before` and
    the columns of `tangents / largest` are no longer; and of a row of the frame, a unit
    vector, one component is at least 1 / √D.

    Args:
        left: `(batch, k)`, squares of what is left of each tangent: those of R_ii.
        length: `(batch, k)`, squares of the lengths of the tangents.
        dim: D.
    """
    most = 2 * NOISE * eps(left.dtype) * np.sqrt(left.shape[-1] * dim)
    return left > most**2 * tf.reduce_max(length, axis=-1, keepdims=True)


def lost_rank(tangents, before, frame, inverse):
    """Which directions are lost, `(batch, k)` booleans.

    Without this rule their exponents would be the logarithm of noise, with a gradient of
    1e7.

    Args:
        tangents: `(batch, k, D)`, what went into a QR.
        before: `(batch, k, D)`, the orthonormal frame that they were made of.
        frame: `(batch, k, D)`, and
        inverse: `(batch, k, k)`, what came out of the QR.
    """
    length = size_of(tangents)
    largest = tf.reduce_max(length, axis=-2, keepdims=True)
    # J, as far as the frame sees it.
    jacobian = tf.matmul(tangents / largest, before, transpose_a=True)
    made = tf.matmul(tf.abs(before), tf.abs(jacobian), transpose_b=True)
    taken_out = tf.sqrt(tf.cumsum((tangents / length) ** 2, axis=-2)) * length / largest
    rounding = NOISE * eps(tangents.dtype) * (made + taken_out)
    stretch = diagonal(inverse)[..., None] * largest
    gone = tf.equal(stretch, 0)
    left = tf.abs(frame / tf.where(gone, tf.ones_like(stretch), stretch))
    # An R⁻ᵀ past what the type holds, unless there is ∞ or NaN to begin with.
    finite = tf.reduce_all(tf.math.is_finite(tangents), axis=(-2, -1))[:, None]
    too_large = finite & ~tf.reduce_all(tf.math.is_finite(inverse), axis=-1)
    return gone[..., 0] | too_large | tf.reduce_all(left <= rounding, axis=-1)


def size_of(tangents):
    """The largest component of each, `(batch, k, 1)`, or 1 where all are 0."""
    size = tf.reduce_max(tf.abs(tangents), axis=-1, keepdims=True)
    return tf.where(size > 0, size, tf.ones_like(size))
