"""Flossing during training, every so many updates."""

from keras_floss.callbacks.flossing_callback import FlossingCallback
from keras_floss.lyapunov.checks import check_positive_int


class PeriodicFlossing(FlossingCallback):
    """Flosses the recurrent layers of a model every so many updates of a `fit`.

    Training drifts away from the flossed state; the flossing paper flosses again during
    training, which extends the delays that can be learned. Its released code flosses 500
    steps before training and 500 more after updates 100 and 200: that is `Preflossing(x)`
    and `PeriodicFlossing(x, every=100, times=2)` side by side. Flossing for the whole of
    training can do harm.

    A run that goes on from a later epoch, by `initial_epoch` or because
    `keras.callbacks.BackupAndRestore` found an interrupted run, goes on counting where it
    was.

    Args:
        x: inputs to floss on, as in `Preflossing`.
        every: `"epoch"`, or the number of updates from one flossing to the next. Nothing
            is flossed after the last epoch. Defaults to 100.
        steps: number of flossing steps each time. Defaults to 500.
        times: how many times at most. Defaults to None, without end.
        **settings: `batch_size`, `window`, `k`, `target`, `warmup`, `qr_interval`,
            `layers`, `seed`, `optimizer` and `verbose`, as in `Preflossing`. A plain Keras
            model that has both callbacks wants the same `optimizer` object in both.

    Attributes:
        history: a list with a `keras.callbacks.History` for each flossing;
            `FlossingModel.floss` lists its keys.

    Raises:
        ValueError: a setting out of its range.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    flossing = {"steps": 500, "window": 55, "k": 32}
    callbacks = [
        keras_floss.callbacks.Preflossing(x_train, **flossing),
        keras_floss.callbacks.PeriodicFlossing(x_train, every=100, times=2, **flossing),
    ]
    model.fit(x_train, y_train, epochs=10, callbacks=callbacks)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """

    def __init__(self, x, every=100, steps=500, times=None, **settings):
        super().__init__(x, steps, **settings)
        if every != "epoch":
            check_positive_int("every", every)
        if times is not None:
            check_positive_int("times", times)
        self.every = every
        self.times = times
        self.history = []
        self._start = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._start = None

    def on_epoch_begin(self, epoch, logs=None):
        # Not at the end of the epoch before: what a backup then holds would depend on the
        # order of the callbacks.
        if self.every == "epoch":
            if epoch > 0:
                self._floss_for_the(epoch)
            return
        if self._start is None:
            self._start = int(self.model.optimizer.iterations) if epoch == 0 else 0
        self._before_epoch = self._updates()
        self._passed = self._before_epoch // self.every

    def on_train_batch_end(self, batch, logs=None):
        # The optimiser's count is asked for where it may matter only: on a GPU that waits
        # for the updates under way. With `steps_per_execution` a multiple may be passed,
        # not met, and `batch` is the first or the last of them, by the version of Keras.
        if (
            self.every != "epoch"
            and (self._before_epoch + batch + self.model.steps_per_execution) // self.every
            > self._passed
            and self._updates() // self.every > self._passed
        ):
            self._passed = self._updates() // self.every
            self._floss_for_the(self._passed)

    def _updates(self):
        """Updates of the task in this run."""
        return int(self.model.optimizer.iterations) - self._start

    def _floss_for_the(self, time):
        if self.times is None or time <= self.times:
            self.history.append(self.floss())
