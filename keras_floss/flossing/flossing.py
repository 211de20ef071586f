"""What is flossed, and how: the one place that has the settings and their defaults."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import typing

import keras
import numpy as np
import tensorflow as tf

from keras_floss.flossing.drive import driven_kernel
from keras_floss.flossing.gates import gated_units
from keras_floss.flow.checkpoints import settle_memory_limit
from keras_floss.flow.frame import Orthonormalization, check_orthonormalization
from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.output_map import Seen, check_seen
from keras_floss.recurrent.trajectory import Map
from keras_floss.utils.checks import (
    check_k,
    check_not_negative,
    check_positive_int,
    check_probability,
    check_schedule,
    check_target,
)
from keras_floss.utils.typing import Config, Layers, Number, NumberByLayer, Target


class Unset(enum.Enum):
    """Stands for a keyword that is not given, where None means something."""

    UNSET = "unset"

    def __repr__(self):
        return self.name


UNSET = Unset.UNSET

# What "auto" comes to: the longest window, and the flossing loss of a flossed layer; of
# one with gates at most.
LONGEST = 100
FLOSSED, GATED = 0.001, 0.003
# Likewise where a network is to grow, which the tanh of its units holds back.
GROWING = 0.002
# By how much what came first is to be louder than what came last, as a logarithm, in a long
# sequence, and the largest exponent for it; and quieter, in a short one, by a layer with
# gates. (At 2 a RateRNN learns a copy over 80 steps, at 3 sooner. At 0 and at -1 an LSTM
# learns the digits and MNIST-1D later.)
LOUDER, LARGEST, QUIETER = 3.0, 0.03, 0.5

# Units whose gates are opened, of a small layer, for each step of the window: with fewer an
# LSTM of 32 units did not learn on every seed what was 120 steps ago.
OPENED = 0.3

# The defaults of the first version, for what it saved.
FIRST_VERSION = {
    "batch_size": 1,
    "window": None,
    "k": None,
    "target": 0.0,
    "qr_interval": 1,
    "damping": 0.0,
    "of": "state",
    "open_gates": 0.0,
    "input_drive": 0.0,
}


class _FrozenDict(dict):
    """A dict that can be a key, as the settings that a program is kept for are."""

    def __hash__(self):
        return hash(frozenset(self.items()))


@keras.saving.register_keras_serializable(package="keras_floss")
@dataclasses.dataclass(frozen=True)
class Flossing:
    """What is flossed, and how.

    Everything that flosses takes one: `FlossingModel`, the callbacks and
    `LyapunovRegularizer`. It cannot be changed; `dataclasses.replace` makes another one.
    Two with the same settings are equal.

    Args:
        batch_size: number of sequences of a flossing step; of a batched source, the first
            ones of each batch. None: all of them. Defaults to 2.
        window: number of time steps, from the first valid one of each recurrent layer's
            own input. None: all of them. Defaults to `"auto"`, at most 100. It should be
            as long as the task's delays: an LSTM flossed over 55 steps did not learn what
            was 120 steps ago, over 100 it did.
        k: number of exponents: an int, None for all, or a dict by layer name. Defaults to
            `"auto"`: all, and of an LSTM or a GRU a quarter of the units, which leaves the
            rest to forget.
        of: what the exponents are those of: `"state"`, `"output"`, as what comes after the
            layer sees them (see `lyapunov_exponents`), or `"auto"`: the output where it is
            not the whole state. Of the output there are as many as it has variables, at
            most. Defaults to `"auto"`.
        target: the exponent aimed at, per time step, or a list of k. Defaults to `"auto"`:
            0, with two exceptions. A layer with a tanh (SimpleRNN, RateRNN) that runs over
            more steps T than it has units cannot hold all inputs apart: 3/T, at most 0.03,
            for what came first to be louder than what came since. An LSTM or a GRU with as
            many units as steps or more: −0.5/T, to forget a little. (Where T is not known
            when the model is traced it is 0.)
        warmup: number of first valid steps of the window that are not counted. Defaults
            to `"auto"`: 10 + ⌈window/10⌉, as in the released code of the flossing paper,
            but at most half of the window.
        qr_interval: number of steps from one QR to the next, or `"auto"`: as many, up to
            50, as leave exponents and gradients within about 1 % (3 % at the worst that was
            seen) of what they are with a QR at every step. The more alike the exponents,
            the more it saves. Defaults to `"auto"`.
        damping: how much the gradient through the states is damped while the exponents are
            far from `target`: at each step it keeps
            `exp(−damping · √(mean (λ_i − target)²))` of itself. Without, chaotic networks
            are not flossed, their gradients being noise. 0: none, the exact gradient, as
            in the paper. Defaults to 0.5.
        tolerance: flossing loss of a layer under which it counts as flossed: where
            `steps` are a maximum flossing ends there, and at 0 never before them. Defaults
            to `"auto"`: 0.001, or 0.002 where the `target` of `"auto"` is above 0; of an
            LSTM or a GRU `(2/window)²`, an exponent of 2 over the window, but at most
            0.003.
        open_gates: share of the units of an LSTM or a GRU whose gates are opened before the
            first step, so that they remember for up to `window` steps (chrono biases; see
            `initializers.Chrono`). It is done where the biases are as Keras makes them and
            the model has not been trained, and by none but flossing before training. 0: no
            gate is opened. Defaults to `"auto"`: half, and of a small layer more, as many
            units as three tenths of the window's steps.
        input_drive: root mean square, at most, of what the inputs add to the units of a
            layer with a tanh (SimpleRNN, RateRNN). Before the first step, in flossing
            before training, a larger input kernel is scaled down to it, since flossing does
            badly where units saturate; not if the model has been trained. 0: kernels are
            left as they are. Defaults to 0.2.
        layers: names of the recurrent layers to floss, or the layers. Defaults to None,
            all of them.
        seed: of the shuffling of arrays, of the frame to start from, and of the noise of
            cells that draw random numbers, which is new at each step. Defaults to None:
            shuffled anew each time, the same frame and noise always.
        memory_limit: the bytes that a step may keep for its gradient. A longer window keeps
            less and is computed twice (see `set_memory_limit`). Defaults to None, the limit
            of `set_memory_limit`.
        orthonormalization: the algorithm of the QR, `"householder"`, `"gram-schmidt"` or
            `"auto"`: what suits the device; see `lyapunov_exponents`. Defaults to `"auto"`.

    Raises:
        ValueError: a setting out of its range.

    Example:

    ```python
    flossing = keras_floss.Flossing(window=55, k=32)
    preflossing = keras_floss.callbacks.Preflossing(x_train, flossing=flossing)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """

    batch_size: int | None = 2
    window: Number = "auto"
    k: NumberByLayer = "auto"
    of: Seen | typing.Literal["auto"] = "auto"
    target: Target = "auto"
    warmup: int | typing.Literal["auto"] = "auto"
    qr_interval: int | typing.Literal["auto"] = "auto"
    damping: float = 0.5
    tolerance: float | typing.Literal["auto"] = "auto"
    open_gates: float | typing.Literal["auto"] = "auto"
    input_drive: float = 0.2
    layers: Layers | None = None
    seed: int | None = None
    memory_limit: float | None = None
    orthonormalization: Orthonormalization = "auto"

    def __post_init__(self) -> None:
        # Hashable, since a compiled program is kept for each.
        freeze = object.__setattr__
        if isinstance(self.k, dict):
            freeze(self, "k", _FrozenDict(self.k))
        if self.layers is not None:
            one = isinstance(self.layers, str | keras.Layer)
            freeze(self, "layers", (self.layers,) if one else tuple(self.layers))
        if not np.isscalar(self.target):
            freeze(self, "target", tuple(np.asarray(self.target).tolist()))
        by_layer = self.k if isinstance(self.k, dict) else {"": self.k}
        if self.batch_size is not None:
            check_positive_int("batch_size", self.batch_size)
        for name, number in (
            ("window", self.window),
            *(("k", k) for k in by_layer.values()),
        ):
            if number not in (None, "auto"):
                check_positive_int(name, number)
        k = by_layer.get("")
        check_target(self.target, k if isinstance(k, int) else None)
        for name, least in (("warmup", 0), ("qr_interval", 1)):
            value = getattr(self, name)
            if value is None or isinstance(value, str) and value != "auto":
                raise ValueError(
                    f'`{name}` must be an integer of at least {least}, or "auto". '
                    f"Received: {value!r}"
                )
        warmup = 0 if self.warmup == "auto" else self.warmup
        fixed = 1 if self.qr_interval == "auto" else self.qr_interval
        check_schedule(warmup, fixed, None if self.window == "auto" else self.window)
        check_seen(self.of, "auto")
        check_not_negative("damping", self.damping)
        if self.open_gates != "auto":
            check_probability("open_gates", self.open_gates)
        check_not_negative("input_drive", self.input_drive)
        if self.tolerance != "auto":
            check_not_negative("tolerance", self.tolerance)
        settle_memory_limit(self.memory_limit)
        check_orthonormalization(self.orthonormalization)

    def __deepcopy__(self, memo: dict) -> Flossing:
        return self  # it never changes, and its `layers` must not be copied

    def get_config(self) -> Config:
        """The settings as a dict, from which `keras.saving` makes them again."""
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.layers is not None:
            config["layers"] = [getattr(x, "name", x) for x in self.layers]
        return config

    @classmethod
    def from_config(cls, config: Config) -> Flossing:
        """A `Flossing` of what `get_config` returned."""
        return cls(**config)

    def check_names(self, names: collections.abc.Iterable[str]) -> None:
        """Raises ValueError where `k` names a layer that there is not."""
        for name in self.k if isinstance(self.k, dict) else ():
            if name not in names:
                raise ValueError(
                    f"`k` names what is no recurrent layer of the model: {name!r}. There "
                    f"are: {', '.join(names)}."
                )

    def k_of(self, name: str, cell: Map) -> int:
        """The number of exponents of a layer, given its map as it is `seen_as`."""
        k = check_k(self._wanted(name, cell), cell.most, name, cell.seen)
        check_target(self.target, k)
        return k

    def rows_of(self, name: str, cell: CellMap) -> int:
        """The same or more, given a map that is not traced."""
        return check_k(self._wanted(name, cell), cell.dim, name)

    def _wanted(self, name: str, cell: Map) -> typing.Any:
        k = self.k.get(name, "auto") if isinstance(self.k, dict) else self.k
        if k == "auto":
            return max(units // 4, 1) if (units := _gated(cell)) else None
        return k

    def target_of(
        self, cell: Map, time: int | None
    ) -> float | collections.abc.Sequence[float]:
        """The exponents aimed at in a layer that runs over `time` steps, if known."""
        if self.target != "auto":
            return self.target
        if time is None:
            return 0.0
        if units := _gated(cell):
            return -QUIETER / time if time <= units else 0.0
        plain = driven_kernel(getattr(cell, "cell", None)) is not None
        return min(LOUDER / time, LARGEST) if plain and time > cell.dim else 0.0

    def opened_of(self, units: int, window: int) -> int:
        """The number of units of a layer with gates whose gates are opened."""
        if self.open_gates != "auto":
            return round(self.open_gates * units)
        return min(units, max(units // 2, round(OPENED * window)))

    def window_of(self, time: int | None) -> int | None:
        """The number of steps of the window, of `time` steps if that is known."""
        if self.window != "auto":
            return self.window
        return LONGEST if time is None else min(time, LONGEST)

    def steps_of(self, time: int) -> int:
        """The number of steps that are flossed of `time` steps."""
        return self.window_of(time) or time

    def tolerance_of(self, cell: Map, time: int) -> float:
        """The loss under which a layer that runs over `time` steps counts as flossed."""
        if self.tolerance != "auto":
            return self.tolerance
        if _gated(cell):
            return min(GATED, (2 / self.steps_of(time)) ** 2)
        return GROWING if self.target == "auto" and self.target_of(cell, time) else FLOSSED

    def warmup_of(self, time: int | tf.Tensor) -> int | tf.Tensor:
        """The number of warm-up steps in a window of `time` steps, int or tensor."""
        if self.warmup != "auto":
            return self.warmup
        if tf.is_tensor(time):
            return tf.minimum(10 - (-time // 10), time // 2)
        return min(10 - (-time // 10), time // 2)


def _gated(cell: Map) -> int:
    """The number of units of a map that have gates."""
    return gated_units(getattr(cell, "cell", None))


def override(flossing: Flossing | None, **keywords: typing.Any) -> Flossing:
    """A `Flossing` with those fields replaced that are not UNSET; None is the default."""
    if flossing is not None and not isinstance(flossing, Flossing):
        raise TypeError(
            f"`flossing` must be a `keras_floss.Flossing`. Received: {flossing!r}"
        )
    given = {name: value for name, value in keywords.items() if value is not UNSET}
    return dataclasses.replace(flossing or Flossing(), **given)


_Init = typing.TypeVar("_Init", bound=collections.abc.Callable[..., None])


def takes_flossing(init: _Init) -> _Init:
    """Has an `__init__` answer a field of `Flossing` as a keyword with where it belongs."""
    signature = inspect.signature(init)
    fields = [field.name for field in dataclasses.fields(Flossing)]

    def wrapper(self, *args, **kwargs):
        wrong = {n: v for n, v in kwargs.items() if n not in signature.parameters}
        wrong |= wrong.pop("joint", None) or {}  # the keyword of the first version
        settings = ", ".join(f"{name}=..." for name in fields if name in wrong)
        if settings or "joint" in kwargs:
            raise TypeError(
                f"`{type(self).__name__}` takes what is flossed and how as one object: "
                f"flossing=keras_floss.Flossing({settings})."
            )
        init(self, *args, **kwargs)

    functools.update_wrapper(wrapper, init)
    # Keras does not follow `__wrapped__` to the arguments.
    vars(wrapper)["__signature__"] = signature
    return typing.cast(_Init, wrapper)
