"""Flossing during training, every so many updates."""

from keras_floss.callbacks.scheduled_flossing import ScheduledFlossing
from keras_floss.utils.checks import check_positive_int


class PeriodicFlossing(ScheduledFlossing):
    """Flosses the recurrent layers of a model every so many updates.

    Training drifts away from the flossed state; the flossing paper flosses again during
    training, which extends the delays that can be learned. Its released code flosses 500
    steps before training and 500 more after updates 100 and 200: that is `Preflossing(x)`
    and `PeriodicFlossing(x, every=100, times=2)` side by side. Flossing for the whole of
    training can do harm.

    Updates are those of the model's optimiser since the callback was first given the
    model. It goes on counting from one `fit` to the next, so that a loop of
    `fit(epochs=1)` is one long run; for a new run make a new callback. Another model is a
    new start: models that are trained by turns want a callback each. A run that goes on
    from a later epoch, by `initial_epoch` or because `keras.callbacks.BackupAndRestore`
    found an interrupted run, goes on counting where it was.

    Args:
        x: inputs to floss on, as in `Preflossing`.
        every: `"epoch"`, or the number of updates from one flossing to the next. Nothing
            is flossed after the last update. Defaults to 100.
        steps: number of flossing steps each time. Defaults to 500.
        times: how many times at most. Defaults to None, without end.
        **settings: `batch_size`, `window`, `k`, `target`, `warmup`, `qr_interval`,
            `layers`, `seed`, `optimizer` and `verbose`, as in `Preflossing`. A plain Keras
            model that has both callbacks wants the same `optimizer` object in both.

    Attributes:
        history: a list with a `keras.callbacks.History` for each flossing of the newest
            model; `FlossingModel.floss` lists its keys.

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
        super().__init__(x, every, steps, **settings)
        if times is not None:
            check_positive_int("times", times)
        self.times = times

    def on_time(self, number):
        if self.times is None or number <= self.times:
            super().on_time(number)
