"""What flossing steps log."""

import keras
import numpy as np

MAX_SKIPPED = 10


class StepHistory(keras.callbacks.History):
    """A History with one entry per flossing step; stops a pass that cannot go on.

    Args:
        layers: names of the recurrent layers that are flossed.
    """

    def __init__(self, layers):
        super().__init__()
        self._layers = list(layers)
        self._in_a_row = 0

    def on_train_batch_end(self, batch, logs=None):
        logs = {name: float(value) for name, value in (logs or {}).items()}
        # Not from `batch`: with `steps_per_execution` it is the first step of an execution
        # or the last one, by the version of Keras.
        before = self.epoch[-1] if self.epoch else 0
        now = min(before + self.model.steps_per_execution, self.params["steps"])
        skipped = logs["flossing_skipped"] - self.history.get("flossing_skipped", [0])[-1]
        self._in_a_row = self._in_a_row + now - before if skipped == now - before else 0
        self.epoch.append(now)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
        if self._in_a_row >= MAX_SKIPPED:
            raise FloatingPointError(self._message(logs))

    def on_epoch_end(self, epoch, logs=None):
        """Leaves out what History does: its entries are epochs."""

    def _message(self, logs):
        losses = {name: logs.get(f"{name}/flossing_loss", 0.0) for name in self._layers}
        bad = [name for name, loss in losses.items() if not np.isfinite(loss)]
        return (
            f"{self._in_a_row} flossing steps in a row were skipped, because the flossing "
            "loss or its gradient was not finite, in the recurrent layer(s) "
            f"{', '.join(bad or self._layers)}. The weights are as they were before. Look "
            "for NaN or Inf in the data and in the weights, or exponents that overflow."
        )
