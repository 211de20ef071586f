"""The first symbol: what a sequence began with, asked after its end."""

import tensorflow as tf

from keras_floss.tasks.stream import check_stream, stream


def first_symbol(
    length: int,
    batch_size: int = 64,
    seed: int = 0,
    *,
    classes: int = 4,
    distractors: int = 8,
) -> tf.data.Dataset:
    """The first of many symbols says which class a sequence is; noise follows.

    The noise has symbols of its own, so that there is nothing to find but the first one.
    Chance has an accuracy of `1 / classes`.

    Args:
        length: number of time steps of a sequence.
        batch_size: number of sequences of a batch. Defaults to 64.
        seed: of the symbols. The same seed gives the same stream. Defaults to 0.
        classes: number of first symbols, all equally likely. Defaults to 4.
        distractors: number of symbols of the noise, likewise. Defaults to 8.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y)`: x float32 of shape
        `(batch, length, classes + distractors)`, one-hot; y int32 of shape `(batch,)`.

    Raises:
        ValueError: `length`, `batch_size`, `classes` or `distractors` < 1, a seed beyond
            int64, or a batch of more than 2^30 numbers.

    Example:

    ```python
    train = keras_floss.tasks.first_symbol(length=120)
    x, y = next(iter(train))  # (64, 120, 12), (64,)
    ```
    """
    check_stream(
        seed,
        batch_size=batch_size,
        length=length,
        classes=classes,
        distractors=distractors,
    )
    symbols = classes + distractors

    def batch(index):
        first, rest = tf.unstack(tf.random.split([seed, index], 2))
        y = tf.random.stateless_uniform((batch_size,), first, 0, classes, tf.int32)
        noise = tf.random.stateless_uniform(
            (batch_size, length - 1), rest, classes, symbols, tf.int32
        )
        return tf.one_hot(tf.concat([y[:, None], noise], axis=1), symbols), y

    return stream(batch)
