"""Counts the updates of a `fit`, across interruptions."""

from keras_floss.lyapunov.checks import check_positive_int
from keras_floss.models.update import iterations


class UpdateClock:
    """Tells before a batch whether a multiple of `every` updates was just passed.

    A callback that has one calls its methods from the Keras methods of the same time. The
    count is that of the task's optimiser in this run: a run that goes on from a later
    epoch, by `initial_epoch` or because `keras.callbacks.BackupAndRestore` found an
    interrupted run, goes on counting where it was. Nothing is passed after the last
    update, since no batch follows.

    Args:
        every: number of updates.
    """

    def __init__(self, every):
        check_positive_int("every", every)
        self.every = every
        self._start = self._passed = None

    def set_model(self, model):
        """Before any callback has restored anything."""
        self._model = model
        self._start, self._passed = self._iterations(), None

    def on_epoch_begin(self, epoch):
        if self._passed is None:
            # Not restored here, but by whoever passed `initial_epoch`.
            if epoch > 0 and not self.updates():
                self._start = 0
            # The multiple that an interrupted run met last may not have been acted on.
            last = max(self.updates() - self._model.steps_per_execution, 0)
            self._passed = last // self.every
        self._before_epoch = self.updates()

    def on_train_batch_begin(self, batch):
        """How many multiples were passed so far, if that has changed; else None."""
        # The optimiser is asked where it may matter only: on a GPU that waits for the
        # updates under way. It may count less than the batches (gradient accumulation).
        if (self._before_epoch + batch) // self.every <= self._passed:
            return None
        now = self.updates() // self.every
        if now <= self._passed:
            return None
        self._passed = now
        return now

    def updates(self):
        """The number of updates of this run so far."""
        return self._iterations() - self._start

    def _iterations(self):
        return iterations(self._model.optimizer)
