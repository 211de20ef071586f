"""The flossing step as the `train_step` of a Keras model."""

import keras
import tensorflow as tf

from keras_floss.models.flossing_pass import FlossingPass
from keras_floss.models.qr_interval import make_interval
from keras_floss.models.source import inputs_of
from keras_floss.models.update import apply_if_finite


class FlossingProgram(keras.Model):
    """A Keras model whose `train_step` is a flossing step on another model's weights."""

    def __init__(self, model, layers, settings):
        super().__init__(name="flossing", dtype="float32")
        # In a lambda, which Keras does not track: the weights are the other model's.
        interval = make_interval(settings.qr_interval)
        flossing_pass = FlossingPass(model, layers, settings, interval)
        self._pass = lambda: flossing_pass
        self.layer_names = tuple(layers)
        self.skipped = keras.metrics.Sum(name="flossing_skipped")
        self.built = True

    def train_step(self, data):
        result, variables = self._pass().gradients(inputs_of(data))
        finite = apply_if_finite(self.optimizer, result, variables)
        # On every replica: Keras takes the mean of what they log.
        self.skipped.update_state(tf.cast(~finite, tf.float32))
        return self._logs(result)

    def test_step(self, data):
        return self._logs(self._pass().look(inputs_of(data)))

    def predict_step(self, data):
        flossing_pass = self._pass()
        sequences = flossing_pass.sequences(inputs_of(data))
        spectra = flossing_pass.spectra(sequences, flossing_pass.settings.qr_interval)
        return {
            name: sum(s.exponents for s in calls) / len(calls)
            for name, calls in spectra.items()
        }

    def _logs(self, result):
        logs = {"flossing_loss": result.loss}
        for name, exponents in result.exponents.items():
            prefix = f"{name}/" if len(result.exponents) > 1 else ""
            if prefix:
                logs[f"{prefix}flossing_loss"] = result.losses[name]
            logs[f"{prefix}lambda_1"] = exponents[0]
            logs[f"{prefix}lambda_k"] = exponents[-1]
        if self._pass().settings.qr_interval == "auto":
            logs["qr_interval"] = tf.cast(result.qr_interval, tf.float32)
        return {**logs, "flossing_skipped": self.skipped.result()}
