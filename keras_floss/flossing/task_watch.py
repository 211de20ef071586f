"""Has a model keep what it has learned while it is flossed again.

The rules were chosen on `RateRNN` with a delayed copy and a temporal XOR. At chance,
flossing raises the loss on a batch by a tenth at most, which the next updates make good:
there it must go on, since it is what finds the way out. Where the task is learned, the
gradient leads there by itself, and flossing can only do harm.
"""

import math
from collections.abc import Mapping

import keras

from keras_floss.diagnostics.task_gradient import task_loss
from keras_floss.flossing.snapshot import Snapshot, moved

# Of what the task's loss was at the look before: what it has fallen to where it falls.
FALLING = 0.9
# Of what the task's loss was before flossing: how much more is harm.
HARM = 0.25


class TaskWatch:
    """Watches the task's loss on one batch of it, in inference mode.

    Args:
        model: the model.
        batch: `(x, y, sample_weight)`. None: there is no task to watch, its loss never
            falls and nothing is undone.
        layers: the recurrent layers that are flossed, by name.
    """

    def __init__(
        self,
        model: keras.Model,
        batch: tuple | None,
        layers: Mapping[str, keras.layers.RNN],
    ) -> None:
        self._model, self._batch, self._layers = model, batch, list(layers)
        self._variables = moved(layers)
        self._loss: float | None = None
        self._learned = -math.inf  # flossing does harm where the loss is no larger

    def look(self) -> bool:
        """Whether flossing had better wait. To be called before each flossing."""
        if self._batch is None:
            return False
        last, self._loss = self._loss, self._look(self._batch)
        self._before = Snapshot(self._variables)
        falls = last is not None and last - self._loss > (1 - FALLING) * abs(last)
        return falls or self._loss <= self._learned

    def undo_harm(self) -> bool:
        """Undoes what was done since the look, if the loss has risen; whether it did."""
        if self._batch is None:
            return False
        before, after = self._loss, self._look(self._batch)
        if before is None or after - before <= HARM * abs(before):
            self._loss = after
            return False
        self._before.restore()
        self._learned = before + HARM * abs(before)
        return True

    def _look(self, batch: tuple) -> float:
        return task_loss(self._model, batch, self._layers)
