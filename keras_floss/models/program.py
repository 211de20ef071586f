"""The flossing step as the `train_step` of a Keras model."""

import keras
import tensorflow as tf

from keras_floss.lyapunov.loss import flossing_loss
from keras_floss.lyapunov.recurrent import Sequence, as_sequence, cut_window
from keras_floss.lyapunov.schedule import extent
from keras_floss.lyapunov.spectrum import Spectrum, sequence_spectrum
from keras_floss.models.recording import record
from keras_floss.models.source import inputs_of
from keras_floss.models.update import apply_if_finite


class FlossingProgram(keras.Model):
    """A Keras model whose `train_step` is a flossing step on another model's weights."""

    def __init__(self, model, layers, settings):
        super().__init__(name="flossing", dtype="float32")
        # In lambdas, which Keras does not track: the weights are the other model's.
        self._flossed_model = lambda: model
        self._flossed_layers = lambda: layers
        self.layer_names = tuple(layers)
        self.settings = settings
        self.skipped = keras.metrics.Sum(name="flossing_skipped")
        self.built = True

    def spectra(self, inputs):
        """`{layer name: [Spectrum of each call]}` and the variables they depend on."""
        layers = self._flossed_layers()
        # A stateful layer wants its whole batch; `_cut` then takes the first ones.
        if not any(layer.stateful for layer in layers.values()):
            inputs = self._first(inputs)
        variables, spectra = {}, {}
        for name, calls in record(self._flossed_model(), inputs, layers).items():
            spectra[name] = []
            for call in calls:
                sequence = self._cut(as_sequence(*call))
                spectrum = sequence_spectrum(
                    sequence,
                    self.settings.k_of(name, sequence.map.dim),
                    warmup=self.settings.warmup_of(extent(sequence.inputs, 1)),
                    qr_interval=self.settings.qr_interval,
                    seed=self.settings.seed or 0,
                )
                spectra[name].append(spectrum)
                variables |= {id(v): v for v in sequence.map.variables if v.trainable}
        return spectra, list(variables.values())

    def losses(self, spectra):
        """The flossing loss, and that of each layer, of what `spectra` gives."""
        losses = {
            name: sum(flossing_loss(*s, self.settings.target) for s in calls) / len(calls)
            for name, calls in spectra.items()
        }
        dtype = keras.backend.result_type(*(x.dtype.name for x in losses.values()))
        return sum(tf.cast(x, dtype) for x in losses.values()) / len(losses), losses

    def train_step(self, data):
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        with tf.GradientTape() as tape:
            spectra, variables = self.spectra(inputs_of(data))
            loss, losses = self.losses(spectra)
            # The optimiser sums over replicas.
            share = loss / replicas
        if not variables:
            raise ValueError(
                "There is nothing to floss: all weights of the recurrent layers "
                f"{', '.join(spectra)} are frozen (`trainable` is False)."
            )
        gradients = tape.gradient(share, [v.value for v in variables])
        finite = apply_if_finite(self.optimizer, share, gradients, variables)
        self.skipped.update_state(tf.cast(~finite, tf.float32) / replicas)
        return self._logs(loss, losses, spectra)

    def test_step(self, data):
        spectra, _ = self.spectra(inputs_of(data))
        return self._logs(*self.losses(spectra), spectra)

    def predict_step(self, data):
        spectra, _ = self.spectra(inputs_of(data))
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

    def _first(self, tensors):
        """The first `batch_size` sequences."""
        return keras.tree.map_structure(lambda a: a[: self.settings.batch_size], tensors)

    def _cut(self, sequence):
        """The first sequences and their window, without gradient to what is before."""
        cell_map, inputs, states, mask = sequence
        inputs, states = self._first((inputs, states))
        mask = None if mask is None else self._first(mask)
        inputs, states = keras.tree.map_structure(tf.stop_gradient, (inputs, states))
        return cut_window(Sequence(cell_map, inputs, states, mask), self.settings.window)


def mean_exponents(spectrum: Spectrum):
    """`(k,)`, the mean over the sequences that have a counted step."""
    used = (spectrum.counted > 0)[:, None]
    total = tf.reduce_sum(
        tf.where(used, spectrum.exponents, tf.zeros_like(spectrum.exponents)), axis=0
    )
    return total / tf.reduce_sum(tf.cast(used, total.dtype))
