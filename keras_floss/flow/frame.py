"""Orthonormal frames of tangents: the first one, QR, and the adjoint of QR.

A frame is kept as rows, `(batch, k, D)`: row i is the i-th tangent. In the formulas
of the module `tangent` the tangents are columns.
"""

import numpy as np
import tensorflow as tf

from keras_floss.flow.gram_schmidt import gram_schmidt
from keras_floss.flow.rank import lost_rank, size_of, well_conditioned
from keras_floss.utils.precision import eps, product_eps
from keras_floss.utils.shapes import extent
from keras_floss.utils.xla import compiled_by_xla, diagonal


def initial_frame(k, dim, seed=0):
    """k random orthonormal tangents, `(k, dim)` float64, the same for the same seed.

    The first of them do not depend on k, so that the exponents of a short frame are
    the first ones of the full frame.
    """
    gaussian = np.random.default_rng(seed).standard_normal((k, dim))
    return np.ascontiguousarray(np.linalg.qr(gaussian.T)[0].T)


def orthonormalise(tangents, before, seldom=False):
    """QR of tangents: an orthonormal frame, and R as it is wanted.

    Args:
        tangents: `(batch, k, D)`.
        before: `(batch, k, D)`, the orthonormal frame that they were made of.
        seldom: whether it is run seldom, so that it is better quickly compiled than fast.

    Returns:
        `(frame, inverse)` with frame = inverse · tangents in rows: `(batch, k, D)`, and
        R⁻ᵀ, `(batch, k, k)`, lower triangular. A direction that is lost (see the module
        `rank`) is left out: its row and its column of R⁻ᵀ are 0, and an arbitrary one is
        put in its place.
    """
    # Gram–Schmidt is made of products, and as precise as they are.
    if compiled_by_xla() and product_eps(tangents.dtype) == eps(tangents.dtype):
        return gram_schmidt(tangents, before, small=seldom)
    return householder(tangents, before)


def householder(tangents, before):
    """`orthonormalise` by TensorFlow's QR."""
    frame, r, size = _qr(tangents)
    inverse = _inverse(r, size)
    # XLA's triangular solve makes no ∞ of a zero.
    singular = tf.reduce_any(tf.equal(diagonal(r), 0))
    return tf.cond(
        well_conditioned(tangents, inverse) & ~singular,
        lambda: (frame, inverse),
        lambda: _qr_without_lost(tangents, before),
    )


def _qr(tangents):
    """The frame, R of the tangents once each is divided by its size, and the sizes."""
    # It squares without scaling: in float32 tangents of 1e-20 would count as zero, and
    # those of 1e20 as infinite.
    size = size_of(tangents)
    q, r = tf.linalg.qr(tf.linalg.matrix_transpose(tangents / size))
    return tf.linalg.matrix_transpose(q), r, size


def _inverse(r, size):
    """R⁻ᵀ of the tangents."""
    identity = tf.eye(r.shape[-1], batch_shape=[extent(r, 0)], dtype=r.dtype)
    return tf.linalg.triangular_solve(r, identity / size, lower=False, adjoint=True)


def _qr_without_lost(tangents, before):
    """`householder` that is precise in every component, and without lost directions."""
    zero, number = tf.zeros((), tangents.dtype), tf.range(tangents.shape[-2])

    def attempt(_, lost, *__):
        rows = tf.where(lost[..., None], zero, tangents)
        frame, inverse = _sorted_qr(rows, lost)
        now = lost | lost_rank(rows, before, frame, inverse)
        # Once more without them, if any come before one that is not lost.
        first = tf.where(now & ~lost, number, tf.size(number))
        last = tf.where(now, -1, number)
        again = tf.reduce_any(tf.reduce_min(first, -1) < tf.reduce_max(last, -1))
        out = now[..., None] | now[..., None, :]
        return again, now, frame, tf.where(out, zero, inverse)

    none = tf.reduce_all(tf.equal(tangents, 0), axis=-1)
    start = True, none, tangents, tf.matmul(tangents, tangents, transpose_b=True)
    _, _, frame, inverse = tf.while_loop(lambda again, *_: again, attempt, start)
    return frame, inverse


def _sorted_qr(rows, lost):
    """The frame of rows, and R⁻ᵀ: the lost rows last, their largest components first.

    So Householder's QR is exact component by component, however small the slopes of
    saturated units (Cox & Higham, 1998), and what is lost has no part in the rest. In
    float64, as it squares components.
    """
    dtype, rows = rows.dtype, tf.cast(rows, tf.float64)
    order = tf.argsort(tf.cast(lost, tf.int32), stable=True)
    largest = tf.reduce_max(tf.abs(rows / size_of(rows)), axis=-2)
    components = tf.argsort(largest, direction="DESCENDING")
    frame, r, size = _qr(_gather(_gather(rows, order, 1), components, 2))
    nothing = tf.equal(diagonal(r), 0)
    r = tf.linalg.set_diag(r, tf.where(nothing, tf.ones_like(size[..., 0]), diagonal(r)))
    inverse = tf.where(nothing[..., None], tf.zeros((), r.dtype), _inverse(r, size))
    order, components = tf.argsort(order), tf.argsort(components)
    frame = _gather(_gather(frame, order, 1), components, 2)
    inverse = _gather(_gather(inverse, order, 1), order, 2)
    return tf.cast(frame, dtype), tf.cast(inverse, dtype)


def _gather(x, index, axis):
    return tf.gather(x, index, axis=axis, batch_dims=1)


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
    n = tf.matmul(d_frame, frame, transpose_b=True)
    # With P = 1 − Q Qᵀ, Q̄ + Q sym(M) is P Q̄ + Q A, in which nothing cancels but in P.
    above = ~np.tri(n.shape[-1], dtype=bool)
    a = tf.where(above, n - tf.linalg.matrix_transpose(n), tf.linalg.diag(d_log))
    if frame.shape[-2] == frame.shape[-1]:
        right = tf.matmul(a, frame)
    else:
        right = tf.cond(
            _graded(inverse),
            lambda: tf.matmul(a, frame) + _outside(d_frame, frame),
            lambda: d_frame + tf.matmul(a - n, frame),
        )
    return tf.matmul(inverse, tf.where(lost, zero, right), transpose_a=True)


def _graded(inverse):
    """Whether R⁻ᵀ would make much of the rounding of what it is multiplied by."""
    size = tf.abs(diagonal(inverse))
    smallest = tf.reduce_min(tf.where(size > 0, size, np.inf), axis=-1)
    largest = tf.reduce_max(tf.abs(inverse), axis=(-2, -1))
    return tf.reduce_any(largest > smallest / np.sqrt(eps(inverse.dtype)))


def _outside(rows, frame):
    """What of rows is orthogonal to a frame, in components small and large."""
    for _ in range(3):
        rows -= tf.matmul(tf.matmul(rows, frame, transpose_b=True), frame)
    return rows
