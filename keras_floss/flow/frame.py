"""Orthonormal frames of tangents: the first one, QR, and the adjoint of QR.

A frame is kept as rows, `(batch, k, D)`: row i is the i-th tangent. In the formulas
of the module `tangent` the tangents are columns.
"""

from typing import Literal, TypeAlias

import numpy as np
import tensorflow as tf

from keras_floss.flow.gram_schmidt import gram_schmidt
from keras_floss.flow.householder import householder
from keras_floss.utils.checks import check_choice
from keras_floss.utils.precision import eps, product_eps
from keras_floss.utils.xla import compiled_by_xla, diagonal

Orthonormalization: TypeAlias = Literal["auto", "householder", "gram-schmidt"]
# Each is a function of `(tangents, before, small)`; see `orthonormalise`.
ALGORITHMS = {"householder": householder, "gram-schmidt": gram_schmidt}


def check_orthonormalization(name: str) -> None:
    """Raises ValueError unless there is such an algorithm, or it is "auto"."""
    check_choice("orthonormalization", name, ("auto", *ALGORITHMS))


def initial_frame(k, dim, seed=0):
    """k random orthonormal tangents, `(k, dim)` float64, the same for the same seed.

    The first of them do not depend on k, so that the exponents of a short frame are
    the first ones of the full frame.
    """
    gaussian = np.random.default_rng(seed).standard_normal((k, dim))
    return np.ascontiguousarray(np.linalg.qr(gaussian.T)[0].T)


def orthonormalise(tangents, before, algorithm="auto", seldom=False):
    """QR of tangents: an orthonormal frame, and R as it is wanted.

    Args:
        tangents: `(batch, k, D)`.
        before: `(batch, k, D)`, the orthonormal frame that they were made of.
        algorithm: an `Orthonormalization`. "auto" is Gram–Schmidt under XLA, which runs it
            much faster, and else Householder's.
        seldom: whether it is run seldom, so that it is better quickly compiled than fast.

    Returns:
        `(frame, inverse)` with frame = inverse · tangents in rows: `(batch, k, D)`, and
        R⁻ᵀ, `(batch, k, k)`, lower triangular. A direction that is lost (see the module
        `rank`) is left out: its row and its column of R⁻ᵀ are 0, and an arbitrary one is
        put in its place.
    """
    if algorithm == "auto":
        # Gram–Schmidt is made of products, and as precise as they are.
        precise = product_eps(tangents.dtype) == eps(tangents.dtype)
        algorithm = "gram-schmidt" if compiled_by_xla() and precise else "householder"
    return ALGORITHMS[algorithm](tangents, before, small=seldom)


def log_stretch(diagonal):
    """`(log|R_ii|, lost)` by the diagonal of R⁻ᵀ, all `(..., k)`.

    The logarithm is 0 where rank was lost.
    """
    size = tf.abs(diagonal)
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
