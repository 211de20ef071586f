"""The optimiser that flosses, and which others can."""

import weakref
from collections.abc import Mapping

import keras
import numpy as np

from keras_floss.flossing.gates import any_gated
from keras_floss.flossing.snapshot import Snapshot, moved
from keras_floss.utils.typing import Logs, Optimizer

# The optimisers of Keras that compute the weights from values of their own.
_KEEP_WEIGHTS = tuple(
    getattr(keras.optimizers, name)
    for name in ("Ftrl", "ScheduleFreeAdamW")
    if hasattr(keras.optimizers, name)
)

# Flossing steps, at most, where nothing else is said.
STEPS = 100
# The learning rate of the default optimiser, that for an LSTM, whose exponents as Keras
# makes it are near to zero from the beginning, and what is left of them at the end.
RATE, LSTM_RATE, SETTLED = 0.03, 0.015, 0.02
# A flossing loss under which a network is nearly flossed. One that is not when it begins
# takes steps in proportion to the way that is left: so many times the rate at most, and
# that down to such a loss. With a rate that is the same throughout it would go past zero,
# and need twice the steps to come back.
NEARLY, FASTER, BRAKED = 0.02, 3.0, 0.3
# Gone astray: the mean of so many losses is so many times the least there was.
MEAN_OF, WORSE = 3, 1.5

# Model -> {id of an optimiser: (that optimiser, the one that flosses in its place)}.
_of_model: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# The optimisers that floss a model themselves.
_taken: weakref.WeakSet = weakref.WeakSet()


def default_optimizer() -> keras.optimizers.Optimizer:
    """The flossing optimiser that nobody has to tune; its rate is that of `Settling`.

    Lamb takes steps relative to the norm of each weight, and so suits layers of any size.
    """
    return keras.optimizers.Lamb(RATE, global_clipnorm=0.1)


def suit(optimizer: keras.optimizers.Optimizer, gated: bool) -> None:
    """Sets the momentum of the default optimiser: less where no layer has gates.

    With Keras's 0.9 the exponents of a RateRNN go past zero and come back twice.
    """
    optimizer.beta_1 = 0.9 if gated else 0.7


class Settling(keras.callbacks.Callback):
    """Sets the learning rate of a flossing pass, so that the exponents settle.

    It falls with the steps; of layers that are far from flossed at first also with the root
    of the flossing loss, the distance that is left. LSTM and GRU are nearly flossed.

    Where the loss rises, and is not small, the weights go back to where it was least, and
    the rate is halved from there on: the gradient through a chaotic network is mostly
    noise, and large steps along it only make the weights larger.

    Args:
        layers: `{name: recurrent layer that is flossed}`.
        steps: number of steps over which it falls, or None: it is small throughout, for
            flossing in the middle of training.
        done: how many of them have been done, before the pass was interrupted.
    """

    def __init__(
        self,
        layers: Mapping[str, keras.layers.RNN],
        steps: int | None,
        done: int = 0,
    ) -> None:
        super().__init__()
        lstm = any(isinstance(x.cell, keras.layers.LSTMCell) for x in layers.values())
        self._rate = keras.optimizers.schedules.CosineDecay(
            LSTM_RATE if lstm else RATE, steps or 1, SETTLED
        )
        self._done = 1 if steps is None else done
        # Whether it is far from flossed at first; None: not known yet.
        self._far = True if done else None
        if steps is None or any_gated(layers.values()):
            self._far = False
        self._faster = self._slower = 1.0
        self._variables = moved(layers)
        self._losses: list[float] = []
        self._least, self._at_least = np.inf, Snapshot([])

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        rate = float(self._rate(self._done)) * self._faster * self._slower
        self.model.optimizer.learning_rate = rate
        self._done += self.model.steps_per_execution

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = float((logs or {})["flossing_loss"])
        if self._far is None:
            self._far = loss >= NEARLY
        if self._far and np.isfinite(loss):
            self._faster = FASTER * min(1.0, (loss / BRAKED) ** 0.5)
        self._losses = [*self._losses, loss][-MEAN_OF:]
        if len(self._losses) == MEAN_OF:
            self._keep_the_least(float(np.mean(self._losses)))

    def _keep_the_least(self, loss: float) -> None:
        if loss < self._least:
            self._least, self._at_least = loss, Snapshot(self._variables)
        elif loss > max(WORSE * self._least, NEARLY):
            self._at_least.restore()
            self._slower /= 2
            self._losses = []


def check_flossing_optimizer(optimizer: Optimizer) -> keras.optimizers.Optimizer:
    """The optimiser, made if it is a name; an error if it keeps what harms flossing.

    Flossing comes in passes, with training between them. An optimiser that keeps weights
    of its own, an average of them, or a sum of gradients would carry values from before the
    training into the weights after it.
    """
    optimizer = keras.optimizers.get(optimizer)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for part in (inner, *getattr(inner, "optimizers", ())):
        found = [
            f"`{name}={value}`"
            for name in ("use_ema", "gradient_accumulation_steps")
            if (value := getattr(part, name, None))
        ]
        if isinstance(part, _KEEP_WEIGHTS):
            found.append(f"`{type(part).__name__}`")
        if found:
            raise ValueError(
                "A flossing optimiser must keep neither weights, nor averages of them, nor "
                "sums of gradients from one flossing to the next, since the model may be "
                "trained in between: take Lamb, Adam or SGD, without averages, and in "
                "place of accumulated gradients a larger `batch_size` of flossing. "
                f"Received: {found[0]}"
            )
    return optimizer


def optimizer_of(model: keras.Model, optimizer: Optimizer) -> Optimizer:
    """The optimiser that flosses a model for which a callback was given `optimizer`.

    That is `optimizer` itself for one model, the first, since it keeps state for each
    weight; for any other it is a copy without the state, the same for all who ask.
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return optimizer  # a name makes a new one each time
    if optimizer is model.optimizer:
        raise ValueError(
            "The `optimizer` of a flossing callback must be another one than that of the "
            "model's `compile`: each keeps state of its own."
        )
    known = _of_model.setdefault(model, {})
    if id(optimizer) not in known:
        own = optimizer
        if optimizer.built or optimizer in _taken:
            with model.distribute_strategy.scope():
                own = type(optimizer).from_config(optimizer.get_config())
        _taken.add(own)
        known[id(optimizer)] = optimizer, own
    return known[id(optimizer)][1]
