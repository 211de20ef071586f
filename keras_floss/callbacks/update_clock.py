"""Counts the updates of a run, across interruptions."""

import warnings
from typing import Any

import keras

from keras_floss.callbacks.epoch_clock import EpochClock
from keras_floss.callbacks.run_count import RunCount
from keras_floss.utils.checks import check_positive_int
from keras_floss.utils.typing import Every


def make_clock(every: Every) -> "EpochClock | UpdateClock":
    """The clock of `every`, which is `"epoch"` or a number of updates."""
    return EpochClock() if every == "epoch" else UpdateClock(every)


class UpdateClock:
    """Tells before a batch whether a multiple of `every` updates was just passed.

    A callback that has one calls its methods from the Keras methods of the same time, and
    makes a new one for another model. The count is that of the task's optimiser in this
    run; see `RunCount`. Nothing is passed after the last update, since no batch follows.

    Args:
        every: number of updates.
    """

    def __init__(self, every: int) -> None:
        check_positive_int("every", every)
        self.every = every
        self._count = RunCount()
        self._passed: Any = None

    def set_model(self, model: keras.Model) -> None:
        """Before any callback has restored anything."""
        self._model = model
        self._count.begin_fit(model.optimizer)
        self._before: int | None = self.done

    @property
    def done(self) -> int:
        """The number of updates of this run so far."""
        return self._count.value

    def on_epoch_begin(self, epoch: int) -> None:
        """Nothing is passed here."""
        self._count.on_epoch_begin(epoch)
        self._before_epoch = self.done
        restored = self._before not in (None, self._before_epoch)
        if (
            self._passed is None
            or restored
            or self._before_epoch < self._passed * self.every  # loaded by hand
        ):
            # The multiple that an interrupted run met last may not have been acted on.
            last = max(self._before_epoch - self._model.steps_per_execution, 0)
            self._passed = last // self.every
        self._before = None

    def on_train_batch_begin(self, batch: int) -> int | None:
        """How many multiples were passed so far, if that has changed; else None."""
        # The optimiser is asked only where it may matter, since on a GPU that waits for the
        # updates under way. It may count fewer than the batches (gradient accumulation).
        if (self._before_epoch + batch) // self.every <= self._passed:
            return None
        now = self.done // self.every
        if now <= self._passed:
            return None
        self._passed = now
        return now

    def on_epoch_end(self) -> None:
        """Warns of an epoch without an update, in which nothing can be passed."""
        if self.done == self._before_epoch:
            warnings.warn(
                "`every` counts updates by the optimiser of the model's `compile`, which "
                'made none in this epoch. Use `every="epoch"` if the model has others.',
                stacklevel=2,
            )
