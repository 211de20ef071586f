"""Flossing during training, every so many updates."""

from keras_floss.callbacks.scheduled_flossing import ScheduledFlossing
from keras_floss.flossing.flossing import Flossing, takes_flossing
from keras_floss.flossing.flossing_optimizer import STEPS
from keras_floss.utils.checks import check_positive_int
from keras_floss.utils.typing import Data, Every, Optimizer, Verbose


class PeriodicFlossing(ScheduledFlossing):
    """Flosses the recurrent layers of a model every so many updates.

    Training drifts away from the flossed state; the flossing paper flosses again during
    training, which extends the delays that can be learned. Its released code flosses 500
    steps before training and 500 more after updates 100 and 200; `Preflossing(x)` and
    `PeriodicFlossing(x, every=100, times=2)` side by side do so at the same times, until
    the layers are flossed. It does not look at the task: where that is learned, flossing
    may do harm. `AdaptiveFlossing` sees to it that it does none.

    Updates are those of the model's optimiser since the callback was first given the
    model. It goes on counting from one `fit` to the next, so that a loop of
    `fit(epochs=1)` is one long run; for a new run make a new callback. Another model is a
    new start: models that are trained by turns want a callback each. A run that goes on
    from a later epoch, by `initial_epoch` or because `keras.callbacks.BackupAndRestore`
    found an interrupted run, goes on counting where it was.

    Args:
        x: inputs to floss on: an array or tensor, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a generator, with or without targets.
        every: `"epoch"`, or the number of updates from one flossing to the next. Nothing
            is flossed after the last update. Defaults to 100.
        steps: number of flossing steps each time, at most. Defaults to 100.
        times: how many times at most. Defaults to None, without end.
        flossing: a `keras_floss.Flossing`, what is flossed and how. Defaults to None: that
            of a `FlossingModel`, `Flossing()` of another model.
        optimizer: the flossing optimiser, or its name, for a plain Keras model. A
            `FlossingModel` brings its own. Defaults to None, that of
            `FlossingModel.compile`, with the small steps that it has in training.
        verbose: that of `fit`. Defaults to `"auto"`, the verbosity of the `fit` that the
            callback is given to.

    Attributes:
        history: a list with a `keras.callbacks.History` for each flossing of the newest
            model; `FlossingModel.floss` lists its keys.

    Raises:
        ValueError: a setting out of its range.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    callbacks = [
        keras_floss.callbacks.Preflossing(x_train),
        keras_floss.callbacks.PeriodicFlossing(x_train, every=100, times=2),
    ]
    model.fit(x_train, y_train, epochs=10, callbacks=callbacks)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """

    @takes_flossing
    def __init__(
        self,
        x: Data,
        every: Every = 100,
        steps: int = STEPS,
        times: int | None = None,
        *,
        flossing: Flossing | None = None,
        optimizer: Optimizer | None = None,
        verbose: Verbose = "auto",
    ) -> None:
        super().__init__(x, every, steps, flossing, optimizer, verbose)
        if times is not None:
            check_positive_int("times", times)
        self.times = times

    def on_time(self, number: int) -> None:
        if self.times is None or number <= self.times:
            super().on_time(number)
