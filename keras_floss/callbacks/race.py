"""Whether a flossed model learns its task sooner than as it was: both are trained a little.

What flossing gives is a long memory. A task may want none, and then a network may learn it
later for being flossed: a forecast of Lorenz's equations, half a unit of time ahead, cost
GRU, LSTM and RateRNN up to three times the loss after 200 updates. No exponent and no
gradient of the weights as they come tells such a task from others. A few updates do.

The rules were chosen on seeds 0 to 2 of the pairs of task and layer of the trial. By then
a task that needs the memory is learned by the flossed model alone, or not yet by either.
"""

import weakref
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_floss.flossing.bar import progress_bar
from keras_floss.flossing.snapshot import Snapshot
from keras_floss.utils.typing import Verbose

# Updates after which the two are compared.
LEG = 25
# So many times the loss of the other, by so many standard errors, is worse.
WORSE, SURE = 1.2, 3.0
# A model whose loss is more than this of what it was at first, after so many updates, does
# not learn as it is: what it does later is not known, and what is flossed stays flossed.
STILL, PATIENCE = 0.95, 100

# The models whose flossed weights lost their last race.
_lost: weakref.WeakSet = weakref.WeakSet()


class Race(NamedTuple):
    """What came of a race.

    Attributes:
        updates: how many each had.
        before: the task's loss as the model was, the mean over the later half of them.
        flossed: the same, flossed.
        lost: whether the flossed one is clearly worse.
    """

    updates: int
    before: float
    flossed: float
    lost: bool

    @property
    def message(self) -> str:
        """The same in a sentence."""
        return (
            f"In {self.updates} updates each, taken back since, the task's loss came to "
            f"{self.flossed:.2g} flossed, and to {self.before:.2g} as the model was."
        )


def race(
    model: keras.Model,
    batches: tf.data.Dataset,
    before: Snapshot,
    updates: int,
    verbose: Verbose = 0,
) -> Race:
    """Trains a flossed model and what it was before, and leaves the better one's weights.

    All else is as it was before the race, optimiser and random seeds included.

    Args:
        model: a compiled, built model that trains in Keras's own way.
        batches: of a task, without end.
        before: what flossing moved, before it did.
        updates: how many for each at most.
        verbose: that of `fit`, for a progress bar of both losses.
    """
    if not model.optimizer.built:  # as yet it has no variables to be put back
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
    bar = progress_bar(updates, verbose, "race update")
    bar.stateful_metrics.update(("loss", "flossed"))  # as they are, not means
    start = Snapshot([*model.variables, *model.optimizer.variables])
    try:
        new = _Runner(model, batches, start)
        before.restore()
        old = _Runner(model, batches, start.now())
        for done in (*range(LEG, updates, LEG), updates):
            old.run(done)
            new.run(done)
            was, now = old.later(), new.later()
            over = (
                done == updates
                or _worse(was, now)
                or (done >= PATIENCE and old.stands_still())
            )
            bar.update(done, [("loss", was.mean()), ("flossed", now.mean())], over)
            if over:
                break
        lost = _worse(now, was)
    finally:
        start.restore()
        model.reset_metrics()
    _lost.discard(model)
    if lost:
        before.restore()
        _lost.add(model)
    return Race(done, float(was.mean()), float(now.mean()), lost)


def lost_race(model: keras.Model) -> bool:
    """Whether a race of this process left the model as it was before flossing."""
    return model in _lost


class _Runner:
    """One of the two, trained leg by leg.

    Args:
        model: the model that both are.
        batches: the data.
        state: its variables to begin with.
    """

    def __init__(
        self, model: keras.Model, batches: tf.data.Dataset, state: Snapshot
    ) -> None:
        self._model, self._state = model, state
        strategy = model.distribute_strategy
        self._data = iter(strategy.experimental_distribute_dataset(batches))
        self._losses: list[float] = []

    def run(self, updates: int) -> None:
        """Trains until there are so many updates."""
        model = self._model
        self._state.restore()
        while len(self._losses) * model.steps_per_execution < updates:
            model.reset_metrics()
            logs = model.train_function(self._data)
            self._losses.append(float(logs["loss"]))
        self._state = self._state.now()

    def later(self) -> np.ndarray:
        """The losses in the later half of the updates so far."""
        return np.array(self._losses[len(self._losses) // 2 :])

    def stands_still(self) -> bool:
        """Whether the loss has hardly fallen since the first leg's first half."""
        first = self._losses[: LEG // 2]
        return self.later().mean() > STILL * np.mean(first)


def _worse(losses: np.ndarray, others: np.ndarray) -> bool:
    """Whether losses are clearly more than others, batch by batch."""
    if not np.isfinite(others).all():
        return False
    if not np.isfinite(losses).all():
        return True
    more = losses - others
    error = more.std() / np.sqrt(len(more))
    return bool(more.mean() > max((WORSE - 1) * abs(others.mean()), SURE * error))
