"""Householder's QR of tangents: the orthonormalisation that TensorFlow runs best."""

import tensorflow as tf

from keras_floss.flow.rank import lost_rank, size_of, well_conditioned
from keras_floss.utils.shapes import extent
from keras_floss.utils.xla import diagonal


def householder(tangents, before, small=False):
    """Orthonormalises tangents in their order, by TensorFlow's QR.

    Arguments and result are those of `gram_schmidt`; the program is small in any case.
    """
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
    # TensorFlow's QR squares without scaling: in float32 tangents of 1e-20 would count as
    # zero, and those of 1e20 as infinite.
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
