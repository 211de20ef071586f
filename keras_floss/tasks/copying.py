"""The copying memory task: ten symbols, a long wait, and the ten symbols again.

With a delay of T, `s` a symbol of 1..8 and 9 the delimiter:

    input   s s s s s s s s s s  0 ... 0  9  0 0 0 0 0 0 0 0 0 0
    target  0 0 0 0 0 0 0 0 0 0  0 ... 0  0  s s s s s s s s s s
            10 steps             T - 1    1  10 steps
"""

import keras
import tensorflow as tf

from keras_floss.tasks.stream import check_stream, stream

COPIED = 10  # symbols to remember, and steps to give them back in
SYMBOLS = 8  # 1..8; 0 is the blank
DELIMITER = SYMBOLS + 1


def copying_memory(
    delay: int, batch_size: int = 100, seed: int = 0, one_hot: bool = False
) -> tf.data.Dataset:
    """Copying memory: ten symbols, to be given back T + 10 steps later.

    The loss is over all steps: 10·log(8)/(T + 20) for the best guess without memory, which
    is the blank up to the delimiter, and each symbol with probability 1/8 after it.
    `copying_accuracy` looks at the last ten steps only, where chance is 1/8.

    Sequences have T + 20 steps. A model whose `keras.Input` leaves their number open can be
    trained at one delay and evaluated at another: transfer copying.

    Args:
        delay: T, in time steps, from the last symbol to the delimiter.
        batch_size: number of sequences of a batch. Defaults to 100.
        seed: of the symbols. The same seed gives the same stream. Defaults to 0.
        one_hot: whether a step's input is ten numbers, 1 for its token and 0 for the
            others, as in Arjovsky et al. Defaults to False: one number, that of the token,
            as in the released code of h-detach.

    Returns:
        An endless `tf.data.Dataset` of fresh batches `(x, y)`: x float32 of shape
        `(batch, T + 20, 1)`, or `(batch, T + 20, 10)` with `one_hot`, and y int32 of shape
        `(batch, T + 20)`, classes 0..8 for `SparseCategoricalCrossentropy`.

    Raises:
        ValueError: T < 1, `batch_size` < 1, a seed beyond int64, or a batch of more than
            2^30 steps.

    Example:

    ```python
    inputs = keras.Input((None, 1))
    hidden = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(9)(hidden))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras_floss.tasks.copying_accuracy],
    )
    model.fit(keras_floss.tasks.copying_memory(100), epochs=20, steps_per_epoch=1000)
    model.evaluate(keras_floss.tasks.copying_memory(200, seed=1), steps=100)
    ```

    References:
        [Hochreiter & Schmidhuber, Neural Computation 1997](https://doi.org/10.1162/neco.1997.9.8.1735),
        [Arjovsky et al., ICML 2016](https://arxiv.org/abs/1511.06464),
        [Kanuparthi et al., ICLR 2019](https://arxiv.org/abs/1810.03023)
    """
    check_stream(seed, batch_size=batch_size, delay=delay)

    def blanks(steps):
        return tf.zeros((batch_size, steps), tf.int32)

    def batch(index):
        symbols = tf.random.stateless_uniform(
            (batch_size, COPIED), [seed, index], 1, SYMBOLS + 1, tf.int32
        )
        delimiter = tf.fill((batch_size, 1), DELIMITER)
        tokens = tf.concat([symbols, blanks(delay - 1), delimiter, blanks(COPIED)], axis=1)
        if one_hot:
            inputs = tf.one_hot(tokens, DELIMITER + 1)
        else:
            inputs = tf.cast(tokens, tf.float32)[..., tf.newaxis]
        return inputs, tf.concat([blanks(delay + COPIED), symbols], axis=1)

    return stream(batch)


def copying_accuracy(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Share of the last ten symbols that are right; chance is 1/8.

    A metric for `compile(metrics=[keras_floss.tasks.copying_accuracy])`, since the accuracy
    of all steps counts the blanks, which need no memory.

    Args:
        y_true: classes, of shape `(batch, time)`.
        y_pred: logits or probabilities, of shape `(batch, time, 9)`.

    Returns:
        A tensor of shape `(batch,)`, float32.

    Example:

    ```python
    x, y = next(iter(keras_floss.tasks.copying_memory(100)))
    perfect = keras.ops.one_hot(y, 9)
    accuracy = keras_floss.tasks.copying_accuracy(y, perfect)  # ones, (100,)
    ```

    References:
        [Kanuparthi et al., ICLR 2019](https://arxiv.org/abs/1810.03023), released code
    """
    guesses = keras.ops.argmax(y_pred[:, -COPIED:], axis=-1)
    # Keras hands the classes to a metric as floats.
    classes = keras.ops.cast(y_true[:, -COPIED:], guesses.dtype)
    right = keras.ops.equal(guesses, classes)
    return keras.ops.mean(keras.ops.cast(right, "float32"), axis=-1)


# No decorator, behind which a type checker would not see the function.
keras.saving.register_keras_serializable(package="keras_floss")(copying_accuracy)
