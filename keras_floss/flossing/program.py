"""The flossing step as the `train_step` of a Keras model."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.flossing_pass import FlossingPass, RecurrentLayers
from keras_floss.flossing.interval import Interval
from keras_floss.flossing.source import inputs_of
from keras_floss.flossing.term import Pass
from keras_floss.flossing.update import apply_if_finite
from keras_floss.flow.frame import initial_frame
from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.noise import noise_seed
from keras_floss.utils.fingerprint import fingerprint
from keras_floss.utils.typing import Logs


class FlossingProgram(keras.Model):
    """A Keras model whose `train_step` is a flossing step on another model's weights."""

    def __init__(
        self, model: keras.Model, layers: RecurrentLayers, flossing: Flossing
    ) -> None:
        super().__init__(name="flossing", dtype="float32")
        frames = {name: _frame(flossing, name, x) for name, x in layers.items()}
        flossing_pass = FlossingPass(
            model,
            layers,
            flossing,
            Interval(flossing.qr_interval),
            frames,
            tf.Variable(0, trainable=False, dtype=tf.int64),
            lambda: self.optimizer.iterations.value,
        )
        # In a lambda, which Keras does not track: the weights are the other model's.
        self._pass = lambda: flossing_pass
        self._frozen: Callable[[], Any] = lambda: None  # nothing is traced
        self.layer_names = tuple(layers)
        self.skipped = keras.metrics.Sum(name="flossing_skipped")
        self.built = True

    def answers(self) -> bool:
        """Whether what is traced is traced of the model and the optimizer as they are."""
        return self._frozen() in (None, self._values())

    def _note(self) -> None:
        """Notes the Python values that stand in the trace of a step, at its end."""
        if not tf.executing_eagerly():
            values = self._values()
            self._frozen = lambda: values

    def _values(self) -> Any:
        # What a user sets of an optimiser: its public attributes, and the learning rate.
        options = {
            name: value
            for name, value in vars(self.optimizer).items()
            if name == "_learning_rate" or not name.startswith("_") and name != "built"
        }
        precision = tf.config.experimental.tensor_float_32_execution_enabled()
        return fingerprint(self._pass().model, options, precision, keras.config.floatx())

    def set_seed(self, seed: int) -> None:
        """Sets the frames to start from and the noise, no parts of what is traced."""
        self._pass().seed.assign(noise_seed(seed))
        for frame in self._pass().frames.values():
            k, dim = frame.shape
            frame.assign(initial_frame(k, dim, seed))

    def train_step(self, data: Any) -> Logs:
        result, variables = self._pass().gradients(inputs_of(data))
        finite = apply_if_finite(self.optimizer, result, variables)
        # On every replica: Keras takes the mean of what they log.
        self.skipped.update_state(tf.cast(~finite, tf.float32))
        self._note()
        return self._logs(result)

    def test_step(self, data: Any) -> Logs:
        result = self._pass().look(inputs_of(data))
        self._note()
        return self._logs(result)

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        flossing_pass = self._pass()
        sequences = flossing_pass.sequences(inputs_of(data))
        spectra = flossing_pass.spectra(sequences, flossing_pass.flossing.qr_interval)
        self._note()
        return {
            name: sum(s.exponents for s in calls) / len(calls)
            for name, calls in spectra.items()
        }

    def _logs(self, result: Pass) -> Logs:
        logs = {"flossing_loss": result.loss}
        for name, exponents in result.exponents.items():
            prefix = f"{name}/" if len(result.exponents) > 1 else ""
            if prefix:
                logs[f"{prefix}flossing_loss"] = result.losses[name]
            logs[f"{prefix}lambda_1"] = exponents[0]
            logs[f"{prefix}lambda_k"] = exponents[-1]
            logs[f"{prefix}lost_directions"] = result.lost[name]
        if self._pass().flossing.qr_interval == "auto":
            logs["qr_interval"] = tf.cast(result.qr_interval, tf.float32)
        return {**logs, "flossing_skipped": self.skipped.result()}


def _frame(flossing: Flossing, name: str, layer: keras.layers.RNN) -> tf.Variable:
    """A variable for the frame that a layer starts from."""
    step = CellMap(layer.cell, name)
    shape = flossing.rows_of(name, step), step.dim
    return tf.Variable(tf.zeros(shape, step.dtype), trainable=False)
