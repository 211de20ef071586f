"""One round of modified Gram–Schmidt: rows of a matrix, block after block."""

import tensorflow as tf


def sweep(rest, size, dim):
    """Gram–Schmidt of rows by their first `dim` columns, block after block."""
    done = []
    while rest.shape[-2]:
        block = _orthonormalise_block(rest[:, :size], dim)
        done.append(block)
        rest = rest[:, size:]
        rest -= tf.matmul(overlap(rest, block, dim), block)
    return tf.concat(done, axis=-2)


def sweep_in_a_loop(rest, size, dim):
    """`sweep`, whose blocks are steps of a loop; it always works on all rows."""
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
        without = rest - tf.matmul(overlap(rest, block, dim), block)
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
        products = overlap(block, row, dim)
        square = tf.gather(products, [i], axis=-2)
        inverse = tf.where(square <= 0, zero, 1.0 / square)
        # A factor that overflows stays where it is: 0 · ∞ would be NaN.
        rest = tf.where(number > i, block - products * inverse * row, block)
        # What is left may be so little that there is no square of it: another round then.
        scale = tf.where(square <= 0, tf.ones_like(square), tf.sqrt(inverse))
        return i + 1, tf.where(number == i, row * scale, rest)

    return tf.while_loop(lambda i, _: i < size, one_row, (0, block))[1]


def overlap(rows, others, dim):
    """The scalar products of rows with others, by their first `dim` columns."""
    return tf.matmul(rows[..., :dim], others[..., :dim], transpose_b=True)
