"""The Keras layer that adds the flossing loss of the layer it wraps."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from typing_extensions import Unpack

from keras_floss.flossing.flossing import FIRST_VERSION, Flossing, override, takes_flossing
from keras_floss.flossing.term import cut, spectra, summary
from keras_floss.flow.alone import JitCompile, check_jit_compile
from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.noise import Redraws
from keras_floss.recurrent.output_map import seen_as
from keras_floss.recurrent.trajectory import as_trajectory, check_recurrent, directions
from keras_floss.utils.checks import check_not_negative, check_schedule
from keras_floss.utils.typing import Config, LayerKeywords, Shape


@keras.saving.register_keras_serializable(package="keras_floss")
class LyapunovRegularizer(keras.layers.Wrapper):
    """Regularises the Lyapunov exponents of a recurrent layer.

    The output is that of the wrapped layer, masks and states included. When training,
    the layer adds

    `strength · mean over directions, calls, sequences and i ≤ k of (λ_i − target)²`

    to the loss of the model, through `add_loss`: joint flossing, in any Keras model. It is
    the term that a `FlossingModel` with a `strength` adds for the layer. The exponents are
    those that `keras_floss.lyapunov_exponents` gives for the inputs of the layer, in
    float32 whatever the dtype policy (float64 for a float64 layer). The gradient reaches
    the weights of the layer; its inputs and its initial state count as data. Evaluation
    adds nothing, so that `val_loss` stays the task's. Directions that are lost (exponents
    of −∞) are left out; where none is left in the whole batch the term is ∞, without
    gradient, and `keras.callbacks.TerminateOnNaN` stops the training.

    Args:
        rnn: a `keras.layers.RNN` layer, or a `keras.layers.Bidirectional` of one.
        strength: weight of the term, kept as a variable that a callback may `assign` to.
            Defaults to 1.0.
        flossing: a `keras_floss.Flossing`, what is flossed and how. It has one layer and no
            choice of intervals: `layers` must be None, `k` no dict, and a `qr_interval` of
            `"auto"` is 1. Defaults to None, `Flossing()`: the first two sequences of each
            batch.
        jit_compile: whether XLA compiles the penalty and its gradient where it does not
            compile the model: 1 to 2 s at the first update, and a half to an eighth of the
            penalty's time from then on. `"auto"` does where that pays: on a CPU with one
            device, for the cells of Keras and of this package over a known number of 50
            time steps or more. Defaults to `"auto"`.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state, mask, training: those of the wrapped layer.

    Attributes:
        flossing: the `keras_floss.Flossing`.
        strength: the variable.

    Raises:
        ValueError: a layer that is not recurrent, or a setting out of its range or without
            a meaning here.

    Example:

    ```python
    inputs = keras.Input((100, 3))
    rnn = keras.layers.LSTM(32)
    flossing = keras_floss.Flossing(k=8)
    outputs = keras_floss.LyapunovRegularizer(rnn, 0.1, flossing)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(outputs))
    model.compile("adam", "mse")  # trains on the task's loss and the penalty
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306), eq. 4
    """

    @takes_flossing
    def __init__(
        self,
        rnn: keras.layers.RNN | keras.layers.Bidirectional,
        strength: float = 1.0,
        flossing: Flossing | None = None,
        jit_compile: JitCompile = "auto",
        **kwargs: Unpack[LayerKeywords],
    ) -> None:
        for layer in directions(rnn).values():
            check_recurrent(layer)
            if not isinstance(layer, keras.layers.RNN):
                raise ValueError(
                    "`LyapunovRegularizer` wraps a recurrent layer, not a cell. Received: "
                    f"{rnn!r}"
                )
        check_not_negative("strength", strength)
        flossing = override(flossing)
        for name, wanted, wrong in (
            ("layers", "None, since it flosses its own", flossing.layers is not None),
            ("k", "an integer or None, for one layer", isinstance(flossing.k, dict)),
        ):
            if wrong:
                raise ValueError(
                    f"`{name}` in the `flossing` of a `LyapunovRegularizer` must be "
                    f"{wanted}. Received: {getattr(flossing, name)!r}"
                )
        # A mixed policy would hand weights in half precision to the tangent flow. This
        # layer has none of its own, and the wrapped one casts for itself.
        policy = kwargs.pop("dtype", None) or keras.config.dtype_policy()
        dtype = keras.dtype_policies.get(policy).variable_dtype
        super().__init__(rnn, dtype=dtype, autocast=False, **kwargs)
        self.flossing = flossing
        check_jit_compile(jit_compile)
        self.jit_compile = jit_compile
        # Keras traces the call of a layer where no interval can be chosen.
        self._qr_interval = 1 if flossing.qr_interval == "auto" else flossing.qr_interval
        # TensorFlow's: a Keras variable would be a weight, and the weights of this layer
        # are those of the one it wraps.
        self.strength = tf.Variable(strength, trainable=False, dtype=tf.float32)
        self._redraws = Redraws()
        self.supports_masking = True

    def build(self, sequences_shape: Shape, initial_state_shape: Any = None) -> None:
        super().build(sequences_shape)
        flossing, time = self.flossing, sequences_shape[1]
        window = flossing.window_of(time) or time
        if window is not None:
            check_schedule(flossing.warmup_of(window), self._qr_interval, window)
        for layer in directions(self.layer).values():
            step = CellMap(layer.cell, layer.name).trace(tf.TensorSpec(sequences_shape))
            flossing.k_of(layer.name, seen_as(step, flossing.of))

    def call(
        self,
        sequences: tf.Tensor,
        initial_state: Sequence[tf.Tensor] | None = None,
        mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> Any:
        if training:
            penalty = self._penalty(sequences, initial_state, mask)
            # A float64 layer may stand in a model whose loss is float32.
            strength = ops.cast(self.strength, penalty.dtype)
            # At a strength of 0 nothing is added, be the penalty ∞.
            term = tf.math.multiply_no_nan(penalty, strength)
            term = ops.cast(term, keras.config.floatx())
            # Of the calls of this step the mean: Keras takes the sum of what is added, and
            # lists what is added here before what is added in the wrapped layer.
            before = self.losses[: len(self.losses) - len(self.layer.losses)]
            self.add_loss((term - sum(before)) / (len(before) + 1))
        return self.layer(
            sequences, initial_state=initial_state, mask=mask, training=training
        )

    def _penalty(
        self,
        sequences: tf.Tensor,
        initial_state: Sequence[tf.Tensor] | None,
        mask: tf.Tensor | None,
    ) -> tf.Tensor:
        if sequences.shape[1] == 1:
            raise ValueError(
                f"`{self.name}` is called on one time step, from which no exponent can be "
                "told: call a LyapunovRegularizer on whole sequences. What flosses a layer "
                "that is called step by step is `keras_floss.FlossingModel`."
            )
        layers = directions(self.layer)
        states: list[Any] = [initial_state]
        if len(layers) == 2:
            given = initial_state or []
            half = len(given) // 2
            states = [given[:half], given[half:]] if half else [None] * 2
        calls = {
            name: [cut(as_trajectory(layer, sequences, state, mask), self.flossing)]
            for (name, layer), state in zip(layers.items(), states, strict=True)
        }
        noisy = any(trajectory.map.noisy for (trajectory,) in calls.values())
        interval, redraw = self._qr_interval, self._redraws() if noisy else 0
        found = spectra(
            calls, self.flossing, interval, redraw=redraw, jit_compile=self.jit_compile
        )
        return summary(calls, found, self.flossing, interval).loss

    def compute_output_shape(
        self, sequences_shape: Shape, initial_state_shape: Any = None
    ) -> Any:
        return self.layer.compute_output_shape(sequences_shape)

    def compute_mask(self, sequences: tf.Tensor, mask: tf.Tensor | None = None) -> Any:
        return self.layer.compute_mask(sequences, mask)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "strength": float(self.strength.numpy()),
            "flossing": keras.saving.serialize_keras_object(self.flossing),
            "jit_compile": self.jit_compile,
        }

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: Mapping[str, Any] | None = None
    ) -> "LyapunovRegularizer":
        # This is how Bidirectional makes the backward layer of what it is given.
        if "go_backwards" in config:
            raise ValueError(
                "`LyapunovRegularizer` cannot stand inside a Bidirectional. Swap the two: "
                "LyapunovRegularizer(keras.layers.Bidirectional(rnn))."
            )
        if "flossing" in config:
            flossing = keras.saving.deserialize_keras_object(config["flossing"])
        else:  # of the first version, whose config has each setting for itself
            names = [f.name for f in dataclasses.fields(Flossing) if f.name in config]
            settings = {name: config[name] for name in names}
            flossing = Flossing(**{**FIRST_VERSION, **settings})
            config = {name: v for name, v in config.items() if name not in names}
        return super().from_config(
            {**config, "flossing": flossing}, custom_objects=custom_objects
        )
