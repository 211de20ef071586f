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

from keras_floss.lyapunov.precision import eps
from keras_floss.lyapunov.schedule import extent

# Down to this sine between a row and those before it one round will do: the frame is then
# orthonormal to 20 eps. At a hundredth of it gradients of float32 may be wrong altogether.
ENOUGH = 0.05


def gram_schmidt(rows, small=False):
    """Orthonormalises rows in their order.

    Args:
        rows: `(batch, k, D)`, k and D known while tracing.
        small: whether the program shall be small rather than fast: the blocks go through
            a loop. Worth while where it is seldom run, as XLA takes long to compile.

    Returns:
        `(frame, factor)`: `(batch, k, D)`, orthonormal, and `(batch, k, k)`, lower
        triangular, so that `frame = factor · rows`. A row of which nothing is left but
        rounding noise once those before it are taken out (at most `D · eps` of the
        longest) is lost: its row and its column of `factor` are zero, and a direction
        that is orthogonal to all others is put in its place.
    """

    def one_round(i, _, frame, factor):
        frame, factor, sine = _one_round(frame, factor, small)
        # NaN is not mended.
        return i + 1, tf.reduce_any(sine <= ENOUGH), frame, factor

    # What is done to the rows is done to the identity as well, which becomes the factor.
    identity = tf.eye(rows.shape[-2], batch_shape=[extent(rows, 0)], dtype=rows.dtype)
    *_, frame, factor = tf.while_loop(
        lambda i, again, *_: again & (i < 2), one_round, (0, True, rows, identity)
    )
    return _complete(frame, tf.equal(diagonal(factor), 0)), factor


def _one_round(rows, factor, small):
    """Rows made orthonormal, what became of the factor, and the sine of the angle between
    each row and those before it, `(batch, k)`. Where a row is lost it is 0, and its sine 1.
    """
    k, dim = rows.shape[-2:]
    largest = tf.reduce_max(tf.abs(rows), axis=(-2, -1), keepdims=True)
    scale = 1.0 / tf.where(largest > 0, largest, tf.ones_like(largest))
    rows, before = rows * scale, factor * scale
    length = tf.norm(rows, axis=-1)
    noise = dim * eps(rows.dtype) * tf.reduce_max(length, axis=-1)[:, None, None]
    size = block_size(rows.shape[0] or 1, k, dim)
    sweep = _sweep_in_a_loop if small and size < k else _sweep
    done = sweep(tf.concat([rows, before], axis=-1), size, dim, noise)
    frame, factor = done[..., :dim], done[..., dim:]
    left = diagonal(before) / diagonal(factor)
    lost = tf.equal(diagonal(factor), 0)
    return frame, factor, tf.where(lost, tf.ones_like(left), left / length)


def _complete(frame, lost):
    """Puts directions that are orthogonal to all others where rows are lost."""
    _, k, dim = frame.shape
    anything = np.random.default_rng(0).standard_normal((k, dim))
    anything = tf.constant(anything, frame.dtype)

    def one_row(lost, frame):
        i = tf.argmax(lost, axis=-1)[:, None]
        new = tf.gather(anything, i)
        for _ in range(2):
            new -= tf.matmul(_overlap(new, frame, dim), frame)
        new *= tf.math.rsqrt(_overlap(new, new, dim))
        now = lost & tf.equal(tf.range(k, dtype=i.dtype), i)
        return lost & ~now, tf.where(now[..., None], new, frame)

    return tf.while_loop(lambda lost, _: tf.reduce_any(lost), one_row, (lost, frame))[1]


def block_size(batch, k, dim):
    """Rows in a block: where the steps of the loops cost about what the products do.

    Measured on a CPU; half or twice as many cost a third more.
    """
    return min(max(round(200 / np.sqrt(batch * (dim + k))), 4), k)


def _sweep(rest, size, dim, noise):
    """Gram–Schmidt of rows by their first `dim` columns, block after block."""
    done = []
    while rest.shape[-2]:
        block = _orthonormalise_block(rest[:, :size], dim, noise)
        done.append(block)
        rest = rest[:, size:]
        rest -= tf.matmul(_overlap(rest, block, dim), block)
    return tf.concat(done, axis=-2)


def _sweep_in_a_loop(rest, size, dim, noise):
    """`_sweep`, whose blocks are steps of a loop; it always works on all rows."""
    k = rest.shape[-2]
    blocks = -(-k // size)
    size = -(-k // blocks)
    rest = tf.pad(rest, [[0, 0], [0, blocks * size - k], [0, 0]])
    number = tf.range((blocks - 1) * size)[:, None]

    def one_block(i, rest):
        # The block under work is the first; what is done goes to the end.
        block = _orthonormalise_block(rest[:, :size], dim, noise)
        rest = rest[:, size:]
        left = number < (blocks - 1 - i) * size
        overlap = tf.where(left, _overlap(rest, block, dim), tf.zeros((), rest.dtype))
        return i + 1, tf.concat([rest - tf.matmul(overlap, block), block], axis=-2)

    return tf.while_loop(lambda i, _: i < blocks, one_block, (0, rest))[1][:, :k]


def _orthonormalise_block(block, dim, noise):
    """Gram–Schmidt of the rows of one block."""
    size = block.shape[-2]
    number = tf.range(size)[:, None]
    zero = tf.zeros((), block.dtype)

    def one_row(i, block):
        row = tf.gather(block, [i], axis=-2)
        # On a CPU XLA runs a product faster than a sum of products.
        overlap = _overlap(block, row, dim)
        square = tf.gather(overlap, [i], axis=-2)
        inverse = tf.where(square <= noise**2, zero, 1.0 / square)
        after = tf.where(number > i, overlap * inverse, zero)
        return i + 1, tf.where(number == i, row * tf.sqrt(inverse), block - after * row)

    return tf.while_loop(lambda i, _: i < size, one_row, (0, block))[1]


def _overlap(rows, others, dim):
    """The scalar products of rows with others, by their first `dim` columns."""
    return tf.matmul(rows[..., :dim], others[..., :dim], transpose_b=True)


def diagonal(matrices):
    """`tf.linalg.diag_part`, of which XLA makes a slice in place of a gather."""
    *batch, k, _ = (extent(matrices, axis) for axis in range(len(matrices.shape)))
    return tf.reshape(matrices, (*batch, k * k))[..., :: k + 1]
