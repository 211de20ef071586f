"""One experiment: a task, a network, a method."""

import dataclasses
import typing

import numpy as np

from keras_floss.experiments.problems import TASKS
from keras_floss.flossing.flossing import Flossing
from keras_floss.tasks.stream import check_size
from keras_floss.utils.checks import (
    check_positive,
    check_positive_int,
    check_probability,
)


class Method(typing.NamedTuple):
    """A network, and when it is flossed.

    Attributes:
        network: `"rate-rnn"`, `"lstm"`, `"h-detach"` or `"c-detach"`.
        flossing: `"none"`, `"pre"`, `"periodic"`, `"adaptive"` or `"joint"`.
    """

    network: str
    flossing: str


METHODS = {
    "none": Method("rate-rnn", "none"),
    "pre": Method("rate-rnn", "pre"),
    "periodic": Method("rate-rnn", "periodic"),
    "adaptive": Method("rate-rnn", "adaptive"),
    "joint": Method("rate-rnn", "joint"),
    "lstm": Method("lstm", "none"),
    "h-detach": Method("h-detach", "none"),
    "c-detach": Method("c-detach", "none"),
    "preflossed-lstm": Method("lstm", "pre"),
    "both": Method("h-detach", "pre"),
}
CHOICES = {
    "task": tuple(TASKS),
    "method": tuple(METHODS),
    "clip": ("weight", "global"),
    "xla": ("auto", "on", "off"),
}

# Loss and accuracy are reported as means over so many updates.
UPDATES_PER_REPORT = 50
# Of integers: what seeds NumPy.
LARGEST = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The knobs of one run; the defaults are those of the demo.

    The network is a recurrent layer with a linear readout, the optimiser Adam with
    gradients clipped to `clipnorm`.
    """

    task: str = "delayed-copy"
    method: str = "pre"
    delay: int = 40
    levels: int = 2
    length: int = 300
    units: int = 80
    batch_size: int = 16
    updates: int = 1000
    learning_rate: float = 1e-3
    clip: str = "weight"
    clipnorm: float = 0.03
    detach_rate: float = 0.25
    flossing_steps: int = 500
    flossing_every: int = 100
    flossing_times: int = 2
    adaptive_every: int = 50
    adaptive_tolerance: float = 0.005
    adaptive_steps: int = 200
    adaptive_until: int = 1000
    strength: float = 1.0
    flossing_learning_rate: float = 1e-3
    window: int = 55
    k: int = 75
    warmup: int = 16
    qr_interval: int | str = 1
    seed: int = 0
    xla: str = "auto"

    @classmethod
    def of(cls, task, **knobs):
        """A configuration with the defaults of its task."""
        defaults = TASKS[task].defaults if task in TASKS else {}
        return cls(task=task, **{**defaults, **knobs})

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(allowed)}. "
                    f"Received: {getattr(self, name)!r}"
                )
        for name in (
            "delay",
            "levels",
            "length",
            "units",
            "batch_size",
            "updates",
            "window",
            "k",
            "flossing_steps",
            "flossing_every",
            "flossing_times",
            "adaptive_every",
            "adaptive_steps",
            "adaptive_until",
        ):
            check_positive_int(name, getattr(self, name))
        if self.qr_interval != "auto":
            check_positive_int("qr_interval", self.qr_interval)
        check_positive_int("seed", self.seed, least=0)
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, int) and value > LARGEST:
                raise ValueError(f"`{name}` must be at most {LARGEST}. Received: {value}")
        for name in (
            "learning_rate",
            "flossing_learning_rate",
            "clipnorm",
            "adaptive_tolerance",
            "strength",
        ):
            check_positive(name, getattr(self, name))
            with np.errstate(over="ignore", under="ignore"):
                rounded = np.float32(getattr(self, name))
            if not rounded or np.isinf(rounded):
                raise ValueError(
                    f"`{name}` must be a number that float32 has, from about 1e-45 to "
                    f"3e38. Received: {getattr(self, name)}"
                )
        if self.updates > UPDATES_PER_REPORT and self.updates % UPDATES_PER_REPORT:
            raise ValueError(
                f"`updates` must be a multiple of {UPDATES_PER_REPORT}, over which results "
                f"are averaged, or less than that. Received: {self.updates}"
            )
        check_probability("detach_rate", self.detach_rate)
        self.data()
        method, steps = METHODS[self.method], TASKS[self.task].steps(self)
        gates, parts = (1, 1) if method.network == "rate-rnn" else (4, 2)
        states = self.units * parts
        check_size(gates * self.units, units=self.units)
        check_size(states, batch_size=self.batch_size, steps=steps)
        if method.flossing != "none":
            Flossing(**self.flossing())
            for name, limit, what in (
                ("k", states, "number of states of the network"),
                ("window", steps, "number of steps of a sequence"),
            ):
                if getattr(self, name) > limit:
                    raise ValueError(
                        f"`{name}` must be at most {limit}, the {what}. "
                        f"Received: {getattr(self, name)}"
                    )

    def data(self, stream=0):
        """An endless dataset of batches; other streams have others."""
        return TASKS[self.task].data(self, self.seed + stream * 1_000_003)

    def flossing(self):
        """The settings of a flossing pass."""
        return {
            "window": self.window,
            "k": self.k,
            "warmup": self.warmup,
            "qr_interval": self.qr_interval,
            "seed": self.seed,
        }
