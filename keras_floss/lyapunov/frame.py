"""Orthonormal frames of tangents: the first one, QR, and the adjoint of QR.

A frame is kept as rows, `(batch, k, D)`: row i is the i-th tangent. In the formulas
of the module `tangent` the tangents are columns.
"""

import numpy as np
import tensorflow as tf

from keras_floss.lyapunov.gram_schmidt import diagonal, gram_schmidt
from keras_floss.lyapunov.precision import eps, product_eps
from keras_floss.lyapunov.schedule import extent
from keras_floss.lyapunov.xla import compiled_by_xla


def initial_frame(k, dim, seed=0):
    """k random orthonormal tangents, `(k, dim)` float64, the same for the same seed.

    The first of them do not depend on k, so that the exponents of a short frame are
    the first ones of the full frame.
    """
    gaussian = np.random.default_rng(seed).standard_normal((k, dim))
    return np.ascontiguousarray(np.linalg.qr(gaussian.T)[0].T)


def orthonormalise(tangents, seldom=False):
    """QR of tangents: an orthonormal frame, and R as it is wanted.

    Args:
        tangents: `(batch, k, D)`.
        seldom: whether it is run seldom, so that it is better quickly compiled than fast.

    Returns:
        `(frame, inverse)` with frame = inverse · tangents in rows: `(batch, k, D)`, and
        R⁻ᵀ, `(batch, k, k)`, lower triangular. A direction whose tangent collapsed is
        taken out of R, and its diagonal element of R⁻ᵀ is 0.
    """
    # Gram–Schmidt is made of products, and as precise as they are.
    if compiled_by_xla() and product_eps(tangents.dtype) == eps(tangents.dtype):
        return gram_schmidt(tangents, small=seldom)
    return householder(tangents)


def householder(tangents):
    """`orthonormalise` by TensorFlow's QR."""
    # It squares without scaling: in float32 tangents of 1e-20 would count as zero, and
    # those of 1e20 as infinite.
    size = tf.reduce_max(tf.abs(tangents), axis=(-2, -1), keepdims=True)
    size = tf.where(size > 0, size, tf.ones_like(size))
    q, r = tf.linalg.qr(tf.linalg.matrix_transpose(tangents / size))
    lost = lost_rank(tf.abs(diagonal(r)), tangents.shape[-1])
    identity = tf.eye(r.shape[-1], batch_shape=[extent(r, 0)], dtype=r.dtype)
    r = tf.where(lost[..., None], identity, r)
    inverse = tf.linalg.triangular_solve(r, identity / size, lower=False, adjoint=True)
    kept = tf.where(lost, tf.zeros((), r.dtype), diagonal(inverse))
    inverse = tf.linalg.set_diag(inverse, kept)
    return tf.linalg.matrix_transpose(q), inverse


def lost_rank(size, dim):
    """Directions whose tangent collapsed, `(batch, k)` booleans, given `|R_ii|`.

    At or below `D · eps · max|R_jj|` the diagonal holds rounding noise only, and its
    logarithm would be noise with a gradient of 1e7.
    """
    noise = dim * eps(size.dtype)
    return size <= noise * tf.reduce_max(size, axis=-1, keepdims=True)


def log_stretch(inverse):
    """`(log|R_ii|, lost)`, both `(..., k)`; the logarithm is 0 where rank was lost."""
    size = tf.abs(diagonal(inverse))
    lost = tf.equal(size, 0)
    return -tf.math.log(tf.where(lost, tf.ones_like(size), size)), lost


def qr_adjoint(frame, inverse, d_frame, d_log):
    """The cotangent of the tangents that went into a QR.

    Args:
        frame: `(batch, k, D)`, and
        inverse: `(batch, k, k)`, what came out of the QR.
        d_frame: the cotangent of `frame`.
        d_log: `(batch, k)`, the cotangent of `log|R_ii|`, 0 where rank was lost. Such a
            direction has no gradient.

    Returns:
        `(batch, k, D)`.
    """
    zero = tf.zeros((), inverse.dtype)
    lost = tf.equal(diagonal(inverse), 0)[..., None]
    d_frame = tf.where(lost, zero, d_frame)
    m = tf.linalg.diag(d_log) - tf.matmul(d_frame, frame, transpose_b=True)
    below = np.tri(m.shape[-1], dtype=bool)
    symmetric = tf.where(below, m, tf.linalg.matrix_transpose(m))
    right = d_frame + tf.matmul(symmetric, frame)
    return tf.matmul(inverse, tf.where(lost, zero, right), transpose_a=True)
