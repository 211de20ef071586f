"""One experiment: a task, a network, a method."""

import dataclasses
import math

from keras_floss import tasks
from keras_floss.lyapunov.checks import check_positive_int
from keras_floss.models.settings import Settings

TASKS = {"delayed-copy": tasks.delayed_copy, "temporal-xor": tasks.temporal_xor}
METHODS = ("none", "pre", "periodic")

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
    length: int = 300
    units: int = 80
    batch_size: int = 16
    updates: int = 1000
    learning_rate: float = 1e-3
    clipnorm: float = 0.03
    flossing_steps: int = 500
    flossing_every: int = 100
    flossing_times: int = 2
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
        ):
            check_positive_int(name, getattr(self, name))
        for name in ("learning_rate", "flossing_learning_rate", "clipnorm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be more than 0. Received: {value}")
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
        seed = self.seed + stream * 1_000_003
        return TASKS[self.task](self.delay, self.length, self.batch_size, seed)

    def flossing(self):
        """The settings of a flossing pass."""
        return {
            "window": self.window,
            "k": self.k,
            "warmup": self.warmup,
            "qr_interval": self.qr_interval,
            "seed": self.seed,
        }
