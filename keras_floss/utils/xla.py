"""What must be known of XLA: whether it compiles, and what TensorFlow lacks for it."""

import contextlib

import tensorflow as tf

from keras_floss.utils.shapes import extent

UPDATE = "XlaDynamicUpdateSlice"


def compiled_by_xla():
    """Whether what is traced now will be compiled by XLA (`jit_compile=True`)."""
    if tf.executing_eagerly():
        return False
    # It shows in the operation that TensorFlow takes for the gradient of a slice.
    x = tf.zeros(2)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        y = tf.slice(x, [0], [1])
    return tape.gradient(y, x).op.type == UPDATE


def keras_has_no_xla(strategy):
    """Whether a program runs on one CPU alone, where Keras's "auto" never means XLA."""
    one = strategy.num_replicas_in_sync == 1
    return one and not tf.config.list_physical_devices("GPU")


def by_itself(function, number, *tensors):
    """`function(*tensors)` as the body of a loop of its own, in a program for XLA.

    On a CPU XLA runs a body of more than eight operations on several threads, and those of
    a small program wait for each other longer than they work.

    Args:
        function: returns the structure of `tensors`.
        number: a scalar int32 tensor, 0 or more, whose value XLA does not know: a loop that
            is known to run once would be taken out again.
        *tensors: tensors, or nests of them.
    """
    once = tf.minimum(number, 0) + 1
    _, *results = tf.while_loop(
        lambda i, *_: i < once, lambda i, *x: (i + 1, *function(*x)), (0, *tensors)
    )
    return tuple(results)


def diagonal(matrices):
    """`tf.linalg.diag_part`, of which XLA makes a slice in place of a gather."""
    *batch, k, _ = (extent(matrices, axis) for axis in range(len(matrices.shape)))
    return tf.reshape(matrices, (*batch, k * k))[..., :: k + 1]


def sum_of_squares(rows):
    """`(batch, k)`, of each row. XLA runs a product faster than a sum on a CPU."""
    ones = tf.ones((extent(rows, 0), rows.shape[-1], 1), rows.dtype)
    return tf.matmul(rows * rows, ones)[..., 0]


# Under XLA the gradient of a slice is an `UPDATE`, of which TensorFlow has no gradient.
# Cells that concatenate, split or slice (LSTM-like ones) meet it, because the tangent of a
# cell is a derivative of its derivative.
def _gradient(op, grad):
    _, update, begin = op.inputs
    size = tf.shape(update)
    d_update = tf.slice(grad, begin, size)
    # To the operand goes what the update does not cover.
    covered = tf.ones((), tf.bool)
    for axis, length in enumerate(grad.shape):
        place = tf.range(length) - begin[axis]
        inside = (place >= 0) & (place < size[axis])
        covered &= tf.reshape(inside, [-1] + [1] * (grad.shape.rank - 1 - axis))
    return tf.where(covered, tf.zeros_like(grad), grad), d_update, None


# KeyError: a TensorFlow that has it, or another library that registered it first.
with contextlib.suppress(KeyError):
    tf.RegisterGradient(UPDATE)(_gradient)
