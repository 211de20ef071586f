"""Modified Gram–Schmidt in blocks of rows: the orthonormalisation that XLA runs best.

XLA has no QR of its own on the CPU: it expands Householder's into two loops over all the
columns, each step of which touches the whole matrix. Here a step of a loop touches one
block, and the rest is done in matrix products.

Its R is as good as Householder's; the frame is orthonormal to eps times the condition
number of the rows once they are scaled to one length (Björck, BIT 7, 1967). Where that is
not enough the frame is orthonormalised again: twice is enough (Parlett, The Symmetric
Eigenvalue Problem, 1980, section 6.9).
"""

import numpy as np
import tensorflow as tf

from keras_floss.flow.rank import lost_rank, size_of, well_conditioned
from keras_floss.utils.precision import eps
from keras_floss.utils.shapes import extent
from keras_floss.utils.xla import diagonal

# Down to this sine between a row and those before it one round will do: the frame is then
# orthonormal to 20 eps. At a hundredth of it gradients of float32 may be wrong altogether.
ENOUGH = 0.05
# A round leaves of a row eps of what it takes out of it. Where a row is small in some
# components as float32 can be, 1e-38, this many leave nothing that is not its own.
MOST = 8


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
    # What is done to the rows is done to the identity as well, which becomes the factor.
    identity = tf.eye(rows.shape[-2], batch_shape=[extent(rows, 0)], dtype=rows.dtype)
    zero = tf.zeros((), rows.dtype)

    def one_round(i, more, frame, factor):
        frame, factor, sine = _one_round(frame, factor, small)
        good = well_conditioned(rows, factor)
        lost = tf.cond(
            good,
            lambda: tf.zeros_like(sine, tf.bool),
            lambda: lost_rank(rows, before, frame, factor),
        )
        out = tf.equal(diagonal(factor), 0)
        # What is left of such a row is rounding, and other rounding in each round.
        lost = (lost | ((sine <= ENOUGH) & tf.equal(i, MOST))) & ~out
        # They must not be in the other rows either: start again without them.
        again, left = tf.reduce_any(lost), ~(lost | out)[..., None]
        frame = tf.where(again, tf.where(left, rows, zero), frame)
        factor = tf.where(again, tf.where(left, identity, zero), factor)
        # No further round mends NaN.
        more = tf.where(tf.reduce_any(sine <= ENOUGH), 1, more - 1)
        more = tf.where(tf.reduce_any(sine <= graded) | (~good & tf.equal(i, 1)), 2, more)
        return tf.where(again, 1, i + 1), tf.where(again, 1, more), frame, factor

    # What the first round leaves of such a row is not its own in every component.
    graded = np.sqrt(eps(rows.dtype))
    *_, frame, factor = tf.while_loop(
        lambda i, more, *_: (more > 0) & (i <= MOST), one_round, (1, 1, rows, identity)
    )
    return _complete(frame, tf.equal(diagonal(factor), 0)), factor


def _one_round(rows, factor, small):
    """Rows made orthonormal, what became of the factor, and the sine of the angle between
    each row and those before it, `(batch, k)`. Where a row is zero its sine is 1.
    """
    k, dim = rows.shape[-2:]
    scale = 1.0 / size_of(rows)
    rows, before = rows * scale, factor * scale
    length = tf.norm(rows, axis=-1)
    # Where the steps of the loops cost about what the products do. Measured on a CPU; half
    # or twice as many rows in a block cost a third more.
    size = min(max(round(200 / np.sqrt((rows.shape[0] or 1) * (dim + k))), 4), k)
    sweep = _sweep_in_a_loop if small and size < k else _sweep
    done = sweep(tf.concat([rows, before], axis=-1), size, dim)
    frame, factor = done[..., :dim], done[..., dim:]
    sine = diagonal(before) / (diagonal(factor) * length)
    # No comparison holds for NaN, which XLA's maximum may pass over.
    short = tf.reduce_all(tf.abs(frame) < 0.5 / np.sqrt(dim), axis=-1)
    nothing = tf.reduce_all(tf.equal(frame, 0), axis=-1)
    sine = tf.where(short, tf.zeros_like(sine), sine)
    sine = tf.where(nothing, tf.ones_like(sine), sine)
    return frame, tf.where(nothing[..., None], tf.zeros((), rows.dtype), factor), sine


def _complete(frame, lost):
    """Puts directions that are orthogonal to all others where rows are lost."""
    _, k, dim = frame.shape
    anything = tf.constant(np.random.default_rng(0).standard_normal((k, dim)), frame.dtype)

    def one_row(lost, frame):
        i = tf.argmax(lost, axis=-1)[:, None]
        new = tf.gather(anything, i)
        for _ in range(2):
            new -= tf.matmul(_overlap(new, frame, dim), frame)
        new *= tf.math.rsqrt(_overlap(new, new, dim))
        now = lost & tf.equal(tf.range(k, dtype=i.dtype), i)
        return lost & ~now, tf.where(now[..., None], new, frame)

    return tf.while_loop(lambda lost, _: tf.reduce_any(lost), one_row, (lost, frame))[1]


def _sweep(rest, size, dim):
    """Gram–Schmidt of rows by their first `dim` columns, block after block."""
    done = []
    while rest.shape[-2]:
        block = _orthonormalise_block(rest[:, :size], dim)
        done.append(block)
        rest = rest[:, size:]
        rest -= tf.matmul(_overlap(rest, block, dim), block)
    return tf.concat(done, axis=-2)


def _sweep_in_a_loop(rest, size, dim):
    """`_sweep`, whose blocks are steps of a loop; it always works on all rows."""
    k = rest.shape[-2]
    blocks = -(-k // size)
    size = -(-k // blocks)
    rest = tf.pad(rest, [[0, 0], [0, blocks * size - k], [0, 0]])
    number = tf.range((blocks - 1) * size)[:, None]

    def one_block(i, rest):
        # The block under work is the first; what is done goes to the end.
        block = _orthonormalise_block(rest[:, :size], dim)
        rest = rest[:, size:]
        left = number < (blocks - 1 - i) * size
        without = rest - tf.matmul(_overlap(rest, block, dim), block)
        return i + 1, tf.concat([tf.where(left, without, rest), block], axis=-2)

    return tf.while_loop(lambda i, _: i < blocks, one_block, (0, rest))[1][:, :k]


def _orthonormalise_block(block, dim):
    """Gram–Schmidt of the rows of one block."""
    size = block.shape[-2]
    number = tf.range(size)[:, None]
    zero = tf.zeros((), block.dtype)

    def one_row(i, block):
        row = tf.gather(block, [i], axis=-2)
        # On a CPU XLA runs a product faster than a sum of products.
        overlap = _overlap(block, row, dim)
        square = tf.gather(overlap, [i], axis=-2)
        inverse = tf.where(square <= 0, zero, 1.0 / square)
        # A factor that overflows stays where it is: 0 · ∞ would be NaN.
        rest = tf.where(number > i, block - overlap * inverse * row, block)
        # What is left may be so little that there is no square of it: another round then.
        scale = tf.where(square <= 0, tf.ones_like(square), tf.sqrt(inverse))
        return i + 1, tf.where(number == i, row * scale, rest)

    return tf.while_loop(lambda i, _: i < size, one_row, (0, block))[1]


def _overlap(rows, others, dim):
    """The scalar products of rows with others, by their first `dim` columns."""
    return tf.matmul(rows[..., :dim], others[..., :dim], transpose_b=True)
