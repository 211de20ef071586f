"""The adding problem: the sum of two numbers that were marked somewhere in a sequence."""

import tensorflow as tf

from keras_floss.tasks.stream import check_stream, stream
from keras_floss.utils.checks import check_positive_int


def adding_problem(length: int, batch_size: int = 100, seed: int = 0) -> tf.data.Dataset:
    """Adding problem: the sum of two marked numbers of a sequence of random ones.

    One of the two is in the first half of the sequence, the other in the second.
    Always guessing 1 has a mean squared error of 1/6.

    Args:
        length: number of time steps of a sequence. The first half has `length // 2`.
        batch_size: number of sequences of a batch. Defaults to 100.
        seed: of the numbers and of the marked steps. The same seed gives the same stream.
            Defaults to 0.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y)`, float32: x of shape
        `(batch, length, 2)`, numbers uniform in [0, 1) and markers, which are 1 at the two
        steps and 0 elsewhere; y of shape `(batch, 1)`.

    Raises:
        ValueError: `length` < 2, `batch_size` < 1, a seed beyond int64, or a batch of more
            than 2^30 steps.

    Example:

    ```python
    train = keras_floss.tasks.adding_problem(length=200)
    x, y = next(iter(train))  # (100, 200, 2), (100, 1)
    ```

    References:
        [Hochreiter & Schmidhuber, Neural Computation 1997](https://doi.org/10.1162/neco.1997.9.8.1735),
        in the form of [Arjovsky et al., ICML 2016](https://arxiv.org/abs/1511.06464)
    """
    check_positive_int("length", length, least=2)
    check_stream(seed, batch_size=batch_size, length=length)

    def marker(seed, start, end):
        steps = tf.random.stateless_uniform((batch_size,), seed, start, end, tf.int32)
        return tf.one_hot(steps, length)

    def batch(index):
        # A seed for each draw: with the same one they would depend on each other.
        seeds = tf.unstack(tf.random.split([seed, index], 3))
        numbers = tf.random.stateless_uniform((batch_size, length), seeds[0])
        half = length // 2
        markers = marker(seeds[1], 0, half) + marker(seeds[2], half, length)
        target = tf.reduce_sum(numbers * markers, axis=1, keepdims=True)
        return tf.stack([numbers, markers], axis=-1), target

    return stream(batch)
