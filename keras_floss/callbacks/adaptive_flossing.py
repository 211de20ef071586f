"""Flossing during training, when the exponents have drifted."""

import dataclasses

import numpy as np

from keras_floss.callbacks.race import lost_race
from keras_floss.callbacks.scheduled_flossing import ScheduledFlossing
from keras_floss.flossing.flossing import Flossing, takes_flossing
from keras_floss.flossing.task_watch import TaskWatch
from keras_floss.utils.checks import check_positive, check_positive_int
from keras_floss.utils.typing import Data, Every, Optimizer, Verbose


class AdaptiveFlossing(ScheduledFlossing):
    """Flosses the recurrent layers of a model when training has moved their exponents.

    Every so many updates it looks at the flossing loss on fresh data. Where that is past
    `tolerance`, it flosses until the mean of three losses is under a tenth of it, or
    `steps` are done. This goes past the flossing paper, which flosses at fixed times: it
    flosses less where training leaves the exponents alone and more where it does not.
    `Preflossing(x)` beside it flosses before the first update.

    Where `x` has targets, nothing that was learned is lost. At each look it computes the
    task's loss on one batch, always the same: it rests while that falls, by a tenth or
    more from one look to the next, and undoes a flossing that raised it by more than a
    quarter. After that it rests until training has raised it as much. On a model that a
    `Preflossing` of this process has put back, since it was worse flossed, it rests always.

    It counts updates or epochs as `PeriodicFlossing` does: from one `fit` of a model to
    the next, on from a later epoch, and from 0 for another model.

    Args:
        x: inputs to floss on: an array or tensor, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a generator, with or without targets.
        every: `"epoch"`, or the number of updates from one look to the next. Nothing is
            done after the last update. Defaults to 50.
        tolerance: flossing loss past which it flosses. Defaults to 0.005.
        steps: number of flossing steps at most each time. Few, since training moves the
            exponents again. Defaults to 20.
        until: number of updates (epochs, for `"epoch"`) after which it looks no more.
            Defaults to None: it looks until training ends.
        flossing: a `keras_floss.Flossing`, what is flossed and how. Defaults to None: that
            of a `FlossingModel`, `Flossing()` of another model.
        optimizer: the flossing optimiser, or its name, for a plain Keras model. A
            `FlossingModel` brings its own. Defaults to None, that of
            `FlossingModel.compile`, with the small steps that it has in training.
        verbose: that of `fit`. Defaults to `"auto"`, the verbosity of the `fit` that the
            callback is given to.

    Attributes:
        looks: dict of lists, an entry for each look at the newest model: `time` (updates
            or epochs), `flossing_loss`, `steps`, the number of flossing steps that
            followed, and `undone`, 1 where they were undone, else 0.
        history: a list with a `keras.callbacks.History` for each flossing of that model;
            `FlossingModel.floss` lists its keys.

    Raises:
        ValueError: a setting out of its range.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    callbacks = [
        keras_floss.callbacks.Preflossing((x_train, y_train)),
        keras_floss.callbacks.AdaptiveFlossing((x_train, y_train)),
    ]
    model.fit(x_train, y_train, epochs=10, callbacks=callbacks)
    ```
    """

    @takes_flossing
    def __init__(
        self,
        x: Data,
        every: Every = 50,
        tolerance: float = 0.005,
        steps: int = 20,
        until: int | None = None,
        *,
        flossing: Flossing | None = None,
        optimizer: Optimizer | None = None,
        verbose: Verbose = "auto",
    ) -> None:
        super().__init__(x, every, steps, flossing, optimizer, verbose)
        check_positive("tolerance", tolerance)
        if until is not None:
            check_positive_int("until", until)
        self.tolerance = tolerance
        self.until = until

    def begin(self) -> None:
        super().begin()
        names = "time", "flossing_loss", "steps", "undone"
        self.looks: dict[str, list[float]] = {name: [] for name in names}
        self._task: TaskWatch | None = None

    def on_time(self, number: int) -> None:
        time = number if self.every == "epoch" else number * self.every
        if self.until is not None and time > self.until:
            return
        if self._task is None:
            self._task = self.flosser.task(self.x, self.flossing)
        # The data that flossing would take next, and other data at each look.
        start = self.flossed + number
        loss = self.flosser.look(self.x, self.flossing, start=start)["flossing_loss"]
        before, undone = self.flosser.iterations, False
        rests = self._task.look() or lost_race(self.model)
        # NaN and the ∞ of a dead layer are flossed too: flossing raises the error that
        # names the layer.
        if not loss <= self.tolerance and not (rests and np.isfinite(loss)):
            until = dataclasses.replace(self.flossing, tolerance=self.tolerance / 10)
            self.history.append(self.floss(flossing=until))
            undone = self._task.undo_harm()
        for name, value in (
            ("time", time),
            ("flossing_loss", loss),
            ("steps", self.flosser.iterations - before),
            ("undone", int(undone)),
        ):
            self.looks[name].append(value)
