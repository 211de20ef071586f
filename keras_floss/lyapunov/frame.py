"""Orthonormal frames of tangents: the first one, QR, and the adjoint of QR.

A frame is kept as rows, `(batch, k, D)`: row i is the i-th tangent. In the formulas
of the module `tangent` the tangents are columns.
"""

import numpy as np
import tensorflow as tf


def initial_frame(k, dim, seed=0):
    """k random orthonormal tangents, `(k, dim)` float64, the same for the same seed.

    The first of them do not depend on k, so that the exponents of a short frame are
    the first ones of the full frame.
    """
    gaussian = np.random.default_rng(seed).standard_normal((k, dim))
    return np.ascontiguousarray(np.linalg.qr(gaussian.T)[0].T)


def orthonormalise(tangents):
    """`(frame, R)` with tangents = Rᵀ·frame in rows; R is upper triangular."""
    # TensorFlow's QR squares without scaling: in float32 tangents of 1e-20 would count
    # as zero, and those of 1e20 as infinite.
    size = tf.reduce_max(tf.abs(tangents), axis=(-2, -1), keepdims=True)
    size = tf.where(size > 0, size, tf.ones_like(size))
    q, r = tf.linalg.qr(tf.linalg.matrix_transpose(tangents / size))
    return tf.linalg.matrix_transpose(q), r * size


def log_stretch(r, dim):
    """`(log|R_ii|, lost)`, both `(batch, k)`; the logarithm is 0 where rank was lost."""
    size = tf.abs(tf.linalg.diag_part(r))
    lost = lost_rank(r, dim)
    return tf.math.log(tf.where(lost, tf.ones_like(size), size)), lost


def lost_rank(r, dim):
    """Directions whose tangent collapsed, `(batch, k)` booleans.

    At or below `D · eps · max|R_jj|` the diagonal holds rounding noise only, and its
    logarithm would be noise with a gradient of 1e7.
    """
    size = tf.abs(tf.linalg.diag_part(r))
    noise = dim * np.finfo(r.dtype.as_numpy_dtype).eps
    return size <= noise * tf.reduce_max(size, axis=-1, keepdims=True)


def qr_adjoint(frame, r, lost, d_frame, d_log):
    """The cotangent of the tangents that went into a QR.

    Args:
        frame: `(batch, k, D)`, what came out of the QR.
        r: `(batch, k, k)`.
        lost: `(batch, k)`, directions whose tangent collapsed. They have no gradient:
            their rows and columns are taken out of the triangular system.
        d_frame: the cotangent of `frame`.
        d_log: `(batch, k)`, the cotangent of `log|R_ii|`, 0 where lost.

    Returns:
        `(batch, k, D)`.
    """
    zero = tf.zeros((), r.dtype)
    lost = lost[..., None]
    d_frame = tf.where(lost, zero, d_frame)
    m = tf.linalg.diag(d_log) - tf.matmul(d_frame, frame, transpose_b=True)
    below = np.tri(r.shape[-1], dtype=bool)
    symmetric = tf.where(below, m, tf.linalg.matrix_transpose(m))
    right = d_frame + tf.matmul(symmetric, frame)
    identity = tf.eye(r.shape[-1], dtype=r.dtype)
    return tf.linalg.triangular_solve(
        tf.where(lost, identity, r), tf.where(lost, zero, right), lower=False
    )
