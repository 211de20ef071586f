"""Endless batches, made when they are asked for."""

import math

import tensorflow as tf

from keras_floss.utils.autotune import without_autotune
from keras_floss.utils.checks import check_int, check_positive_int

# Numbers of an array: 4 GiB in float32.
LARGEST = 2**30


def stream(batch):
    """A `tf.data.Dataset` of `batch(0)`, `batch(1)`, ..., the argument being int64."""
    return without_autotune(tf.data.Dataset.counter().map(batch).prefetch(2))


def check_stream(seed, **sizes):
    """Raises unless the seed fits into int64, and a batch of these sizes into memory."""
    check_int("seed", seed)
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"`seed` must be an integer within int64. Received: {seed}")
    for name, value in sizes.items():
        check_positive_int(name, value)
    if math.prod(map(int, sizes.values())) > LARGEST:
        raise ValueError(
            f"{' and '.join(f'`{name}`' for name in sizes)} must be smaller: an array of "
            f"more than {LARGEST:,} numbers would be needed. Received: "
            f"{', '.join(f'{name}={value}' for name, value in sizes.items())}"
        )
