"""Tasks with a delay: the network is asked for bits that it saw d steps ago.

Both are streams of fair bits in {0, 1}, of shape `(batch, length, 1)`. The sample
weights are 1 where the target can be known, t ≥ d, and 0 before; the accuracy of chance is
0.5. (The released code of the flossing paper scores one step more, whose target depends on
a bit that the network never got.)
"""

import tensorflow as tf

from keras_floss.lyapunov.checks import check_positive_int


def delayed_copy(delay, length=300, batch_size=16, seed=0):
    """Delayed copy of bits: `y_t = x_{t−d}`.

    Args:
        delay: d, in time steps.
        length: number of time steps of a sequence. Defaults to 300.
        batch_size: defaults to 16.
        seed: of the bits. The same seed gives the same stream. Defaults to 0.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y, sample_weight)`, float32, of
        shapes `(batch, length, 1)`, `(batch, length, 1)` and `(batch, length)`.

    Raises:
        ValueError: d < 1, or no step left to score (d ≥ length).

    Example:

    ```python
    train = keras_floss.tasks.delayed_copy(delay=40)
    x, y, sample_weight = next(iter(train))  # (16, 300, 1), (16, 300, 1), (16, 300)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """
    return _stream(lambda bits: _shift(bits, delay), delay, length, batch_size, seed)


def temporal_xor(delay, length=300, batch_size=16, seed=0):
    """Binary delayed temporal XOR: `y_t = x_{t−d/2} XOR x_{t−d}`.

    `delay` is the paper's d; its released code counts half of that, its `delay=10` is
    d = 20.

    Args:
        delay: d, in time steps, an even number.
        length, batch_size, seed: as in `delayed_copy`.

    Returns:
        As `delayed_copy`.

    Raises:
        ValueError: d < 2 or odd, or no step left to score (d ≥ length).

    Example:

    ```python
    train = keras_floss.tasks.temporal_xor(delay=40)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """
    check_positive_int("delay", delay)
    if delay % 2:
        raise ValueError(
            "`delay` of the temporal XOR is the distance of the older of two bits; the "
            f"other is half as far, so it must be even. Received: {delay}"
        )
    return _stream(
        lambda bits: tf.abs(_shift(bits, delay // 2) - _shift(bits, delay)),
        delay,
        length,
        batch_size,
        seed,
    )


def _shift(bits, steps):
    """`bits` of `(batch, length, 1)`, `steps` later, with zeros before the first."""
    return tf.pad(bits[:, :-steps], [[0, 0], [steps, 0], [0, 0]])


def _stream(target, delay, length, batch_size, seed):
    for name, value in (("delay", delay), ("length", length), ("batch_size", batch_size)):
        check_positive_int(name, value)
    if delay >= length:
        raise ValueError(
            "`delay` must be less than the `length` of the sequences, or no step could be "
            f"scored. Received: delay={delay}, length={length}"
        )
    known = tf.cast(tf.range(length) >= delay, tf.float32)
    weights = tf.broadcast_to(known, (batch_size, length))

    def batch(index):
        bits = tf.random.stateless_uniform(
            (batch_size, length, 1), [seed, index], 0, 2, tf.int64
        )
        bits = tf.cast(bits, tf.float32)
        return bits, target(bits), weights

    return tf.data.Dataset.counter().map(batch).prefetch(2)
