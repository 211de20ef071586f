"""One experiment: a task, a network, when it is flossed, and the knobs of all three."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_floss import Flossing
from keras_floss.experiments.network import LSTMS, NETWORKS, XLA
from keras_floss.experiments.problems import TASKS

# Loss and accuracy are reported as means over so many updates.
UPDATES_PER_REPORT = 50
# The ranges of most knobs: integers that seed NumPy, floats that float32 has.
INTEGERS, FLOATS = (1, 2**32 - 1), (1e-45, 3e38)
# Numbers of an array: 4 GiB in float32. The kernel of an LSTM has 4 · units².
LARGEST = 2**30
MOST_UNITS = 2**14

# The settings of flossing that are knobs too, and their help.
SETTINGS = {
    "window": "time steps of a flossing step; auto: at most 100",
    "k": "number of Lyapunov exponents that are flossed; auto: all, and of an LSTM or a "
    "GRU a quarter of the units",
    "target": "the exponent that is aimed at, per time step",
    "warmup": "first steps of the window that are not counted; auto: 10 and a tenth of the "
    "window, at most half of it",
    "qr_interval": "time steps from one QR to the next; auto: as many as do no harm",
    "damping": "of the gradient through the states while the exponents are far from the "
    "target; 0: none",
    "tolerance": "flossing loss at which flossing ends; auto: 0.003, and less for an LSTM "
    "or a GRU; 0: after the last step",
}


def knob(default: str | int | float, text: str, *allowed: str | int | float) -> Any:
    """A field with its help, and its choices or the least and the most that it may be."""
    if not allowed:
        allowed = FLOATS if isinstance(default, float) else INTEGERS
    return dataclasses.field(default=default, metadata={"help": text, "allowed": allowed})


def check(name: str, value: Any, allowed: Sequence[Any] = INTEGERS) -> None:
    """Raises ValueError where a value is none of the choices, or out of the range."""
    least, most = allowed[0], allowed[-1]
    if isinstance(least, str):
        right, words = value in allowed, f"one of {', '.join(allowed)}"
    else:
        whole = isinstance(least, int)
        kind = numbers.Integral if whole else numbers.Real
        right = isinstance(value, kind) and not isinstance(value, bool)
        right = right and least <= value <= most
        words = f"{'an integer' if whole else 'a number'} from {least} to {most}"
    if not right:
        raise ValueError(f"`{name}` must be {words}. Received: {value!r}")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The knobs of one run; the defaults are a task of the flossing paper.

    The network is a recurrent layer with a linear readout, the optimiser Adam with
    gradients clipped to `clipnorm`. The help of each knob stands beside it.
    """

    task: str = knob(
        "delayed-copy",
        "what the network has to learn; a permuted task has the defaults of the other",
        *TASKS,
    )
    delay: int = knob(40, "how many time steps back the answer lies; copying: T")
    levels: int = knob(2, "h of the hierarchical XOR, of 2^h bits")
    length: int = knob(300, "time steps of a sequence")
    network: str = knob(
        "rate-rnn",
        "the recurrent layer: that of the flossing paper; one of Keras's; a ReLU network "
        "that starts at the identity; one with chrono biases, for delays up to the length "
        "of a sequence; an LSTM with "
        "h-detach, whose gradient through h is blocked now and then; the same with the "
        "gradient through c blocked, which does harm",
        *NETWORKS,
    )
    units: int = knob(80, "units of the network", 1, MOST_UNITS)
    batch_size: int = knob(16, "sequences of a batch")
    updates: int = knob(1000, "updates of the weights on the task")
    learning_rate: float = knob(1e-3, "of the task's optimiser, Adam")
    clip: str = knob(
        "weight",
        "what is clipped: the gradient of each weight on its own, or all together",
        *("weight", "global"),
    )
    clipnorm: float = knob(0.03, "norm to which gradients are clipped")
    detach_rate: float = knob(
        0.25, "h-detach, c-detach: probability that a step is blocked", 0.0, 1.0
    )
    seed: int = knob(0, "of weights and data", 0, INTEGERS[1])
    xla: str = knob(
        "auto", "whether training and flossing are compiled; auto: Keras decides", *XLA
    )
    flossing: str = knob(
        "pre",
        "when the network is flossed. none: never; pre: before training; periodic: before, "
        "and at fixed times during training; adaptive: before, and whenever training has "
        "moved the exponents and learns nothing; joint: by a penalty in every update",
        *("none", "pre", "periodic", "adaptive", "joint"),
    )
    flossing_steps: int = knob(
        100, "flossing steps at most before training; periodic: each time"
    )
    flossing_every: int = knob(100, "periodic: updates from one flossing to the next")
    flossing_times: int = knob(2, "periodic: how many times to floss during training")
    adaptive_every: int = knob(
        50, "adaptive: updates from one look at the flossing loss to the next"
    )
    adaptive_tolerance: float = knob(
        0.005, "adaptive: flossing loss past which the network is flossed"
    )
    adaptive_steps: int = knob(20, "adaptive: flossing steps at most each time")
    adaptive_until: int = knob(1000, "adaptive: updates after which it looks no more")
    strength: float = knob(1.0, "joint: weight of the penalty")
    flossing_optimizer: str = knob(
        "lamb",
        "lamb: with steps that get smaller, the default of keras_floss; adam: with a fixed "
        "learning rate, as in the flossing paper",
        *("lamb", "adam"),
    )
    flossing_learning_rate: float = knob(1e-3, "of a flossing optimiser that is Adam")
    settings: Flossing = Flossing()

    @classmethod
    def of(cls, task: str = "delayed-copy", **knobs: Any) -> Configuration:
        """A configuration with the defaults of its task.

        Args:
            task: one of `TASKS`.
            **knobs: fields, and in place of `settings` those of `SETTINGS`: `k=16`.
        """
        knobs = {**(TASKS[task].defaults if task in TASKS else {}), **knobs}
        settings = {name: knobs.pop(name) for name in SETTINGS if name in knobs}
        return cls(task=task, settings=Flossing(**settings), **knobs)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata:
                check(field.name, getattr(self, field.name), field.metadata["allowed"])
        if self.updates > UPDATES_PER_REPORT and self.updates % UPDATES_PER_REPORT:
            raise ValueError(
                f"`updates` must be a multiple of {UPDATES_PER_REPORT}, over which results "
                f"are averaged, or less than that. Received: {self.updates}"
            )
        # One seed for everything.
        settings = dataclasses.replace(self.settings, seed=self.seed)
        object.__setattr__(self, "settings", settings)
        self.data()
        steps = TASKS[self.task].steps(self)
        states = self.units * (2 if self.network in LSTMS else 1)
        if self.batch_size * steps * states > LARGEST:
            raise ValueError(
                f"`units`, `batch_size` and `steps` must be smaller: an array of more than "
                f"{LARGEST:,} numbers would be needed. Received: units={self.units}, "
                f"batch_size={self.batch_size}, steps={steps}"
            )
        limits = (
            ("k", self.units, "units of the network"),
            ("window", steps, "steps of a sequence"),
        )
        for name, most, what in limits if self.flossing != "none" else ():
            value = getattr(settings, name)
            if isinstance(value, int) and value > most:
                raise ValueError(
                    f"`{name}` must be at most {most}, the number of {what}. "
                    f"Received: {value}"
                )

    @property
    def arm(self) -> str:
        """The network and when it is flossed, as `compare` names them: `lstm+pre`."""
        return self.network + ("" if self.flossing == "none" else f"+{self.flossing}")

    def data(self, stream: int = 0) -> tf.data.Dataset:
        """An endless dataset of batches; other streams have others."""
        return TASKS[self.task].data(self, self.seed + stream * 1_000_003)

    def as_dict(self) -> dict[str, Any]:
        """What `configuration.json` says."""
        return {**dataclasses.asdict(self), "settings": self.settings.get_config()}
