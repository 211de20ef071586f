"""Modified Gram–Schmidt in blocks of rows: the orthonormalisation that XLA runs best.

XLA has no QR of its own on the CPU: it expands Householder's into two loops over all the
columns, each step of which touches the whole matrix. Here a step of a loop touches one
block, and the rest is done in matrix products.

Its R is as good as Householder's; the frame is orthonormal to eps times the condition
number of the rows once they are scaled to one length (Björck, BIT 7, 1967). Where that is
not enough the frame is orthonormalised again: twice is enough (Parlett, The Symmetric
Eigenvalue Problem, 1980, section 6.9). Of a frame that is nearly orthonormal two products
do it.
"""

import numpy as np
import tensorflow as tf

from keras_floss.flow.block_sweep import overlap, sweep, sweep_in_a_loop
from keras_floss.flow.rank import (
    condition_limit,
    lost_rank,
    rank_is_safe,
    size_of,
    well_conditioned,
)
from keras_floss.utils.precision import eps
from keras_floss.utils.shapes import extent
from keras_floss.utils.xla import diagonal, sum_of_squares

# Down to this sine between a row and those before it one round will do: the frame is then
# orthonormal to 20 eps. At a hundredth of it gradients of float32 may be wrong altogether.
ENOUGH = 0.05
# A round leaves of a row eps of what it takes out of it. Where a row is small in some
# components as float32 can be, 1e-38, this many leave nothing that is not its own.
MOST = 8
# So far from orthonormal, as a sum of squares, a frame is mended in four steps at most.
NEARLY = 1e-3


def gram_schmidt(rows, before, small=False):
    """Orthonormalises rows in their order.

    Args:
        rows: `(batch, k, D)`, k and D known while tracing.
        before: `(batch, k, D)`, the orthonormal frame that they were made of.
        small: whether the program shall be small rather than fast: the blocks go through
            a loop. Worth while where it is seldom run, as XLA takes long to compile.

    Returns:
        `(frame, factor)`: `(batch, k, D)`, orthonormal, and `(batch, k, k)`, lower
        triangular, so that `frame = factor · rows`. A row that is lost (see the module
        `rank`) is left out: its row and its column of `factor` are zero, and a direction
        that is orthogonal to all others is put in its place.
    """
    k, dim = rows.shape[-2:]
    # Where the steps of the loops cost about what the products do. Measured on a CPU; half
    # or twice as many rows in a block cost a third more.
    size = min(max(round(200 / np.sqrt((rows.shape[0] or 1) * (dim + k))), 4), k)
    orthonormalise = sweep_in_a_loop if small and size < k else sweep

    def one_round(i, more, past):
        done = orthonormalise(past, size, dim)
        return tf.cond(
            tf.equal(i, 0) & _at_once(rows, done[..., dim:]),
            lambda: (1, 0, done),
            lambda: _judge(rows, before, small, i, more, past, done),
        )

    # What is done to the rows is done to the identity as well, which becomes the factor.
    identity = tf.eye(k, batch_shape=[extent(rows, 0)], dtype=rows.dtype)
    # The first round, i = 0, takes the rows as they are. Of narrow frames it is
    # nearly always the only one.
    start = 0, 1, tf.concat([rows, identity], axis=-1)
    done = tf.while_loop(lambda i, more, _: (more > 0) & (i <= MOST), one_round, start)[2]
    return done[..., :dim], done[..., dim:]


def _at_once(rows, factor):
    """Whether one round was enough, seen by few and cheap operations."""
    length, left = sum_of_squares(rows), 1.0 / diagonal(factor) ** 2
    # That of the rows once they are scaled to one length.
    inverse = sum_of_squares(factor * tf.sqrt(length)[..., None, :])
    return tf.reduce_all(
        (left > ENOUGH**2 * length)
        & (inverse < condition_limit(rows) ** 2)
        & rank_is_safe(left, length, rows.shape[-1])
        & _has_exact_squares(length)
        & _has_exact_squares(left)
    )


def _has_exact_squares(square):
    """Whether no number was squared that is too small or too large to be."""
    numbers = np.finfo(square.dtype.as_numpy_dtype)
    return (square > numbers.tiny / numbers.eps) & (square < numbers.max * numbers.eps)


def _judge(rows, before, small, i, more, past, done):
    """What is to be done after a round, as the arguments of the next.

    Args:
        rows, before, small: those of `gram_schmidt`.
        i: the number of the round, and
        more: how many were thought to be needed from it on.
        past, done: `(batch, k, D + k)`, rows and factor side by side that went into it, and
            that came out.

    Returns:
        `(i, more, past)`; with no more rounds, frame and factor side by side.
    """
    dim = rows.shape[-1]
    (past, past_factor), (frame, factor) = (
        (x[..., :dim], x[..., dim:]) for x in (past, done)
    )
    zero, number = tf.zeros((), rows.dtype), tf.maximum(i, 1)
    unscaled = tf.equal(i, 0) & ~tf.reduce_all(_has_exact_squares(sum_of_squares(rows)))
    nothing = tf.reduce_all(tf.equal(frame, 0), axis=-1)
    factor = tf.where(nothing[..., None], zero, factor)
    sine = _sines(past, past_factor, frame, factor, nothing)
    good = well_conditioned(rows, factor)
    lost = tf.cond(
        good,
        lambda: tf.zeros_like(sine, tf.bool),
        lambda: lost_rank(rows, before, frame, factor),
    )
    out = tf.equal(diagonal(factor), 0)
    # What is left of such a row is rounding, and other rounding in each round.
    lost = (lost | ((sine <= ENOUGH) & tf.equal(number, MOST))) & ~out
    # What the first round leaves of such a row is not its own in every component.
    graded = tf.reduce_any(sine <= np.sqrt(eps(rows.dtype)))
    # No further round mends NaN.
    more = tf.where(tf.reduce_any(sine <= ENOUGH), 1, more - 1)
    more = tf.where(graded | (~good & tf.equal(number, 1)), 2, more)

    # Lost rows must not be in the others either: start again without them.
    again, left = unscaled | tf.reduce_any(lost), unscaled | ~(lost | out)
    if not small:
        more, frame, factor = tf.cond(
            tf.equal(more, 1),
            lambda: _mend(frame, factor, out),
            lambda: (more, frame, factor),
        )
    last = ~again & (tf.equal(more, 0) | tf.equal(number, MOST))
    frame = _complete(frame, out & last)
    frame = tf.where(again, tf.where(left[..., None], rows, zero), frame)
    factor = tf.where(again, tf.linalg.diag(tf.cast(left, rows.dtype)), factor)
    scale = tf.where(last, tf.ones((), rows.dtype), 1.0 / size_of(frame))
    past = scale * tf.concat([frame, factor], axis=-1)
    return tf.where(again, 1, number + 1), tf.where(again, 1, more), past


def _sines(past, past_factor, frame, factor, nothing):
    """The sine of the angle between each row and those before it, `(batch, k)`.

    Where a row is zero it is 1, and where it is so small that it could not be scaled, 0.
    """
    sine = diagonal(past_factor) / (diagonal(factor) * tf.norm(past, axis=-1))
    # No comparison holds for NaN, which XLA's maximum may pass over.
    short = tf.reduce_all(tf.abs(frame) < 0.5 / np.sqrt(frame.shape[-1]), axis=-1)
    sine = tf.where(short, tf.zeros_like(sine), sine)
    return tf.where(nothing, tf.ones_like(sine), sine)


def _mend(frame, factor, out):
    """A frame that is nearly orthonormal, made so, and its factor.

    Each step is the inverse of the Cholesky factor of `frame · frameᵀ` to first order,
    which squares what is wrong.

    Args:
        frame, factor: what came out of a round.
        out: `(batch, k)`, rows that are left out.

    Returns:
        `(rounds, frame, factor)`: 0 rounds, or 1 and what was given where the frame was
        too far from orthonormal.
    """
    k, dim = frame.shape[-2:]
    identity = tf.eye(k, dtype=frame.dtype)
    one = tf.where(out[..., None], tf.zeros_like(identity), identity)

    def one_step(i, _, better, its_factor):
        error = overlap(better, better, dim) - one
        away = tf.reduce_max(tf.reduce_sum(error**2, axis=(-2, -1)))
        step = identity - tf.where(np.tri(k, k, -1, dtype=bool), error, 0.5 * one * error)
        return i + 1, away, tf.matmul(step, better), tf.matmul(step, its_factor)

    limit = tf.constant(eps(frame.dtype), frame.dtype)
    _, away, better, its_factor = tf.while_loop(
        lambda i, away, *_: (away >= limit) & (away < NEARLY) & (i < 4),
        one_step,
        (0, limit, frame, factor),
    )
    done = away < limit
    return (
        tf.where(done, 0, 1),
        tf.where(done, better, frame),
        tf.where(done, its_factor, factor),
    )


def _complete(frame, lost):
    """Puts directions that are orthogonal to all others where rows are lost."""
    _, k, dim = frame.shape
    anything = tf.constant(np.random.default_rng(0).standard_normal((k, dim)), frame.dtype)

    def one_row(lost, frame):
        i = tf.argmax(lost, axis=-1)[:, None]
        new = tf.gather(anything, i)
        for _ in range(2):
            new -= tf.matmul(overlap(new, frame, dim), frame)
        new *= tf.math.rsqrt(overlap(new, new, dim))
        now = lost & tf.equal(tf.range(k, dtype=i.dtype), i)
        return lost & ~now, tf.where(now[..., None], new, frame)

    return tf.while_loop(lambda lost, _: tf.reduce_any(lost), one_row, (lost, frame))[1]
