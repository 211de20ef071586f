"""Modified Gram–Schmidt in blocks of rows: the orthonormalisation that XLA runs best.

XLA has no QR of its own on the CPU: it expands Householder's into two loops over all the
columns, each step of which touches the whole matrix. Here a step of a loop touches one
block, and the rest is done in matrix products.

Its R is as good as Householder's; the frame is orthonormal to eps times the condition
number of the rows once they are scaled to one length (Björck, BIT 7, 1967).
"""

import numpy as np
import tensorflow as tf

from keras_floss.lyapunov.schedule import extent


def gram_schmidt(rows):
    """Orthonormalises rows in their order.

    Args:
        rows: `(batch, k, D)`, k and D known while tracing.

    Returns:
        `(frame, factor, sine)`: `frame = factor · rows` with orthonormal rows,
        `(batch, k, D)`; `factor`, `(batch, k, k)`, lower triangular; `sine`, `(batch, k)`,
        of the angle between a row and those before it: where it is small, 0 or NaN the
        rows are nearly dependent, and the result is in doubt.
    """
    k, dim = rows.shape[-2:]
    scale = 1.0 / tf.reduce_max(tf.abs(rows), axis=-1, keepdims=True)
    rest = rows * scale
    length = tf.norm(rest, axis=-1)
    # What is done to the rows is done to the identity as well, which becomes the factor.
    identity = tf.eye(k, batch_shape=[extent(rows, 0)], dtype=rows.dtype)
    rest = tf.concat([rest, identity], axis=-1)
    size = block_size(rows.shape[0] or 1, k, dim)
    done = []
    while rest.shape[-2]:
        block = _orthonormalise_block(rest[:, :size], dim)
        done.append(block)
        rest = rest[:, size:]
        overlap = tf.matmul(rest[..., :dim], block[..., :dim], transpose_b=True)
        rest -= tf.matmul(overlap, block)
    done = tf.concat(done, axis=-2)
    frame, factor = done[..., :dim], done[..., dim:]
    sine = 1.0 / (tf.linalg.diag_part(factor) * length)
    return frame, factor * tf.linalg.matrix_transpose(scale), sine


def block_size(batch, k, dim):
    """Rows in a block: where the steps of the loops cost about what the products do.

    Measured on a CPU; half or twice as many cost a third more.
    """
    return min(max(round(200 / np.sqrt(batch * (dim + k))), 4), k)


def _orthonormalise_block(block, dim):
    """Gram–Schmidt of the rows of one block, by their first `dim` columns."""
    size = block.shape[-2]
    number = tf.range(size)[:, None]

    def one_row(i, block):
        row = tf.gather(block, [i], axis=-2)
        # On a CPU XLA runs a product faster than a sum of products.
        overlap = tf.matmul(block[..., :dim], row[..., :dim], transpose_b=True)
        square = tf.gather(overlap, [i], axis=-2)
        after = tf.where(number > i, overlap / square, 0.0)
        unit = row * tf.math.rsqrt(square)
        return i + 1, tf.where(number == i, unit, block - after * row)

    return tf.while_loop(lambda i, _: i < size, one_row, (0, block))[1]
