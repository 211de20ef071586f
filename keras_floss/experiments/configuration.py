"""One experiment: a task, a network, a method."""

import dataclasses
import typing

from keras_floss import tasks
from keras_floss.lyapunov.checks import check_positive, check_positive_int
from keras_floss.models.settings import Settings


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, and how well a network does on it.

    Attributes:
        data: the function that makes its dataset.
        channels: number of input features.
        measure: `"accuracy"` of bits, or `"error"`, a mean square, of numbers.
        chance: the measure of the best guess without memory.
    """

    data: typing.Callable
    channels: int = 1
    measure: str = "accuracy"
    chance: float = 0.5


TASKS = {
    "delayed-copy": Task(tasks.delayed_copy),
    "temporal-xor": Task(tasks.temporal_xor),
    "hierarchical-xor": Task(tasks.hierarchical_xor),
    "continuous-xor": Task(tasks.continuous_xor, measure="error", chance=1 / 18),
    "spatial-xor": Task(tasks.spatial_xor, channels=3),
}
METHODS = ("none", "pre", "periodic", "adaptive", "joint")

# Loss and accuracy are reported as means over so many updates.
UPDATES_PER_REPORT = 50


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The knobs of one run; the defaults are those of the demo.

    The network is a `RateRNN` with a linear readout, the optimiser Adam with the gradient
    of each weight clipped to `clipnorm`, every batch fresh.
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
    clipnorm: float = 0.03
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
    qr_interval: int = 1
    seed: int = 0

    def __post_init__(self):
        for name, allowed in (("task", TASKS), ("method", METHODS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(allowed)}. "
                    f"Received: {getattr(self, name)!r}"
                )
        for name in (
            "units",
            "updates",
            "flossing_steps",
            "flossing_every",
            "flossing_times",
            "adaptive_every",
            "adaptive_steps",
            "adaptive_until",
        ):
            check_positive_int(name, getattr(self, name))
        for name in (
            "learning_rate",
            "flossing_learning_rate",
            "clipnorm",
            "adaptive_tolerance",
            "strength",
        ):
            check_positive(name, getattr(self, name))
        if self.updates > UPDATES_PER_REPORT and self.updates % UPDATES_PER_REPORT:
            raise ValueError(
                f"`updates` must be a multiple of {UPDATES_PER_REPORT}, over which results "
                f"are averaged, or less than that. Received: {self.updates}"
            )
        self.data()
        if self.method != "none":
            Settings(**self.flossing())
            for name, value, limit in (
                ("k", self.k, ("units", self.units)),
                ("window", self.window, ("length", self.length)),
            ):
                if value > limit[1]:
                    raise ValueError(
                        f"`{name}` must be at most `{limit[0]}`, {limit[1]}. "
                        f"Received: {value}"
                    )

    def data(self, stream=0):
        """An endless dataset of fresh batches; other streams have other bits."""
        options = {"levels": self.levels} if self.task == "hierarchical-xor" else {}
        return TASKS[self.task].data(
            self.delay,
            length=self.length,
            batch_size=self.batch_size,
            seed=self.seed + stream * 1_000_003,
            **options,
        )

    def flossing(self):
        """The settings of a flossing pass."""
        return {
            "window": self.window,
            "k": self.k,
            "warmup": self.warmup,
            "qr_interval": self.qr_interval,
            "seed": self.seed,
        }
