"""One pass of a batch through the recurrent layers of a model: exponents and loss."""

import typing

import keras
import tensorflow as tf

from keras_floss.flow.loss import flossing_loss
from keras_floss.flow.spectrum import Spectrum, trajectory_spectrum
from keras_floss.recurrent.recording import choose_layers, record, recurrent_layers
from keras_floss.recurrent.trajectory import Trajectory, cut_batch, cut_window
from keras_floss.utils.shapes import extent


def flossed_layers(model, flossing):
    """`{name: layer}` of the recurrent layers that the settings ask for."""
    available = recurrent_layers(model)
    flossing.check_names(available)
    return choose_layers(available, flossing.layers)


class FlossingPass:
    """Exponents and flossing loss of the recurrent layers of a model.

    Args:
        model: a `keras.Model`.
        layers: `{name: recurrent layer of the model}`.
        flossing: a `Flossing`.
        interval: what `make_interval` makes of their `qr_interval`.
        frames: `{name: variable}`, the frames to start from. None: those of the seed.
        seed: of the noise in cells, a variable. None: that of the flossing.
        redraw: gives a number when it is called, another at each step; noisy cells draw
            anew by it. None: they draw the same at each step.
    """

    def __init__(
        self, model, layers, flossing, interval, frames=None, seed=None, redraw=None
    ):
        self.model = model
        self.layers = layers
        self.flossing = flossing
        self.interval = interval
        self.frames = frames or {}
        self.seed = flossing.seed or 0 if seed is None else seed
        self.redraw = redraw

    def sequences(self, inputs):
        """`{layer name: [Trajectory of each call]}`: what the layers run over, cut."""
        inputs = keras.tree.map_structure(self._first, inputs)
        recorded, _ = record(self.model, inputs, self.layers)
        return {
            name: [self._cut(run.trajectory()) for run in runs]
            for name, runs in recorded.items()
        }

    def spectra(self, sequences, qr_interval, redraw=0):
        """`{layer name: [Spectrum of each call]}`; for `redraw` see `flow_arguments`."""
        return {
            name: [
                trajectory_spectrum(
                    sequence,
                    self.flossing.k_of(name, sequence.map.dim),
                    warmup=self.flossing.warmup_of(extent(sequence.inputs, 1)),
                    qr_interval=qr_interval,
                    seed=self.seed,
                    frame=self.frames.get(name),
                    redraw=redraw,
                    memory_limit=self.flossing.memory_limit,
                    orthonormalization=self.flossing.orthonormalization,
                )
                for sequence in calls
            ]
            for name, calls in sequences.items()
        }

    def look(self, inputs):
        """A `Pass` without gradients."""
        sequences = self.sequences(inputs)
        return self.interval.run(lambda n: self._pass(self.spectra(sequences, n), n))

    def gradients(self, inputs):
        """A `Pass` with the gradients of the flossing loss, and their variables."""
        sequences = self.sequences(inputs)
        all_variables = [s.map.variables for calls in sequences.values() for s in calls]
        variables = {id(v): v for part in all_variables for v in part if v.trainable}
        variables = list(variables.values())
        if not variables:
            raise ValueError(
                "There is nothing to floss: all weights of the recurrent layers "
                f"{', '.join(sequences)} are frozen (`trainable` is False)."
            )

        noisy = any(s.map.noisy for calls in sequences.values() for s in calls)
        # Before `compute`: a pass that is repeated has the same noise.
        redraw = self.redraw() if noisy and self.redraw else 0

        def compute(qr_interval):
            with tf.GradientTape() as tape:
                spectra = self.spectra(sequences, qr_interval, redraw)
                result = self._pass(spectra, qr_interval)
                # Whoever applies gradients sums them over replicas.
                share = result.loss / _replicas()
            gradients = tape.gradient(share, [v.value for v in variables])
            return result._replace(gradients=gradients)

        return self.interval.run(compute), variables

    def _pass(self, spectra, qr_interval):
        """The flossing loss, and that of each layer, with what is worth knowing of both."""
        losses = {
            name: sum(
                flossing_loss(s.exponents, s.counted, self.flossing.target) for s in calls
            )
            / len(calls)
            for name, calls in spectra.items()
        }
        every = [s for calls in spectra.values() for s in calls]
        dtype = keras.backend.result_type(*(x.dtype.name for x in losses.values()))
        loss = sum(tf.cast(x, dtype) for x in losses.values()) / len(losses)
        means = {
            name: [mean_exponents(s) for s in calls] for name, calls in spectra.items()
        }
        lost = {
            name: sum(mean_lost(s) for s in calls) / len(calls)
            for name, calls in spectra.items()
        }
        return Pass(
            loss=loss,
            losses=losses,
            exponents={name: sum(m) / len(m) for name, m in means.items()},
            lost=lost,
            log_condition=_largest([tf.reduce_max(s.log_condition) for s in every], dtype),
            width=_largest([width(m) for calls in means.values() for m in calls], dtype),
            qr_interval=tf.convert_to_tensor(qr_interval),
            gradients=[],
        )

    def _first(self, batch):
        """The sequences of a batch that are wanted."""
        first = batch[: self.flossing.batch_size]
        if self.flossing.batch_size == 1 and _replicas() == 1:
            # However short a batch is. XLA compiles a known shape in less time.
            first.set_shape((1, *first.shape[1:]))
        return first

    def _cut(self, sequence):
        """The first sequences and their window, without gradient to what is before."""
        cell_map, inputs, states, mask = cut_batch(sequence, self.flossing.batch_size)
        inputs, states = keras.tree.map_structure(tf.stop_gradient, (inputs, states))
        return cut_window(Trajectory(cell_map, inputs, states, mask), self.flossing.window)


class Pass(typing.NamedTuple):
    """What came of a pass.

    Attributes:
        loss: the flossing loss.
        losses: `{layer name: that of the layer}`, ∞ where a call has no direction left.
        exponents: `{layer name: (k,)}`, the mean over sequences and calls.
        lost: `{layer name: number of directions without a finite exponent}`, likewise.
        log_condition: the largest of all sequences and calls; see `tangent_flow`.
        width: the largest distance of two exponents of a call.
        qr_interval: with which it was made.
        gradients: those of the loss, or of a replica's share of it.
    """

    loss: tf.Tensor
    losses: dict
    exponents: dict
    lost: dict
    log_condition: tf.Tensor
    width: tf.Tensor
    qr_interval: tf.Tensor
    gradients: list

    def finite(self):
        """Whether the loss and all gradients are."""
        parts = [tf.math.is_finite(x) for x in (self.loss, *self.gradients)]
        # One reduction, of which XLA makes less than of several.
        return tf.reduce_all(tf.concat([tf.reshape(x, [-1]) for x in parts], axis=0))


def mean_exponents(spectrum: Spectrum):
    """`(k,)`, the mean over the sequences that have a counted step."""
    used = (spectrum.counted > 0)[:, None]
    total = tf.reduce_sum(
        tf.where(used, spectrum.exponents, tf.zeros_like(spectrum.exponents)), axis=0
    )
    return total / tf.reduce_sum(tf.cast(used, total.dtype))


def mean_lost(spectrum: Spectrum):
    """How many directions have no finite exponent, in a sequence with a counted step."""
    used = spectrum.counted > 0
    lost = used[:, None] & ~tf.math.is_finite(spectrum.exponents)
    number = tf.reduce_sum(tf.cast(lost, tf.float32))
    return number / tf.maximum(tf.reduce_sum(tf.cast(used, tf.float32)), 1.0)


def width(exponents):
    """The distance of the largest exponent from the smallest; ∞ where one is −∞."""
    return tf.reduce_max(exponents) - tf.reduce_min(exponents)


def _replicas():
    return tf.distribute.get_replica_context().num_replicas_in_sync


def _largest(values, dtype):
    return tf.reduce_max([tf.cast(v, dtype) for v in values])
