"""Flossing during training, when the exponents have drifted."""

import keras

from keras_floss.callbacks.scheduled_flossing import ScheduledFlossing
from keras_floss.utils.checks import check_positive, check_positive_int


class AdaptiveFlossing(ScheduledFlossing):
    """Flosses the recurrent layers of a model when training has moved their exponents.

    Every so many updates it looks at the flossing loss on fresh data. Where that is past
    `tolerance`, it flosses until the loss of a step is under a tenth of it, or `steps`
    are done. This goes past the flossing paper, which flosses at fixed times: it flosses
    less where training leaves the exponents alone and more where it does not.
    `Preflossing(x)` beside it flosses before the first update.

    It counts updates or epochs as `PeriodicFlossing` does: from one `fit` of a model to
    the next, on from a later epoch, and from 0 for another model.

    Args:
        x: inputs to floss on, as in `Preflossing`.
        every: `"epoch"`, or the number of updates from one look to the next. Nothing is
            done after the last update. Defaults to 50.
        tolerance: flossing loss past which it flosses. Defaults to 0.005.
        steps: number of flossing steps at most each time. Defaults to 200.
        until: number of updates (epochs, for `"epoch"`) after which it looks no more.
            Defaults to None: it looks until training ends.
        **settings: `batch_size`, `window`, `k`, `target`, `warmup`, `qr_interval`,
            `layers`, `seed`, `optimizer` and `verbose`, as in `Preflossing`. A plain Keras
            model that has both callbacks wants the same `optimizer` object in both.

    Attributes:
        looks: dict of lists, an entry for each look at the newest model: `time` (updates
            or epochs), `flossing_loss`, and `steps`, the number of flossing steps that
            followed.
        history: a list with a `keras.callbacks.History` for each flossing of that model;
            `FlossingModel.floss` lists its keys.

    Raises:
        ValueError: a setting out of its range.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    flossing = {"window": 55, "k": 32}
    callbacks = [
        keras_floss.callbacks.Preflossing(x_train, steps=500, **flossing),
        keras_floss.callbacks.AdaptiveFlossing(x_train, until=1000, **flossing),
    ]
    model.fit(x_train, y_train, epochs=10, callbacks=callbacks)
    ```
    """

    def __init__(self, x, every=50, tolerance=0.005, steps=200, until=None, **settings):
        super().__init__(x, every, steps, **settings)
        check_positive("tolerance", tolerance)
        if until is not None:
            check_positive_int("until", until)
        self.tolerance = tolerance
        self.until = until

    def begin(self):
        super().begin()
        self.looks = {"time": [], "flossing_loss": [], "steps": []}

    def on_time(self, number):
        time = number if self.every == "epoch" else number * self.every
        if self.until is not None and time > self.until:
            return
        # The next data that flossing would take, moved on by the looks before.
        start = self.flossed + number
        loss = self.flosser.look(self.x, self.flossing, start=start)["flossing_loss"]
        before = self.flosser.iterations
        # NaN and the ∞ of a dead layer are flossed too, to be met by the error that says
        # where it is.
        if not loss <= self.tolerance:
            done = StopBelow(self.tolerance / 10)
            self.history.append(self.floss(callbacks=[done]))
        for name, value in (
            ("time", time),
            ("flossing_loss", loss),
            ("steps", self.flosser.iterations - before),
        ):
            self.looks[name].append(value)


class StopBelow(keras.callbacks.Callback):
    """Ends flossing once the loss of a step is below a threshold."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def on_train_batch_end(self, batch, logs=None):
        if logs["flossing_loss"] < self.threshold:
            self.model.stop_training = True
