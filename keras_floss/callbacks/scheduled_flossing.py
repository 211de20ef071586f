"""What the callbacks that floss during training share: when."""

import keras

from keras_floss.callbacks.flossing_callback import FlossingCallback
from keras_floss.callbacks.update_clock import make_clock
from keras_floss.flossing.flossing import Flossing
from keras_floss.utils.typing import Data, Every, Logs, Optimizer, Verbose


class ScheduledFlossing(FlossingCallback):
    """Flosses every so many updates, or before every epoch but the first.

    Args:
        every: `"epoch"`, or a number of updates.
        x, steps, flossing, optimizer, verbose: those of `Preflossing`.
    """

    def __init__(
        self,
        x: Data,
        every: Every,
        steps: int,
        flossing: Flossing | None,
        optimizer: Optimizer | None,
        verbose: Verbose,
    ) -> None:
        self.every = every
        super().__init__(x, steps, flossing, optimizer, verbose)

    def begin(self) -> None:
        super().begin()
        self._clock = make_clock(self.every)
        self.history: list[keras.callbacks.History] = []

    def on_time(self, number: int) -> None:
        """What is done for the `number`-th time, from 1."""
        self.history.append(self.floss())

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._clock.set_model(model)

    # Not at the end of an epoch or of a batch: whether a backup holds what is done here
    # would depend on the order of the callbacks, and after the last update flossing would
    # undo what was trained.
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._act(self._clock.on_epoch_begin(epoch))

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._act(self._clock.on_train_batch_begin(batch))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._clock.on_epoch_end()

    def _act(self, number: int | None) -> None:
        if number is not None:
            self.on_time(number)
