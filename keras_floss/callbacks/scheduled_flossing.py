"""What the callbacks that floss during training share: when."""

from keras_floss.callbacks.flossing_callback import FlossingCallback
from keras_floss.callbacks.update_clock import make_clock


class ScheduledFlossing(FlossingCallback):
    """Flosses every so many updates, or before every epoch but the first.

    Args:
        every: `"epoch"`, or a number of updates.
        x, steps, **settings: as in `Preflossing`.
    """

    def __init__(self, x, every, steps, **settings):
        self.every = every
        super().__init__(x, steps, **settings)

    def begin(self):
        super().begin()
        self._clock = make_clock(self.every)
        self.history = []

    def on_time(self, number):
        """What is done for the `number`-th time, from 1."""
        self.history.append(self.floss())

    def set_model(self, model):
        super().set_model(model)
        self._clock.set_model(model)

    # Not at the end of an epoch or of a batch: a backup would or would not hold what is
    # done here by the order of the callbacks, and after the last update it would undo
    # what was trained.
    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._act(self._clock.on_epoch_begin(epoch))

    def on_train_batch_begin(self, batch, logs=None):
        self._act(self._clock.on_train_batch_begin(batch))

    def on_epoch_end(self, epoch, logs=None):
        self._clock.on_epoch_end()

    def _act(self, number):
        if number is not None:
            self.on_time(number)
