"""Batches without end, made as they are wanted."""

import tensorflow as tf

from keras_floss.models.autotune import without_autotune


def stream(batch):
    """A `tf.data.Dataset` of `batch(0)`, `batch(1)`, ..., the argument being int64."""
    return without_autotune(tf.data.Dataset.counter().map(batch).prefetch(2))
