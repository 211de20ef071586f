"""One pass of a batch through the recurrent layers of a model: exponents and loss."""

import typing

import keras
import tensorflow as tf

from keras_floss.lyapunov.loss import flossing_loss
from keras_floss.lyapunov.recurrent import Sequence, cut_batch, cut_window
from keras_floss.lyapunov.schedule import extent
from keras_floss.lyapunov.spectrum import sequence_spectrum
from keras_floss.models.recording import choose_layers, record, recurrent_layers


def flossed_layers(model, settings):
    """`{name: layer}` of the recurrent layers that the settings ask for."""
    available = recurrent_layers(model)
    settings.check_names(available)
    return choose_layers(available, settings.layers)


class FlossingPass:
    """Exponents and flossing loss of the recurrent layers of a model.

    Args:
        model: a `keras.Model`.
        layers: `{name: recurrent layer of the model}`.
        settings: a `Settings`.
    """

    def __init__(self, model, layers, settings):
        self.model = model
        self.layers = layers
        self.settings = settings

    def spectra(self, inputs):
        """`{layer name: [Spectrum of each call]}` and the variables they depend on."""
        # A stateful layer wants its whole batch; `_cut` then takes the first ones.
        if not any(layer.stateful for layer in self.layers.values()):
            first = slice(self.settings.batch_size)
            inputs = keras.tree.map_structure(lambda a: a[first], inputs)
        variables, spectra = {}, {}
        recorded, _ = record(self.model, inputs, self.layers)
        for name, calls in recorded.items():
            spectra[name] = []
            for call in calls:
                sequence = self._cut(call.sequence())
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

    def gradients(self, inputs):
        """The `Gradients` of the flossing loss; the share of a replica, where several."""
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        with tf.GradientTape() as tape:
            spectra, variables = self.spectra(inputs)
            loss, losses = self.losses(spectra)
            # Whoever applies gradients sums them over replicas.
            share = loss / replicas
        if not variables:
            raise ValueError(
                "There is nothing to floss: all weights of the recurrent layers "
                f"{', '.join(spectra)} are frozen (`trainable` is False)."
            )
        gradients = tape.gradient(share, [v.value for v in variables])
        return Gradients(gradients, variables, share, loss, losses, spectra)

    def _cut(self, sequence):
        """The first sequences and their window, without gradient to what is before."""
        cell_map, inputs, states, mask = cut_batch(sequence, self.settings.batch_size)
        inputs, states = keras.tree.map_structure(tf.stop_gradient, (inputs, states))
        return cut_window(Sequence(cell_map, inputs, states, mask), self.settings.window)


class Gradients(typing.NamedTuple):
    """Gradients of the flossing loss, and what they are made of.

    Attributes:
        gradients: list of tensors, those of `share`.
        variables: list of Keras variables.
        share: the loss over the number of replicas.
        loss: the flossing loss.
        losses: that of each layer.
        spectra: `{layer name: [Spectrum of each call]}`.
    """

    gradients: list
    variables: list
    share: tf.Tensor
    loss: tf.Tensor
    losses: dict
    spectra: dict

    def finite(self):
        """Whether the loss and all gradients are."""
        parts = [tf.reduce_all(tf.math.is_finite(x)) for x in (self.share, *self.gradients)]
        return tf.reduce_all(parts)
