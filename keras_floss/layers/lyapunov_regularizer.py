"""The Keras layer that adds the flossing loss of the layer it wraps."""

import keras
import tensorflow as tf
from keras import ops

from keras_floss.flow.loss import flossing_loss
from keras_floss.flow.spectrum import trajectory_spectrum
from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.noise import Redraws
from keras_floss.recurrent.trajectory import (
    as_trajectory,
    check_recurrent,
    cut_batch,
    cut_window,
    directions,
)
from keras_floss.utils.checks import (
    check_k,
    check_positive_int,
    check_schedule,
    check_strength,
    check_target,
)


@keras.saving.register_keras_serializable(package="keras_floss")
class LyapunovRegularizer(keras.layers.Wrapper):
    """Regularises the Lyapunov exponents of a recurrent layer.

    The output is that of the wrapped layer, masks and states included. When training,
    the layer adds

    `strength · mean over sequences and i ≤ k of (λ_i − target)²`

    to the loss of the model, through `add_loss`: joint flossing, in any Keras model.
    The exponents are those that `keras_floss.lyapunov_exponents` gives for the inputs
    of the layer, in float32 whatever the dtype policy (float64 for a float64 layer). The
    gradient reaches the weights, the inputs and the initial state. Evaluation adds
    nothing, so that `val_loss` stays the task's. Directions that are lost (exponents of −∞)
    are left out; where none is left in the whole batch the term is ∞, without gradient, and
    `keras.callbacks.TerminateOnNaN` stops the training.

    Args:
        rnn: a `keras.layers.RNN` layer, or a `keras.layers.Bidirectional` of one: then
            there is one term for each direction.
        k: number of exponents. Defaults to None, all of them.
        target: the exponent aimed at, per time step, or a list of k. Defaults to 0.0.
        strength: weight of the term, kept as a variable that a callback may `assign` to.
            Defaults to 1.0.
        batch_size: number of sequences that the term is computed from, the first of each
            batch. Defaults to None, all of them.
        window: number of time steps that it is computed from, from the first valid one
            on. Defaults to None, all of them.
        warmup: number of first valid steps that are not counted. Defaults to 0.
        qr_interval: number of steps from one QR to the next. Defaults to 1.
        seed: of the frame to start from, and of the noise of a cell that draws random
            numbers, which is new at each training step. Defaults to 0.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state, mask, training: as in the wrapped layer.

    Raises:
        ValueError: a layer that is not recurrent, or a setting out of its range.

    Example:

    ```python
    inputs = keras.Input((100, 3))
    rnn = keras.layers.LSTM(32)
    outputs = keras_floss.LyapunovRegularizer(rnn, k=8, strength=0.1)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(outputs))
    model.compile("adam", "mse")  # trains on the task's loss and the penalty
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306), eq. 4
    """

    def __init__(
        self,
        rnn,
        k=None,
        target=0.0,
        strength=1.0,
        batch_size=None,
        window=None,
        warmup=0,
        qr_interval=1,
        seed=0,
        **kwargs,
    ):
        for layer in directions(rnn).values():
            check_recurrent(layer)
            if not isinstance(layer, keras.layers.RNN):
                raise ValueError(
                    "`LyapunovRegularizer` wraps a recurrent layer, not a cell. Received: "
                    f"{rnn!r}"
                )
        check_strength(strength)
        for name, value in (("k", k), ("batch_size", batch_size), ("window", window)):
            if value is not None:
                check_positive_int(name, value)
        check_schedule(warmup, qr_interval, window)
        check_target(target, k)
        # A mixed policy would hand weights in half precision to the tangent flow. This
        # layer has none of its own, and the wrapped one casts for itself.
        policy = kwargs.pop("dtype", None) or keras.config.dtype_policy()
        dtype = keras.dtype_policies.get(policy).variable_dtype
        super().__init__(rnn, dtype=dtype, autocast=False, **kwargs)
        self.k = k
        self.target = target
        # TensorFlow's: a Keras variable would be a weight, and the weights of this layer
        # are those of the one it wraps.
        self.strength = tf.Variable(strength, trainable=False, dtype=tf.float32)
        self._redraws = Redraws()
        self.batch_size = batch_size
        self.window = window
        self.warmup = warmup
        self.qr_interval = qr_interval
        self.seed = seed
        self.supports_masking = True

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape)
        check_schedule(self.warmup, self.qr_interval, self.window or sequences_shape[1])
        for layer in directions(self.layer).values():
            dim = CellMap(layer.cell, layer.name).dim
            check_target(self.target, check_k(self.k, dim, layer.name))

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if training:
            penalty = self._penalty(sequences, initial_state, mask)
            # A float64 layer may stand in a model whose loss is float32.
            strength = ops.cast(self.strength, penalty.dtype)
            # At a strength of 0 nothing is added, be the penalty ∞.
            term = tf.math.multiply_no_nan(penalty, strength)
            self.add_loss(ops.cast(term, keras.config.floatx()))
        return self.layer(
            sequences, initial_state=initial_state, mask=mask, training=training
        )

    def _penalty(self, sequences, initial_state, mask):
        if sequences.shape[1] == 1:
            raise ValueError(
                f"`{self.name}` is called on one time step, from which no exponent can be "
                "told: call a LyapunovRegularizer on whole sequences. What flosses a layer "
                "that is called step by step is `keras_floss.FlossingModel`."
            )
        layers = directions(self.layer).values()
        states = [initial_state]
        if len(layers) == 2:
            half = len(initial_state or []) // 2
            states = [initial_state[:half], initial_state[half:]] if half else [None] * 2
        penalties = []
        for layer, state in zip(layers, states, strict=True):
            trajectory = as_trajectory(layer, sequences, state, mask)
            spectrum = trajectory_spectrum(
                cut_window(cut_batch(trajectory, self.batch_size), self.window),
                self.k,
                warmup=self.warmup,
                qr_interval=self.qr_interval,
                seed=self.seed,
                redraw=self._redraws() if trajectory.map.noisy else 0,
            )
            penalties.append(
                flossing_loss(spectrum.exponents, spectrum.counted, self.target)
            )
        return sum(penalties)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        return self.layer.compute_output_shape(sequences_shape)

    def compute_mask(self, sequences, mask=None):
        return self.layer.compute_mask(sequences, mask)

    def get_config(self):
        return {
            **super().get_config(),
            "k": self.k,
            "target": self.target,
            "strength": float(self.strength.numpy()),
            "batch_size": self.batch_size,
            "window": self.window,
            "warmup": self.warmup,
            "qr_interval": self.qr_interval,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        # This is how Bidirectional makes the backward layer of what it is given.
        if "go_backwards" in config:
            raise ValueError(
                "`LyapunovRegularizer` cannot stand inside a Bidirectional. Swap the two: "
                "LyapunovRegularizer(keras.layers.Bidirectional(rnn))."
            )
        return super().from_config(config, custom_objects=custom_objects)
