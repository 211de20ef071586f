"""Tensors in structures, and shapes that may be known only when a graph runs."""

import keras
import tensorflow as tf


def extent(tensor, axis):
    """The size of an axis: an int where it is known, else a scalar tensor."""
    return tensor.shape[axis] or tf.shape(tensor)[axis]


def reshape_rows(x, shape):
    """`(batch, ...)` as `(batch, *shape)`, the same tensor where that is its shape."""
    return x if x.shape[1:] == tf.TensorShape(shape) else tf.reshape(x, (-1, *shape))


def first_rows(tensors, number):
    """The first `number` rows of each tensor in a structure that may hold None."""
    return tf.nest.map_structure(lambda x: None if x is None else x[:number], tensors)


def as_tensors(arrays):
    """The arrays in a structure that may hold None as tensors."""
    return keras.tree.map_structure(
        lambda x: None if x is None else tf.convert_to_tensor(x), arrays
    )


def fold(x, length):
    """`(time, ...)` as `(blocks, length, ...)`, filled up with zeros (False)."""
    time, *rest = (extent(x, axis) for axis in range(x.shape.rank))
    x = tf.pad(x, [[0, -time % length], *([0, 0] for _ in rest)])
    return tf.reshape(x, (-(-time // length), length, *rest))


def unfold(x, time):
    """The inverse of `fold`, of so many steps."""
    _, _, *rest = (extent(x, axis) for axis in range(x.shape.rank))
    return tf.reshape(x, (-1, *rest))[:time]
