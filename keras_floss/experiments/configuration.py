"""One experiment: a task, a network, when it is flossed, and the knobs of all three."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from keras_floss import Flossing
from keras_floss.experiments.network import LSTMS
from keras_floss.experiments.problems import TASKS
from keras_floss_command.knobs import SETTINGS, Knobs

# Numbers of an array: 4 GiB in float32.
LARGEST = 2**30
USUAL = Flossing(**{name: default for name, (default, _) in SETTINGS.items()})


@dataclasses.dataclass(frozen=True)
class Configuration(Knobs):
    """The knobs of one run, and the settings of flossing.

    The network is a recurrent layer with a linear readout, the optimiser Adam with
    gradients clipped to `clipnorm`.
    """

    settings: Flossing = USUAL

    @classmethod
    def of(cls, task: str = "delayed-copy", **knobs: Any) -> Configuration:
        """A configuration with the defaults of its task.

        Args:
            task: one of `TASKS`.
            **knobs: fields, and in place of `settings` those of `SETTINGS`: `k=16`.
        """
        knobs = cls.of_task(task, **knobs)
        settings = {name: knobs.pop(name) for name in SETTINGS if name in knobs}
        return cls(settings=dataclasses.replace(USUAL, **settings), **knobs)

    def __post_init__(self) -> None:
        super().__post_init__()
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
