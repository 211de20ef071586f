"""Keras's SimpleRNN, GRU and LSTM, which train faster on a CPU."""

import keras
import tensorflow as tf

from keras_floss.layers.equations import (
    SLOPES,
    GRUBeforeEquations,
    GRUEquations,
    LSTMEquations,
    SimpleRNNEquations,
)
from keras_floss.layers.own_loop import OwnLoop


class _FastLayer(OwnLoop):
    """What the three have in common: when the loop is Keras's."""

    def _equations(self, training):
        cell = self.cell
        activations = [cell.activation]
        if hasattr(cell, "recurrent_activation"):
            activations.append(cell.recurrent_activation)
        if (
            # Without a gradient Keras's loop keeps no steps, and this one would.
            not training
            or type(cell) is not self._cell_class
            or cell.dropout
            or cell.recurrent_dropout
            or not SLOPES.keys() >= set(activations)
            or self._asks_for_cudnn()
        ):
            return None
        return self._equations_class(*activations)

    def _asks_for_cudnn(self):
        """Whether Keras would take cuDNN's kernels, or says why it cannot."""
        use_cudnn = getattr(self, "use_cudnn", False)
        if use_cudnn == "auto":
            return bool(tf.config.list_logical_devices("GPU"))
        return use_cudnn


@keras.saving.register_keras_serializable(package="keras_floss")
class SimpleRNN(_FastLayer, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN`, which trains faster on a CPU.

    `h_t = φ(x_t W + h_{t-1} U + b)`

    Arguments, weights and outputs are those of Keras's layer, and weights go from one to
    the other by `set_weights` or a weight file. In training the gradient of its loop over
    time is computed by formulas, where TensorFlow derives that of Keras's loop: the results
    are the same but for rounding. It gains most with `return_sequences` and
    `jit_compile=True`.

    The loop is Keras's where there is no formula: with dropout or recurrent dropout, with
    activations other than `"tanh"`, `"sigmoid"`, `"relu"` and `"linear"`, with `unroll`,
    and where the layer does not train.

    Args:
        *args, **kwargs: the arguments of `keras.layers.SimpleRNN`, with its defaults.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state: `(batch, units)`. Defaults to None, zeros.
        mask: `(batch, time)`, True where a step is valid. Defaults to None.
        training: whether it is trained. Defaults to False.

    Output shape:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`.

    Example:

    ```python
    rnn = keras_floss.layers.SimpleRNN(64, return_sequences=True)
    rnn(keras.random.normal((4, 300, 1)), training=True).shape  # (4, 300, 64)
    ```
    """

    _cell_class = keras.layers.SimpleRNNCell
    _equations_class = SimpleRNNEquations


@keras.saving.register_keras_serializable(package="keras_floss")
class GRU(_FastLayer, keras.layers.GRU):
    """`keras.layers.GRU`, which trains faster on a CPU.

    Arguments, weights and outputs are those of Keras's layer, and weights go from one to
    the other by `set_weights` or a weight file. In training the gradient of its loop over
    time is computed by formulas, where TensorFlow derives that of Keras's loop: the results
    are the same but for rounding. It gains most with `return_sequences` and
    `jit_compile=True`.

    The loop is Keras's where there is no formula: with dropout or recurrent dropout, with
    activations other than `"tanh"`, `"sigmoid"`, `"relu"` and `"linear"`, with `unroll`,
    where the layer does not train, and where cuDNN's kernels may do better: on a GPU, but
    for `use_cudnn=False`.

    Args:
        *args, **kwargs: the arguments of `keras.layers.GRU`, with its defaults.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state: `(batch, units)`. Defaults to None, zeros.
        mask: `(batch, time)`, True where a step is valid. Defaults to None.
        training: whether it is trained. Defaults to False.

    Output shape:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`.

    Example:

    ```python
    rnn = keras_floss.layers.GRU(64, return_sequences=True)
    rnn(keras.random.normal((4, 300, 1)), training=True).shape  # (4, 300, 64)
    ```
    """

    _cell_class = keras.layers.GRUCell

    @property
    def _equations_class(self):
        return GRUEquations if self.cell.reset_after else GRUBeforeEquations

    def _weights_of_loop(self):
        kernel, recurrent_kernel, *bias = super()._weights_of_loop()
        if self.cell.reset_after:
            return [kernel, recurrent_kernel, *bias]
        split = 2 * self.units
        recurrent_kernel = keras.ops.convert_to_tensor(recurrent_kernel)
        return [kernel, recurrent_kernel[:, :split], recurrent_kernel[:, split:], *bias]


@keras.saving.register_keras_serializable(package="keras_floss")
class LSTM(_FastLayer, keras.layers.LSTM):
    """`keras.layers.LSTM`, which trains faster on a CPU.

    Arguments, weights and outputs are those of Keras's layer, and weights go from one to
    the other by `set_weights` or a weight file. In training the gradient of its loop over
    time is computed by formulas, where TensorFlow derives that of Keras's loop: the results
    are the same but for rounding. It gains most with `return_sequences` and
    `jit_compile=True`.

    The loop is Keras's where there is no formula: with dropout or recurrent dropout, with
    activations other than `"tanh"`, `"sigmoid"`, `"relu"` and `"linear"`, with `unroll`,
    where the layer does not train, and where cuDNN's kernels may do better: on a GPU, but
    for `use_cudnn=False`.

    Args:
        *args, **kwargs: the arguments of `keras.layers.LSTM`, with its defaults.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state: list of h and c, each `(batch, units)`. Defaults to None, zeros.
        mask: `(batch, time)`, True where a step is valid. Defaults to None.
        training: whether it is trained. Defaults to False.

    Output shape:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`.

    Example:

    ```python
    rnn = keras_floss.layers.LSTM(64, return_sequences=True)
    rnn(keras.random.normal((4, 300, 1)), training=True).shape  # (4, 300, 64)
    ```
    """

    _cell_class = keras.layers.LSTMCell
    _equations_class = LSTMEquations
