"""The settings of a flossing pass."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_floss.utils.checks import (
    check_k,
    check_positive_int,
    check_schedule,
    check_target,
)


class _FrozenDict(tuple):
    """The items of a dict."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a flossing step, or a spectrum, is made with.

    Args:
        batch_size: number of sequences of a step, the first of each batch. None: all.
        window: number of time steps, from the first valid one of each recurrent layer's
            own input. None: all.
        k: number of exponents: an int, None (all), or a dict by layer name.
        target: the exponent aimed at, or a list of k.
        warmup: number of first steps that are not counted. None: 10 + ⌈window/10⌉, as in
            the released code of the flossing paper, but at most half of the window.
        qr_interval: number of steps from one QR to the next, or `"auto"`.
        layers: names of the recurrent layers, or None for all.
        seed: of the shuffling, of the frame to start from, and of noise in cells.
    """

    batch_size: int | None = 1
    window: int | None = None
    k: int | dict | None = None
    target: float | tuple = 0.0
    warmup: int | None = None
    qr_interval: int | str = 1
    layers: tuple | None = None
    seed: int | None = None

    def __post_init__(self):
        # Hashable, since a compiled program is kept for each.
        freeze = object.__setattr__
        if isinstance(self.k, dict):
            freeze(self, "k", _FrozenDict(self.k.items()))
        if isinstance(self.layers, list):
            freeze(self, "layers", tuple(self.layers))
        if not np.isscalar(self.target):
            freeze(self, "target", tuple(self.target))
        for name in ("batch_size", "window"):
            if getattr(self, name) is not None:
                check_positive_int(name, getattr(self, name))
        by_layer = isinstance(self.k, _FrozenDict)
        for k in dict(self.k).values() if by_layer else [self.k]:
            if k is not None:
                check_positive_int("k", k)
        check_target(self.target, None if by_layer else self.k)
        if isinstance(self.qr_interval, str) and self.qr_interval != "auto":
            raise ValueError(
                '`qr_interval` must be an integer of at least 1, or "auto". Received: '
                f"{self.qr_interval!r}"
            )
        fixed = 1 if self.qr_interval == "auto" else self.qr_interval
        check_schedule(self.warmup or 0, fixed, self.window)

    def check_names(self, names):
        """Raises ValueError where `k` names a layer that there is not."""
        for name in dict(self.k) if isinstance(self.k, _FrozenDict) else ():
            if name not in names:
                raise ValueError(
                    f"`k` names what is no recurrent layer of the model: {name!r}. There "
                    f"are: {', '.join(names)}."
                )

    def k_of(self, name, dim):
        """The number of exponents of a layer with `dim` state variables."""
        k = dict(self.k).get(name) if isinstance(self.k, _FrozenDict) else self.k
        k = check_k(k, dim, name)
        check_target(self.target, k)
        return k

    def warmup_of(self, time):
        """The number of warm-up steps in a window of `time` steps, int or tensor."""
        if self.warmup is not None:
            return self.warmup
        if tf.is_tensor(time):
            return tf.minimum(10 - (-time // 10), time // 2)
        return min(10 - (-time // 10), time // 2)
