"""When flossing ends: once the layers are flossed, or where the task wants no more.

The rules were chosen on `keras.layers.SimpleRNN` and `RateRNN` with a delayed copy and a
temporal XOR. A SimpleRNN as Keras makes it is nearly flossed, and it learns the XOR by
itself: it should be left alone, since everything of the past would arrive, many times too
strong. That the gradient arrives is no proof where the loss is still high, so both must
hold.
"""

import enum
import warnings
from collections.abc import Callable, Mapping

import keras
import numpy as np

from keras_floss.flossing.flossing_optimizer import NEARLY, STEPS
from keras_floss.flossing.history import StepHistory
from keras_floss.flossing.snapshot import Snapshot
from keras_floss.utils.typing import Logs

# Flossed: the mean of so many losses in a row is under the tolerance.
IN_A_ROW = 3
# Not needed: so much of the task's gradient arrives at the first step before anything is
# done, where the layers are nearly flossed.
ARRIVES = 0.05
# Enough: so many times as much of it arrives as there was, at such a loss, where the layers
# were nearly flossed at the beginning. Those that were far are to be flossed to the end.
# (At 1 a copy over 80 steps ends at 0.95 to 0.97, at 4 at 0.97; past 20 the XOR is lost.)
UNDIMINISHED, ALMOST = 4.0, 0.004
# Not converged: so many times the tolerance is left after the last step.
FAR = 3.0


class Ended(str, enum.Enum):
    """Why flossing ended."""

    FLOSSED = "flossed"
    NOT_NEEDED = "not needed"
    GRADIENT_ARRIVES = "gradient arrives"
    STEPS = "steps"
    LOST = "directions lost"
    SLOWER = "slower"


def not_needed(arrives: float, loss: float) -> bool:
    """Whether a network is better left alone.

    Args:
        arrives: how much of the task's gradient arrives at the first step.
        loss: the flossing loss.
    """
    return loss < NEARLY and arrives >= ARRIVES


class Ending(keras.callbacks.Callback):
    """Ends flossing, and says why in its History: `ended` and `message`.

    Args:
        history: the `StepHistory`, which comes before it.
        tolerances: `{layer name: flossing loss under which it is flossed}`.
        before: the `Snapshot` of the layers, to go back to where nothing need be done, or
            where flossing did harm.
        arrives: a function that says how much of the task's gradient arrives at the first
            step. None: flossing does not look at the task.

    Attributes:
        whole: whether it is no pass that goes on after an interruption, of which `before`
            would be the middle.
    """

    whole = True

    def __init__(
        self,
        history: StepHistory,
        tolerances: Mapping[str, float],
        before: Snapshot,
        arrives: Callable[[], float] | None = None,
    ) -> None:
        super().__init__()
        self._history = history
        self._tolerances = tolerances
        self._before = before
        self._arrives = arrives

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        losses = self._losses()
        if self._arrives and len(losses) == 1 and losses[0] < NEARLY:
            self._first_look(self._arrives, losses[0])
        if self._ended:
            return
        if len(losses) >= IN_A_ROW and self._under(1):
            self._end(Ended.FLOSSED, f"Flossed in {self._steps}: {self._loss}.")
        elif self._arrives and losses[0] < NEARLY and losses[-1] <= ALMOST:
            self._look(self._arrives())

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._ended:
            return
        # A pass of fewer steps is one that was asked for as it is.
        far = self._history.epoch[-1] >= STEPS and not self._under(FAR)
        if far and self.whole and (lost := self._lost_on_the_way()):
            return self._undo(lost)
        message = (
            f"All {self._steps} of flossing were taken: {self._loss}, and it counts as "
            f"flossed under {min(self._tolerances.values()):.2g}."
        )
        self._end(Ended.STEPS, message)
        if far:
            self._history.message += (
                " It did not converge: more `steps`, fewer exponents (`k`) or smaller "
                "recurrent weights may help."
            )
            warnings.warn(self._history.message, stacklevel=2)

    def _look(self, arrives: float) -> None:
        if arrives >= UNDIMINISHED:
            self._end(
                Ended.GRADIENT_ARRIVES,
                f"Flossed in {self._steps}: the task's gradient at the first time step is "
                f"{arrives:.2g} times that at the last; the flossing loss is "
                f"{self._losses()[-1]:.2g}.",
            )

    def _lost_on_the_way(self) -> dict[str, float]:
        """How many more directions are lost than there were, by layer, if any."""
        found = {}
        for name in self._tolerances:
            lost = self._history.history.get(self._key("lost_directions", name), [0.0])
            more = float(np.mean(lost[-IN_A_ROW:])) - lost[0]
            if more >= 1.0:
                found[name] = more
        return found

    def _undo(self, lost: Mapping[str, float]) -> None:
        """Goes back to what was before: units fell silent, which is no flossing."""
        of = ", ".join(f"{number:.0f} of {name}" for name, number in lost.items())
        message = (
            f"Not flossed: after {self._steps} {self._loss}, and directions were lost on "
            f"the way ({of}), as where ReLU units fall silent. The weights are as they "
            "were before. Fewer exponents (`k`) or smaller recurrent weights may help."
        )
        self._before.restore()
        self._history.opened, self._history.scaled = {}, {}
        self._end(Ended.LOST, message)
        warnings.warn(message, stacklevel=2)

    def _first_look(self, look: Callable[[], float], loss: float) -> None:
        """Undoes the first step, and what was before it, where nothing need be done."""
        after = self._before.now()
        self._before.restore()
        arrives = look()
        if not_needed(arrives, loss):
            self._history.scaled = {}
            self._end(
                Ended.NOT_NEEDED,
                "Not flossed: the task's gradient arrives as it is. At the first time step "
                f"it is {arrives:.2g} times that at the last; {self._loss}.",
            )
        else:
            after.restore()

    @property
    def _ended(self) -> bool:
        return self._history.ended is not None

    def _end(self, reason: Ended, message: str) -> None:
        self._history.ended, self._history.message = reason.value, message
        for name, units in self._history.opened.items():
            self._history.message += f" The gates of {units} units of {name} were opened."
        for name, factor in self._history.scaled.items():
            self._history.message += (
                f" The input kernel of {name} was scaled by {factor:.2g}."
            )
        self.model.stop_training = True

    def _losses(self) -> list[float]:
        return self._history.history["flossing_loss"]

    def _under(self, times: float) -> bool:
        """Whether the last losses of all layers are under so many times the tolerance."""
        history = self._history.history
        return all(
            np.mean(history[self._key("flossing_loss", name)][-IN_A_ROW:])
            <= times * tolerance
            for name, tolerance in self._tolerances.items()
        )

    def _key(self, key: str, name: str) -> str:
        """What an entry of the history of a layer is called."""
        return f"{name}/{key}" if len(self._tolerances) > 1 else key

    @property
    def _steps(self) -> str:
        number = self._history.epoch[-1]
        return f"{number} step{'s' if number > 1 else ''}"

    @property
    def _loss(self) -> str:
        return f"the flossing loss is {np.mean(self._losses()[-IN_A_ROW:]):.2g}"
