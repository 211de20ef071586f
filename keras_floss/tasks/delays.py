"""Tasks with a delay: the network is asked for what it saw up to d steps ago.

Inputs are fair bits in {0, 1}, of shape `(batch, length, 1)`; three streams of them in the
spatial XOR, and uniform numbers in the continuous one. The sample weights are 1 where the
target can be known, t ≥ d, and 0 before; chance has an accuracy of 0.5. (The released code
of the flossing paper scores one step more, whose target depends on a bit that the network
has not seen.)
"""

import functools

import tensorflow as tf

from keras_floss.tasks.stream import check_stream, stream
from keras_floss.utils.checks import check_positive_int

MOST_LEVELS = 30  # 2^30 steps are more than a batch can have


def delayed_copy(
    delay: int, length: int = 300, batch_size: int = 16, seed: int = 0
) -> tf.data.Dataset:
    """Delayed copy of bits: `y_t = x_{t−d}`.

    Args:
        delay: d, in time steps.
        length: number of time steps of a sequence. Defaults to 300.
        batch_size: number of sequences of a batch. Defaults to 16.
        seed: of the inputs. The same seed gives the same stream. Defaults to 0.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y, sample_weight)`, float32, of
        shapes `(batch, length, 1)`, `(batch, length, 1)` and `(batch, length)`.

    Raises:
        ValueError: d < 1, no step left to score (d ≥ length), a seed beyond int64, or a
            batch of more than 2^30 steps.

    Example:

    ```python
    train = keras_floss.tasks.delayed_copy(delay=40)
    x, y, sample_weight = next(iter(train))  # (16, 300, 1), (16, 300, 1), (16, 300)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """
    return _stream(lambda bits: _shift(bits, delay), delay, length, batch_size, seed)


def temporal_xor(
    delay: int, length: int = 300, batch_size: int = 16, seed: int = 0
) -> tf.data.Dataset:
    """Binary delayed temporal XOR: `y_t = x_{t−d/2} XOR x_{t−d}`.

    `delay` is the paper's d; its released code counts half of that, its `delay=10` is
    d = 20.

    Args:
        delay: d, in time steps, an even number.
        length: number of time steps of a sequence. Defaults to 300.
        batch_size: number of sequences of a batch. Defaults to 16.
        seed: of the inputs. The same seed gives the same stream. Defaults to 0.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y, sample_weight)`, float32, of
        shapes `(batch, length, 1)`, `(batch, length, 1)` and `(batch, length)`.

    Raises:
        ValueError: an odd d, no step left to score (d ≥ length), a seed beyond int64, or a
            batch of more than 2^30 steps.

    Example:

    ```python
    train = keras_floss.tasks.temporal_xor(delay=40)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """
    return hierarchical_xor(delay, length, batch_size, seed, levels=1)


def hierarchical_xor(
    delay: int, length: int = 300, batch_size: int = 16, seed: int = 0, levels: int = 2
) -> tf.data.Dataset:
    """Hierarchical temporal XOR of 2^h bits: `y_t = XOR_j x_{t−jd/2^h}`, j = 1..2^h.

    The oldest bit came d steps ago; h = 1 is `temporal_xor`.

    Args:
        delay: d, in time steps, a multiple of 2^h.
        length: number of time steps of a sequence. Defaults to 300.
        batch_size: number of sequences of a batch. Defaults to 16.
        seed: of the inputs. The same seed gives the same stream. Defaults to 0.
        levels: h. Defaults to 2.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y, sample_weight)`, float32, of
        shapes `(batch, length, 1)`, `(batch, length, 1)` and `(batch, length)`.

    Raises:
        ValueError: h < 1 or h > 30, a d that 2^h does not divide, no step left to score
            (d ≥ length), a seed beyond int64, or a batch of more than 2^30 steps.

    Example:

    ```python
    train = keras_floss.tasks.hierarchical_xor(delay=40, levels=2)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306), released code
    """
    check_positive_int("levels", levels)
    if levels > MOST_LEVELS:
        raise ValueError(f"`levels` must be at most {MOST_LEVELS}. Received: {levels}")
    return _stream(_spaced_xor(delay, 2**levels), delay, length, batch_size, seed)


def continuous_xor(
    delay: int, length: int = 300, batch_size: int = 16, seed: int = 0
) -> tf.data.Dataset:
    """Delayed temporal XOR of numbers: `y_t = |x_{t−d/2} − x_{t−d}|`, x uniform in [0, 1).

    The best guess without memory, 1/3, has a mean squared error of 1/18.

    Args:
        delay: d, in time steps, an even number.
        length: number of time steps of a sequence. Defaults to 300.
        batch_size: number of sequences of a batch. Defaults to 16.
        seed: of the inputs. The same seed gives the same stream. Defaults to 0.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y, sample_weight)`, float32, of
        shapes `(batch, length, 1)`, `(batch, length, 1)` and `(batch, length)`.

    Raises:
        ValueError: an odd d, no step left to score (d ≥ length), a seed beyond int64, or a
            batch of more than 2^30 steps.

    Example:

    ```python
    train = keras_floss.tasks.continuous_xor(delay=40)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """
    draw = tf.random.stateless_uniform
    return _stream(_spaced_xor(delay, 2), delay, length, batch_size, seed, draw=draw)


def spatial_xor(
    delay: int, length: int = 300, batch_size: int = 16, seed: int = 0
) -> tf.data.Dataset:
    """Delayed spatial XOR of three streams: `y_t = x¹ XOR x² XOR x³`, all at t − d.

    Args:
        delay: d, in time steps.
        length: number of time steps of a sequence. Defaults to 300.
        batch_size: number of sequences of a batch. Defaults to 16.
        seed: of the inputs. The same seed gives the same stream. Defaults to 0.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y, sample_weight)`, float32, of
        shapes `(batch, length, 3)`, `(batch, length, 1)` and `(batch, length)`.

    Raises:
        ValueError: d < 1, no step left to score (d ≥ length), a seed beyond int64, or a
            batch of more than 2^30 steps.

    Example:

    ```python
    train = keras_floss.tasks.spatial_xor(delay=40)
    x, y, sample_weight = next(iter(train))  # (16, 300, 3), (16, 300, 1), (16, 300)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """
    return _stream(
        lambda bits: _shift(functools.reduce(_xor, tf.split(bits, 3, axis=-1)), delay),
        delay,
        length,
        batch_size,
        seed,
        channels=3,
    )


def _spaced_xor(delay, parts):
    """The XOR of so many inputs, equally spaced, of which the oldest came `delay` ago."""
    check_positive_int("delay", delay)
    if delay % parts:
        raise ValueError(
            f"`delay` is that of the oldest of {parts} equally spaced inputs, so it must "
            f"be a multiple of {parts}. Received: {delay}"
        )

    def target(inputs):
        shifts = range(delay // parts, delay + 1, delay // parts)
        return functools.reduce(_xor, [_shift(inputs, steps) for steps in shifts])

    return target


def _xor(a, b):
    return tf.abs(a - b)


def _bits(shape, seed):
    bits = tf.random.stateless_uniform(shape, seed, 0, 2, tf.int64)
    return tf.cast(bits, tf.float32)


def _shift(bits, steps):
    """Inputs of `(batch, length, channels)`, `steps` later, with zeros before the first."""
    return tf.pad(bits[:, :-steps], [[0, 0], [steps, 0], [0, 0]])


def _stream(target, delay, length, batch_size, seed, channels=1, draw=_bits):
    check_positive_int("delay", delay)
    check_stream(seed, batch_size=batch_size, length=length)
    if delay >= length:
        raise ValueError(
            "`delay` must be less than the `length` of the sequences, or no step could be "
            f"scored. Received: delay={delay}, length={length}"
        )
    known = tf.cast(tf.range(length) >= delay, tf.float32)
    weights = tf.broadcast_to(known, (batch_size, length))

    def batch(index):
        inputs = draw((batch_size, length, channels), [seed, index])
        return inputs, target(inputs), weights

    return stream(batch)
