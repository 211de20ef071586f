"""The rate network of the flossing paper, as a Keras cell and layer."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from typing_extensions import Unpack

from keras_floss.layers.equations import ELEMENTWISE, RateRNNEquations
from keras_floss.layers.own_cell import OwnCellRNN, RNNKeywords
from keras_floss.layers.own_loop import OwnLoop
from keras_floss.utils.checks import check_positive_int
from keras_floss.utils.typing import Activation, Config, Initializer, LayerKeywords, Shape


@keras.saving.register_keras_serializable(package="keras_floss")
class RateRNNCell(keras.layers.Layer):
    """One step of `RateRNN`.

    `s_t = φ(s_{t-1}) U + x_t W + b`, and the output is `s_t`.

    Args:
        units: number of units, D.
        activation: φ. Defaults to `"tanh"`.
        use_bias: whether there is a b. Defaults to True.
        kernel_initializer: of W. Defaults to None, N(0, 1).
        recurrent_initializer: of U. Defaults to None, N(0, 1/units).
        bias_initializer: of b. Defaults to None, Uniform(0, 0.1).
        trainable_initial_state: whether the state before the first step is a weight,
            one for all sequences, in place of zeros. Defaults to False.
        initial_state_initializer: of that weight. Defaults to `"zeros"`.
        **kwargs: the arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, features)`.
        states: list of one tensor, `(batch, units)`.

    Example:

    ```python
    cell = keras_floss.layers.RateRNNCell(80)
    rnn = keras.layers.RNN(cell, return_sequences=True)
    rnn(keras.random.normal((4, 10, 1))).shape  # (4, 10, 80)
    ```
    """

    vectorize_tangents = True  # see CellMap

    def __init__(
        self,
        units: int,
        activation: Activation | None = "tanh",
        use_bias: bool = True,
        kernel_initializer: Initializer | None = None,
        recurrent_initializer: Initializer | None = None,
        bias_initializer: Initializer | None = None,
        trainable_initial_state: bool = False,
        initial_state_initializer: Initializer = "zeros",
        **kwargs: Unpack[LayerKeywords],
    ) -> None:
        check_positive_int("units", units)
        units = int(units)
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(
            kernel_initializer or keras.initializers.RandomNormal(stddev=1.0)
        )
        self.recurrent_initializer = keras.initializers.get(
            recurrent_initializer
            or keras.initializers.VarianceScaling(
                1.0, mode="fan_in", distribution="untruncated_normal"
            )
        )
        self.bias_initializer = keras.initializers.get(
            bias_initializer or keras.initializers.RandomUniform(0.0, 0.1)
        )
        self.trainable_initial_state = trainable_initial_state
        self.initial_state_initializer = keras.initializers.get(initial_state_initializer)

    def build(self, input_shape: Shape) -> None:
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units),
            name="kernel",
            initializer=self.kernel_initializer,
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units),
            name="recurrent_kernel",
            initializer=self.recurrent_initializer,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.units,), name="bias", initializer=self.bias_initializer
            )
        if self.trainable_initial_state:
            self.initial_state = self.add_weight(
                shape=(self.units,),
                name="initial_state",
                initializer=self.initial_state_initializer,
            )

    def call(
        self, inputs: tf.Tensor, states: Sequence[tf.Tensor], training: bool = False
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        rates = self.activation(states[0])
        state = ops.matmul(rates, self.recurrent_kernel) + ops.matmul(inputs, self.kernel)
        if self.use_bias:
            state = state + self.bias
        return state, [state]

    def get_initial_state(self, batch_size: Any = None) -> list[tf.Tensor]:
        if not self.trainable_initial_state:
            return [ops.zeros((batch_size, self.units), dtype=self.compute_dtype)]
        state = ops.cast(self.initial_state, self.compute_dtype)
        return [ops.broadcast_to(state, (batch_size, self.units))]

    def get_config(self) -> Config:
        serialize = keras.initializers.serialize
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": serialize(self.kernel_initializer),
            "recurrent_initializer": serialize(self.recurrent_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "trainable_initial_state": self.trainable_initial_state,
            "initial_state_initializer": serialize(self.initial_state_initializer),
        }


@keras.saving.register_keras_serializable(package="keras_floss")
class RateRNN(OwnLoop, OwnCellRNN):
    """A recurrent network of rate units, read out before its nonlinearity.

    `s_t = φ(s_{t-1}) U + x_t W + b`

    The state is the input current of each unit, `φ(s)` its rate; the output is `s_t`
    itself. This is the network of the flossing paper, with the initialisers of its
    released code as defaults: U ~ N(0, 1/units), W ~ N(0, 1), b ~ Uniform(0, 0.1). (The
    code divides the input by its number of channels, which is 1 in the paper's tasks.)

    Its loop over time has an adjoint of its own, which trains faster than that of
    `keras.layers.RNN` over a `RateRNNCell`. With `unroll`, or with a φ that is not one of
    Keras's elementwise activations, it runs in Keras's loop.

    Args:
        units: number of units, D.
        activation: φ. Defaults to `"tanh"`.
        use_bias: whether there is a b. Defaults to True.
        kernel_initializer: of W. Defaults to None, N(0, 1).
        recurrent_initializer: of U. Defaults to None, N(0, 1/units).
        bias_initializer: of b. Defaults to None, Uniform(0, 0.1).
        trainable_initial_state: whether the state before the first step is a weight,
            one for all sequences, in place of zeros. Defaults to False.
        initial_state_initializer: of that weight. Defaults to `"zeros"`.
        **kwargs: the arguments of `keras.layers.RNN`, with its defaults
            (`return_sequences`, `stateful`, `name`, ...).

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state: `(batch, units)`. Defaults to None, zeros or the weight.
        mask: `(batch, time)`, True where a step is valid. A masked step leaves the state
            as it is. Defaults to None.
        training: whether it is trained. It makes no difference to the output. Defaults to
            False.

    Output shape:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`.

    Example:

    ```python
    rnn = keras_floss.layers.RateRNN(80, return_sequences=True)
    rnn(keras.random.normal((4, 300, 1))).shape  # (4, 300, 80)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """

    def __init__(
        self,
        units: int,
        activation: Activation | None = "tanh",
        use_bias: bool = True,
        kernel_initializer: Initializer | None = None,
        recurrent_initializer: Initializer | None = None,
        bias_initializer: Initializer | None = None,
        trainable_initial_state: bool = False,
        initial_state_initializer: Initializer = "zeros",
        **kwargs: Unpack[RNNKeywords],
    ) -> None:
        cell = RateRNNCell(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            trainable_initial_state=trainable_initial_state,
            initial_state_initializer=initial_state_initializer,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="rate_rnn_cell",
        )
        super().__init__(cell, **kwargs)

    def _equations(self, training: bool) -> RateRNNEquations | None:
        # Where only the last state is asked for, Keras's loop keeps no other.
        keeps_states = training or self.return_sequences
        cell = self.cell
        own = type(cell) is RateRNNCell and cell.activation in ELEMENTWISE
        return RateRNNEquations(cell.activation) if own and keeps_states else None
