"""Flossing before training."""

from keras_floss.callbacks.flossing_callback import FlossingCallback


class Preflossing(FlossingCallback):
    """Flosses the recurrent layers of a model before its first update.

    Works with a `FlossingModel` and with any other `keras.Model`. It flosses once: when
    the same callback is given to `fit` again, it does nothing. Nor does it when training
    goes on from a later epoch than the first, by `initial_epoch` or because
    `keras.callbacks.BackupAndRestore` found an interrupted run: the weights are then
    those of a network that was flossed.

    Args:
        x: inputs to floss on: an array or tensor, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a generator, with or without targets.
        steps: number of flossing steps. Defaults to 500.
        batch_size, window, k, target, warmup, qr_interval, layers, seed: as in
            `FlossingModel.floss`, with its defaults.
        optimizer: the flossing optimiser, or its name, for a plain Keras model. A
            `FlossingModel` brings its own. Defaults to None, Adam with a learning rate of
            1e-3.
        verbose: as in `fit`. Defaults to `"auto"`, the verbosity of the `fit` that it is
            given to.

    Attributes:
        history: a `keras.callbacks.History` with an entry for each flossing step once it
            has flossed, else None; `FlossingModel.floss` lists its keys.

    Raises:
        ValueError: a setting out of its range; when training begins, a model without a
            recurrent layer that can be flossed.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    preflossing = keras_floss.callbacks.Preflossing(x_train, steps=500, window=55, k=32)
    model.fit(x_train, y_train, epochs=10, callbacks=[preflossing])
    preflossing.history.history["flossing_loss"]  # 500 numbers, falling
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """

    # Not in `on_train_begin`: there other callbacks may still restore weights.
    def on_epoch_begin(self, epoch, logs=None):
        if self.history is None and epoch == 0:
            self.history = self.floss()
