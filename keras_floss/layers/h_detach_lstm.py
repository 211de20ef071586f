"""The LSTM whose gradient is now and then kept off the path through h (h-detach)."""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict

import keras
import tensorflow as tf
from keras import ops
from typing_extensions import Unpack

from keras_floss.layers.own_cell import OwnCellRNN, RNNKeywords
from keras_floss.layers.saved_seed import SavedSeed
from keras_floss.utils.checks import check_positive_int, check_probability
from keras_floss.utils.typing import Activation, Config, Initializer, LayerKeywords

LEVELS = 2**24  # what float32 can count


class GateKeywords(TypedDict, total=False):
    """The keywords of `keras.layers.LSTM` that are its cell's."""

    activation: Activation | None
    recurrent_activation: Activation | None
    use_bias: bool
    kernel_initializer: Initializer
    recurrent_initializer: Initializer
    bias_initializer: Initializer
    unit_forget_bias: bool
    kernel_regularizer: Any
    recurrent_regularizer: Any
    bias_regularizer: Any
    kernel_constraint: Any
    recurrent_constraint: Any
    bias_constraint: Any
    dropout: float
    recurrent_dropout: float
    seed: int | None
    implementation: int


class CellKeywords(GateKeywords, LayerKeywords, total=False):
    """The keywords of `keras.layers.LSTMCell`."""


class LSTMKeywords(GateKeywords, RNNKeywords, total=False):
    """The keywords of `keras.layers.LSTM`."""


@keras.saving.register_keras_serializable(package="keras_floss")
class HDetachLSTMCell(keras.layers.LSTMCell):
    """One step of `HDetachLSTM`: `keras.layers.LSTMCell`, but for its gradient.

    In a `keras.layers.RNN` it draws at every step; `HDetachLSTM` draws once for the whole
    sequence.

    Args:
        units: number of units.
        detach_rate: p, from 0 to 1. Defaults to 0.25.
        detach: `"h"` or `"c"`, the state whose gradient is blocked. Defaults to `"h"`.
        **kwargs: the other arguments of `keras.layers.LSTMCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: list of h and c, each `(batch, units)`.
        training: whether the gradient is blocked at all. Defaults to False.

    Example:

    ```python
    cells = [keras_floss.layers.HDetachLSTMCell(16) for _ in range(2)]
    rnn = keras.layers.RNN(cells)
    rnn(keras.random.normal((4, 10, 3))).shape  # (4, 16)
    ```
    """

    vectorize_tangents = True  # see CellMap

    def __init__(
        self,
        units: int,
        detach_rate: float = 0.25,
        detach: Literal["h", "c"] = "h",
        **kwargs: Unpack[CellKeywords],
    ) -> None:
        check_positive_int("units", units)
        check_probability("detach_rate", detach_rate)
        if detach not in ("h", "c"):
            raise ValueError(
                f"`detach` must be 'h', or 'c' for the control experiment. Received: "
                f"{detach!r}"
            )
        super().__init__(int(units), **kwargs)
        # TensorFlow's, since a Keras variable would be one weight more than LSTM has.
        self._detach_rate = tf.Variable(detach_rate, trainable=False, dtype=tf.float32)
        # HDetachAnnealing sets it to 0 and back, and leaves the rate itself alone.
        self.annealing = tf.Variable(1.0, trainable=False)
        self.detach = detach
        self._saved_seed = SavedSeed(self.seed_generator)

    @property
    def detach_rate(self) -> tf.Variable:
        """p, a `tf.Variable`."""
        return self._detach_rate

    def draw(self, steps: int | tf.Tensor) -> tf.Tensor:
        """`(steps,)` booleans: at which steps the gradient is blocked."""
        # Integers by a named algorithm are the same under XLA. TensorFlow's uniform floats
        # are not (tensorflow#121243).
        seed = self.seed_generator.next()
        number = tf.random.stateless_uniform(
            (steps,), seed, 0, LEVELS, tf.int32, alg="philox"
        )
        rate = self.detach_rate * self.annealing
        return tf.cast(number, tf.float32) < rate * LEVELS

    def call(
        self, inputs: tf.Tensor, states: Sequence[tf.Tensor], training: bool = False
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        if training:
            features = self.kernel.shape[0]
            if inputs.shape[-1] == features + 1:  # the last column says so
                inputs, blocked = inputs[:, :features], inputs[:, features:] > 0
            else:
                blocked = self.draw(1)
            h, c = states
            if self.detach == "h":
                h = ops.where(blocked, ops.stop_gradient(h), h)
            else:
                c = ops.where(blocked, ops.stop_gradient(c), c)
            states = [h, c]
        return super().call(inputs, states, training=training)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "detach_rate": float(self.detach_rate.numpy()),
            "detach": self.detach,
        }


@keras.saving.register_keras_serializable(package="keras_floss")
class HDetachLSTM(OwnCellRNN):
    """An LSTM that learns through its cell state: h-detach.

    Outputs, weights and their order are those of `keras.layers.LSTM`, so `set_weights`
    moves weights from one to the other. (Weight files do not: in them Keras keeps weights
    by the name of the class.) In training, at each time step and with probability p, no
    gradient flows from the gates of that step into h_{t-1}:

    `h̃ = stop_gradient(h_{t-1})` with probability p, else `h_{t-1}`;
    `h_t, c_t = LSTM(x_t, h̃, c_{t-1})`

    One draw serves all sequences of the batch and all units. c is never detached, and what
    comes after the layer sees h_t as it is. On its way back through the gates a gradient
    grows with powers of the weights, and drowns the gradient through c, in which long
    delays are remembered. Blocking it now and then lets the other one be heard. The size
    of the gradient depends on p, so it should still be clipped.

    Args:
        units: number of units.
        detach_rate: p, from 0 to 1, kept as a variable that a callback may `assign` to
            (`keras_floss.callbacks.HDetachAnnealing`). The paper found 0.25 to 0.5 best.
            Defaults to 0.25.
        detach: `"h"`, or `"c"` for the paper's control experiment, which blocks the
            gradient into c_{t-1} instead and does harm. Defaults to `"h"`.
        use_cudnn: there is no cuDNN kernel with a blocked gradient, so `"auto"`, the
            default, and False are the same, and True is an error.
        **kwargs: the other arguments of `keras.layers.LSTM`, with its defaults
            (`return_sequences`, `dropout`, `name`, ...). `seed` is that of dropout and of
            the draws. The position in the sequence of draws is saved with the weights, so
            that a run that is restored goes on with new draws; a layer with another seed
            than that of the file starts with its own.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state: list of h and c, each `(batch, units)`. Defaults to None, zeros.
        mask: `(batch, time)`, True where a step is valid. A masked step leaves the state
            as it is. Defaults to None.
        training: whether the gradient is blocked, and dropout applied. Defaults to False.

    Output shape:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`.

    Raises:
        ValueError: a p that is no probability, another `detach`, or `use_cudnn=True`.

    Example:

    ```python
    lstm = keras_floss.layers.HDetachLSTM(32, detach_rate=0.25)
    lstm(keras.random.normal((4, 300, 1)), training=True).shape  # (4, 32)
    ```

    References:
        [Kanuparthi, Arpit et al., ICLR 2019](https://arxiv.org/abs/1810.03023),
        Algorithm 1
    """

    def __init__(
        self,
        units: int,
        detach_rate: float = 0.25,
        detach: Literal["h", "c"] = "h",
        *,
        use_cudnn: Literal["auto", False] = "auto",
        **kwargs: Unpack[LSTMKeywords],
    ) -> None:
        if use_cudnn not in (False, "auto"):
            raise ValueError(
                "`use_cudnn` must be 'auto' or False: cuDNN has no LSTM whose gradient is "
                "blocked. For inference with cuDNN, hand the weights to a "
                f"`keras.layers.LSTM` by `set_weights`. Received: {use_cudnn!r}"
            )
        given: dict[str, Any] = dict(kwargs)
        gates = {key: given.pop(key) for key in GateKeywords.__annotations__ & given.keys()}
        cell = HDetachLSTMCell(
            units,
            detach_rate,
            detach,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="lstm_cell",
            **gates,
        )
        super().__init__(cell, **given)
        self.input_spec = keras.layers.InputSpec(ndim=3)

    @property
    def detach_rate(self) -> tf.Variable:
        """p, a `tf.Variable`."""
        return self.cell.detach_rate

    def inner_loop(
        self,
        sequences: tf.Tensor,
        initial_state: Any,
        mask: tf.Tensor | None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        if training:
            # All draws at once, before the loop. Keras loops over one tensor, so they go
            # along as a column of it.
            features = self.cell.kernel.shape[0]
            sequences = tf.ensure_shape(sequences, (None, None, features))
            batch, time, _ = ops.shape(sequences)
            blocked = ops.cast(self.cell.draw(time), sequences.dtype)
            column = ops.broadcast_to(blocked[None, :, None], (batch, time, 1))
            sequences = ops.concatenate([sequences, column], axis=-1)
        return super().inner_loop(sequences, initial_state, mask, training=training)
