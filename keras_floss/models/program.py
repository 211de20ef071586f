"""The flossing step as the `train_step` of a Keras model."""

import keras
import tensorflow as tf

from keras_floss.lyapunov.spectrum import Spectrum
from keras_floss.models.flossing_pass import FlossingPass
from keras_floss.models.source import inputs_of
from keras_floss.models.update import apply_if_finite


class FlossingProgram(keras.Model):
    """A Keras model whose `train_step` is a flossing step on another model's weights."""

    def __init__(self, model, layers, settings):
        super().__init__(name="flossing", dtype="float32")
        # In a lambda, which Keras does not track: the weights are the other model's.
        flossing_pass = FlossingPass(model, layers, settings)
        self._pass = lambda: flossing_pass
        self.layer_names = tuple(layers)
        self.skipped = keras.metrics.Sum(name="flossing_skipped")
        self.built = True

    def train_step(self, data):
        result = self._pass().gradients(inputs_of(data))
        finite = apply_if_finite(self.optimizer, result)
        # On every replica: Keras takes the mean of what they log.
        self.skipped.update_state(tf.cast(~finite, tf.float32))
        return self._logs(result.loss, result.losses, result.spectra)

    def test_step(self, data):
        spectra, _ = self._pass().spectra(inputs_of(data))
        return self._logs(*self._pass().losses(spectra), spectra)

    def predict_step(self, data):
        spectra, _ = self._pass().spectra(inputs_of(data))
        return {
            name: sum(s.exponents for s in calls) / len(calls)
            for name, calls in spectra.items()
        }

    def _logs(self, loss, losses, spectra):
        logs = {"flossing_loss": loss}
        for name, calls in spectra.items():
            prefix = f"{name}/" if len(spectra) > 1 else ""
            if prefix:
                logs[f"{prefix}flossing_loss"] = losses[name]
            means = [mean_exponents(s) for s in calls]
            mean = sum(means) / len(means)
            logs[f"{prefix}lambda_1"] = mean[0]
            logs[f"{prefix}lambda_k"] = mean[-1]
        return {**logs, "flossing_skipped": self.skipped.result()}


def mean_exponents(spectrum: Spectrum):
    """`(k,)`, the mean over the sequences that have a counted step."""
    used = (spectrum.counted > 0)[:, None]
    total = tf.reduce_sum(
        tf.where(used, spectrum.exponents, tf.zeros_like(spectrum.exponents)), axis=0
    )
    return total / tf.reduce_sum(tf.cast(used, total.dtype))
