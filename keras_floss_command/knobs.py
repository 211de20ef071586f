"""The knobs of one run: their defaults, what they may be, and their help."""

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

from keras_floss_command.tasks import DEFAULTS

# Loss and accuracy are reported as means over so many updates.
UPDATES_PER_REPORT = 50
# The ranges of most knobs: integers that seed NumPy, floats that float32 has.
INTEGERS, FLOATS = (1, 2**32 - 1), (1e-45, 3e38)
# The kernel of an LSTM has 4 · units² numbers: 4 GiB in float32.
MOST_UNITS = 2**14
# Of what is no knob of a run.
RANGES = {"seeds": (1, 1000), "jobs": (1, 1000), "sequences": INTEGERS}
NETWORKS = (
    "rate-rnn",
    "rate-rnn-orthogonal",
    "rate-rnn-relu",
    "simple-rnn",
    "gru",
    "lstm",
    "irnn",
    "gru-chrono",
    "lstm-chrono",
    "lstm-pytorch",
    "h-detach",
    "h-detach-chrono",
    "h-detach-pytorch",
    "c-detach",
)
# What has no recurrent layer, and nothing to floss.
OTHER_NETWORKS = ("linear", "convolution")

# The settings of `keras_floss.Flossing` that are knobs too: their defaults, and their help.
# In `target` and `open_gates` they are not its own, but what all kept runs were made with.
SETTINGS: dict[str, tuple[Any, str]] = {
    "window": ("auto", "time steps of a flossing step; auto: at most 100"),
    "k": (
        "auto",
        "number of Lyapunov exponents that are flossed; auto: all, and of an LSTM or a "
        "GRU a quarter of the units",
    ),
    "target": (
        0.0,
        "the exponent that is aimed at, per time step; Preflossing, left alone, has other "
        "ones, by the steps and the units",
    ),
    "warmup": (
        "auto",
        "first steps of the window that are not counted; auto: 10 and a tenth of the "
        "window, at most half of it",
    ),
    "qr_interval": (
        "auto",
        "time steps from one QR to the next; auto: as many as do no harm",
    ),
    "damping": (
        0.5,
        "of the gradient through the states while the exponents are far from the "
        "target; 0: none",
    ),
    "tolerance": (
        "auto",
        "flossing loss at which flossing ends; auto: 0.001, and for an LSTM or "
        "a GRU as the window has it; 0: after the last step",
    ),
    "open_gates": (
        0.5,
        "share of the units of an LSTM or a GRU whose gates are opened before they are "
        "flossed; Preflossing, left alone, opens more of a small layer",
    ),
    "input_drive": (
        0.2,
        "what the inputs add to the units of a layer with a tanh, at most, as a root mean "
        "square: the kernel is scaled down to it before flossing; 0: it stays as it is",
    ),
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
class Knobs:
    """The knobs of one run, but for the settings of flossing.

    The help of each stands beside it. The defaults are a task of the flossing paper.
    """

    task: str = knob(
        "delayed-copy",
        "what the network has to learn; a permuted task has the defaults of the other",
        *DEFAULTS,
    )
    delay: int = knob(40, "how many time steps back the answer lies; copying: T")
    levels: int = knob(2, "h of the hierarchical XOR, of 2^h bits")
    length: int = knob(300, "time steps of a sequence")
    network: str = knob(
        "rate-rnn",
        "the recurrent layer: that of the flossing paper, also with orthogonal weights and "
        "with a ReLU; one of Keras's; irnn: a ReLU network that starts at the identity; "
        "chrono: biases for delays up to the length of a sequence; pytorch: weights as "
        "PyTorch makes them; h-detach: an LSTM whose gradient through h is blocked now and "
        "then; c-detach: the gradient through c, which does harm. Not to be flossed: "
        "linear recurrent units; causal convolutions",
        *NETWORKS,
        *OTHER_NETWORKS,
    )
    units: int = knob(80, "units of the network", 1, MOST_UNITS)
    gain: float = knob(1.0, "factor of the recurrent weights as they are made")
    batch_size: int = knob(16, "sequences of a batch")
    updates: int = knob(1000, "updates of the weights on the task")
    learning_rate: float = knob(1e-3, "of the task's optimiser, Adam")
    clip: str = knob(
        "weight",
        "what is clipped: the gradient of each weight on its own, all together, or nothing",
        *("weight", "global", "none"),
    )
    clipnorm: float = knob(0.03, "norm to which gradients are clipped")
    detach_rate: float = knob(
        0.25, "h-detach, c-detach: probability that a step is blocked", 0.0, 1.0
    )
    seed: int = knob(0, "of weights and data", 0, INTEGERS[1])
    xla: str = knob(
        "auto",
        "whether training and flossing are compiled; auto: Keras decides",
        *("auto", "on", "off"),
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

    @staticmethod
    def of_arm(arm: str) -> dict[str, Any]:
        """The knobs that an arm of `compare` stands for: `lstm+pre`."""
        network, _, flossing = arm.partition("+")
        return {"network": network, "flossing": flossing or "none"}

    @staticmethod
    def of_task(task: str = "delayed-copy", **knobs: Any) -> dict[str, Any]:
        """All knobs that are given, or that the task has defaults of its own for."""
        return {"task": task, **DEFAULTS.get(task, {}), **knobs}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata:
                check(field.name, getattr(self, field.name), field.metadata["allowed"])
        if self.network in OTHER_NETWORKS and self.flossing != "none":
            raise ValueError(
                f"`flossing` must be none: {self.network} has no recurrent layer that "
                f"could be flossed. Received: {self.flossing!r}"
            )
        if self.updates > UPDATES_PER_REPORT and self.updates % UPDATES_PER_REPORT:
            raise ValueError(
                f"`updates` must be a multiple of {UPDATES_PER_REPORT}, over which results "
                f"are averaged, or less than that. Received: {self.updates}"
            )
