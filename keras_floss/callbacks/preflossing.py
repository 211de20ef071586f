"""Flossing before training."""

import keras

from keras_floss.callbacks.flossing_callback import FlossingCallback
from keras_floss.lyapunov.checks import check_positive_int
from keras_floss.models.update import iterations


class Preflossing(FlossingCallback):
    """Flosses the recurrent layers of a model before its first update.

    Works with a `FlossingModel` and with any other `keras.Model`. It flosses once: when
    the same callback is given to `fit` again, it does nothing. Nor does it when training
    goes on from a later epoch than the first, by `initial_epoch` or because
    `keras.callbacks.BackupAndRestore` found an interrupted run: the weights are then
    those of a network that was flossed.

    A `FlossingModel` is saved by the `keras.callbacks.BackupAndRestore` of the same `fit`
    while it is flossed and after, so that a run that is killed goes on where it was, in
    the middle of preflossing too. A plain Keras model does not carry the state of the
    flossing optimiser: if it is killed before its first epoch ends, it is flossed anew.

    Args:
        x: inputs to floss on: an array or tensor, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a generator, with or without targets.
        steps: number of flossing steps. Defaults to 500.
        save_freq: number of flossing steps from one backup to the next. Defaults to 100.
        batch_size, window, k, target, warmup, qr_interval, layers, seed: as in
            `FlossingModel.floss`, with its defaults.
        optimizer: the flossing optimiser, or its name, for a plain Keras model. A
            `FlossingModel` brings its own. Defaults to None, Adam with a learning rate of
            1e-3.
        verbose: as in `fit`. Defaults to `"auto"`, the verbosity of the `fit` that it is
            given to.

    Attributes:
        history: a `keras.callbacks.History` with an entry for each flossing step that it
            took in this process, or None; `FlossingModel.floss` lists its keys.

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

    def __init__(self, x, steps=500, *, save_freq=100, **settings):
        super().__init__(x, steps, **settings)
        check_positive_int("save_freq", save_freq)
        self.save_freq = save_freq
        self._finished = False

    # Not in `on_train_begin`: there other callbacks may still restore weights.
    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self._finished or epoch > 0:
            return
        done = self.flosser.claim(self.steps)
        if done < self.steps:
            back_up = BackUp(self.model, epoch, self.save_freq)
            self.history = self.floss(self.steps - done, callbacks=[back_up])
            back_up.save()
        self._finished = True


class BackUp(keras.callbacks.Callback):
    """Saves a FlossingModel every so many flossing steps, by its BackupAndRestore."""

    def __init__(self, model, epoch, save_freq):
        super().__init__()
        self.save = lambda: model.back_up(epoch) if hasattr(model, "back_up") else None
        self._save_freq = save_freq

    def _times(self):
        return iterations(self.model.optimizer) // self._save_freq

    def on_train_begin(self, logs=None):
        self._saved = self._times()

    def on_train_batch_end(self, batch, logs=None):
        if self._times() > self._saved:
            self._saved = self._times()
            self.save()
