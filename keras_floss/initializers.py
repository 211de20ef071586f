"""Keras initialisers for long delays that need no flossing: its rivals."""

import keras
import tensorflow as tf
from keras import ops

from keras_floss.utils.checks import check_positive_int
from keras_floss.utils.typing import Config, Shape

__all__ = ["Chrono"]


@keras.saving.register_keras_serializable(package="keras_floss")
class Chrono(keras.initializers.RandomUniform):
    """The biases of an LSTM or a GRU that remembers for up to `max_delay` steps.

    A unit whose forget gate has the bias b forgets within about 1 + exp(b) steps. Those
    times are spread evenly over the delays, and what is new comes in as slowly as what is
    old goes:

    LSTM: `b_f = log(u)`, `b_i = −b_f`, with u from `Uniform(1, max_delay − 1)`, other
    biases 0;
    GRU: `b_z = log(u)`, where Keras's z is the share of the old state, other biases 0.
    With `reset_after` (Keras's default) a GRU has two biases, which are added: the second
    is 0.

    An LSTM must be made with `unit_forget_bias=False`: else Keras asks for its biases in
    parts, which raises an error here.

    Args:
        units: number of units of the layer.
        max_delay: T_max, the longest delay in time steps: at most the length of the
            sequences. An integer of at least 2.
        seed: an int or a `keras.random.SeedGenerator`, as of Keras's initialisers.
            Defaults to None.

    Call arguments:
        shape: `(4 · units,)` for an LSTM, `(3 · units,)` or `(2, 3 · units)` for a GRU.
        dtype: that of the bias. Defaults to None, Keras's `floatx`.

    Raises:
        ValueError: a bias of another shape, and `units` or `max_delay` out of range.

    Example:

    ```python
    chrono = keras_floss.initializers.Chrono(32, max_delay=300)
    lstm = keras.layers.LSTM(32, unit_forget_bias=False, bias_initializer=chrono)
    gru = keras.layers.GRU(32, bias_initializer=chrono)
    lstm(keras.random.normal((4, 300, 1))).shape  # (4, 32)
    ```

    References:
        [Tallec and Ollivier, ICLR 2018](https://arxiv.org/abs/1804.11188), equation 16
    """

    def __init__(
        self,
        units: int,
        max_delay: int,
        seed: int | keras.random.SeedGenerator | None = None,
    ) -> None:
        check_positive_int("units", units)
        check_positive_int("max_delay", max_delay, least=2)
        self.units, self.max_delay = int(units), int(max_delay)
        super().__init__(1.0, self.max_delay - 1.0, seed)

    def __call__(self, shape: Shape, dtype: str | None = None) -> tf.Tensor:
        shape, units = tuple(shape), self.units
        if shape not in ((4 * units,), (3 * units,), (2, 3 * units)):
            raise ValueError(
                f"`Chrono(units={units})` is for the bias of an LSTM or a GRU of {units} "
                f"units, of shape ({4 * units},), ({3 * units},) or (2, {3 * units}). An "
                "LSTM must have `unit_forget_bias=False`, else Keras asks for its bias in "
                f"parts. Received: shape={shape}"
            )
        return chrono_bias(ops.log(super().__call__((units,), dtype)), shape)

    def get_config(self) -> Config:
        seed = super().get_config()["seed"]
        return {"units": self.units, "max_delay": self.max_delay, "seed": seed}


def chrono_bias(remember: tf.Tensor, shape: Shape) -> tf.Tensor:
    """The bias of an LSTM or a GRU whose units remember for 1 + exp(`remember`) steps.

    Args:
        remember: `(units,)`.
        shape: that of the bias, as of `Chrono`.
    """
    zeros = ops.zeros_like(remember)
    if tuple(shape) == (4 * remember.shape[0],):  # i, f, c, o
        return ops.concatenate([-remember, remember, zeros, zeros])
    bias = ops.concatenate([remember, zeros, zeros])  # z, r, h
    return bias if len(shape) == 1 else ops.stack([bias, ops.zeros_like(bias)])
