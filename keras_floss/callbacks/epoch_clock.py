"""Counts the epochs of a run, over its `fit`s."""

import keras


class EpochClock:
    """Tells before an epoch how many came before it, over the `fit`s of a model.

    It has the methods of an `UpdateClock`. A `fit` that begins at epoch 0 adds to those
    before it; one that begins at a later epoch says itself how many came before.
    """

    def __init__(self) -> None:
        self.done = self._earlier = 0

    def set_model(self, model: keras.Model) -> None:
        """Nothing depends on the model."""

    def on_epoch_begin(self, epoch: int) -> int | None:
        """The number of epochs before this one, or None if it is the first."""
        if epoch == 0:
            self._earlier = self.done
        self.done = self._earlier + epoch
        return self.done or None

    def on_train_batch_begin(self, batch: int) -> int | None:
        return None  # nothing is passed here

    def on_epoch_end(self) -> None:
        self.done += 1
