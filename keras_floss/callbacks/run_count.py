"""Counts what an optimiser does to a model, over its `fit`s and across interruptions."""

import keras

from keras_floss.flossing.update import iterations


class RunCount:
    """The number of updates that an optimiser made in a run.

    The run begins with the first `fit` that this is told of, and goes on in the next one.
    Where it begins at a later epoch, by `initial_epoch` or because
    `keras.callbacks.BackupAndRestore` found an interrupted run, it is that run which goes
    on.
    """

    def __init__(self) -> None:
        self._optimizer: keras.optimizers.Optimizer | None = None
        self._start = 0
        self._first = True

    @property
    def value(self) -> int:
        """The number of updates so far."""
        return iterations(self._optimizer) - self._start

    def begin_fit(self, optimizer: keras.optimizers.Optimizer | None) -> None:
        """Before any callback has restored anything."""
        # A model that was compiled anew may have another optimiser.
        self._start = iterations(optimizer) - self.value
        self._optimizer = optimizer

    def on_epoch_begin(self, epoch: int) -> None:
        # With `initial_epoch` the caller restored the optimiser before `fit`.
        if self._first and epoch > 0 and not self.value:
            self._start = 0
        self._first = False
