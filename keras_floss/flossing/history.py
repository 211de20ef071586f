"""What flossing steps log."""

from collections.abc import Iterable

import keras
import numpy as np

from keras_floss.utils.typing import Logs

MAX_SKIPPED = 10


class StepHistory(keras.callbacks.History):
    """A History with one entry per flossing step; stops a pass that cannot go on.

    Args:
        layers: names of the recurrent layers that are flossed.

    Attributes:
        ended: why the pass ended, in a word, and
        message: in a sentence; see `Ending`, which sets both.
        opened: `{layer name: number of units}` whose gates were opened; see `open_gates`.
        scaled: `{layer name: by what its input kernel was multiplied}`; see `limit_drive`.
    """

    def __init__(self, layers: Iterable[str]) -> None:
        super().__init__()
        self._layers = list(layers)
        self._in_a_row = 0
        self.ended: str | None = None
        self.message = ""
        self.opened: dict[str, int] = {}
        self.scaled: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
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

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Leaves out what History does: its entries are epochs."""

    def _message(self, logs: Logs) -> str:
        def of(name: str, key: str) -> float:
            return logs.get(f"{name}/{key}", logs[key] if len(self._layers) == 1 else 0.0)

        bad = [x for x in self._layers if not np.isfinite(of(x, "flossing_loss"))]
        # A loss may also be ∞ because exponents overflow: then no direction is lost.
        dead = [
            x for x in bad if np.isinf(of(x, "flossing_loss")) and of(x, "lost_directions")
        ]
        first = f"{self._in_a_row} flossing steps in a row were skipped, because "
        if dead:
            return (
                f"{first}no direction is left in the recurrent layer(s) {', '.join(dead)}: "
                "all their Lyapunov exponents are −∞. The weights are as they were before. "
                "Look for weights that are all zero, weights or inputs so large that every "
                "unit is saturated, and ReLU units that are all off."
            )
        return (
            f"{first}the flossing loss or its gradient was not finite, in the recurrent "
            f"layer(s) {', '.join(bad or self._layers)}. The weights are as they were "
            "before. Look for NaN or Inf in the data and in the weights, or exponents that "
            "overflow."
        )
