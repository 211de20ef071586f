"""The flossing engine: flosses any Keras model, and reads its spectra.

A flossing step is the `train_step` of a small Keras model over the same weights, driven
by its own `fit`. Data, progress bar, callbacks, XLA and distribution come from Keras.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_floss.lyapunov.loss import flossing_loss
from keras_floss.lyapunov.recurrent import Sequence, as_sequence
from keras_floss.lyapunov.spectrum import Spectrum, sequence_spectrum
from keras_floss.models.recording import choose_layers, record, recurrent_layers
from keras_floss.models.settings import Settings
from keras_floss.models.source import endless, inputs_of, one_batch

MAX_SKIPPED = 10


class Flosser:
    """Flosses a Keras model with an optimiser of its own.

    Args:
        model: any `keras.Model` with a recurrent layer.
        optimizer: a `keras.optimizers.Optimizer`, or a name.
    """

    def __init__(self, model, optimizer="adam"):
        self.model = model
        self.optimizer = keras.optimizers.get(optimizer)
        self._programs = {}

    def floss(self, x, steps=500, *, verbose="auto", **settings):
        """Takes `steps` flossing steps; see `FlossingModel.floss`."""
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(
                f"`steps` must be an integer of at least 1. Received: {steps!r}"
            )
        settings = Settings(**settings)
        source = endless(x, settings.batch_size, settings.seed)
        program = self._program(settings, one_batch(source))
        self.build_optimizer()
        history = StepHistory()
        program.fit(
            source,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=verbose,
            callbacks=[history],
        )
        return history

    def spectrum(self, x, *, batch_size=None, steps=None, verbose=0, **settings):
        """Exponents by layer; see `FlossingModel.lyapunov_spectrum`."""
        settings = Settings(batch_size=None, **settings)
        x = inputs_of(x) if isinstance(x, tuple) else x
        if isinstance(x, tf.data.Dataset):
            if steps is None and x.cardinality() == tf.data.INFINITE_CARDINALITY:
                raise ValueError("The dataset has no end: pass the number of `steps`.")
            x = x if steps is None else x.take(steps)
        elif steps is not None:
            raise ValueError("`steps` is the number of batches of a `tf.data.Dataset`.")
        known = isinstance(x, tf.data.Dataset | keras.utils.PyDataset)
        first = one_batch(x) if known else keras.tree.map_structure(lambda a: a[:1], x)
        program = self._program(settings, first)
        return program.predict(x, batch_size=batch_size, verbose=verbose)

    def build_optimizer(self):
        """Builds the optimiser on the trainable weights of all recurrent layers."""
        if not self.optimizer.built:
            layers = recurrent_layers(self.model).values()
            variables = [v for layer in layers for v in layer.trainable_variables]
            with self.model.distribute_strategy.scope():
                self.optimizer.build(variables)

    def _program(self, settings, batch):
        """The Keras model that takes flossing steps with these settings."""
        if not self.model.built and batch is not None:
            self.model(
                keras.tree.map_structure(lambda a: tf.convert_to_tensor(a[:1]), batch)
            )
        layers = choose_layers(recurrent_layers(self.model), settings.layers)
        # What is frozen stands in the trace.
        frozen = tuple(v.trainable for x in layers.values() for v in x.weights)
        key = (settings, frozen)
        if key not in self._programs:
            with self.model.distribute_strategy.scope():
                program = FlossingProgram(self.model, layers, settings)
                program.compile(
                    self.optimizer,
                    jit_compile=self.model.jit_compile if self.model.compiled else "auto",
                    steps_per_execution=self.model.steps_per_execution,
                    auto_scale_loss=False,
                )
            self._programs[key] = program
        return self._programs[key]


class FlossingProgram(keras.Model):
    """A Keras model whose `train_step` is a flossing step on another model's weights."""

    def __init__(self, model, layers, settings):
        super().__init__(name="flossing", dtype="float32")
        # In a lambda, which Keras does not track: the weights are the other model's.
        self._flossed = lambda: (model, layers)
        self.settings = settings
        self.skipped = keras.metrics.Sum(name="flossing_skipped")

    def spectra(self, inputs):
        """`{layer name: [Spectrum of each call]}` and the variables they depend on."""
        model, layers = self._flossed()
        # A stateful layer wants its whole batch; `_cut` then takes the first ones.
        if not any(layer.stateful for layer in layers.values()):
            inputs = self._first(inputs)
        variables, spectra = {}, {}
        for name, calls in record(model, inputs, layers).items():
            spectra[name] = []
            for call in calls:
                sequence = self._cut(as_sequence(*call), name)
                time = sequence.inputs.shape[1] or tf.shape(sequence.inputs)[1]
                spectrum = sequence_spectrum(
                    sequence,
                    self.settings.k_of(name, sequence.map.dim),
                    warmup=self.settings.warmup_of(time),
                    qr_interval=self.settings.qr_interval,
                    seed=self.settings.seed or 0,
                )
                spectra[name].append(spectrum)
                variables |= {id(v): v for v in sequence.map.variables if v.trainable}
        return spectra, list(variables.values())

    def train_step(self, data):
        with tf.GradientTape() as tape:
            spectra, variables = self.spectra(inputs_of(data))
            losses = {
                name: sum(flossing_loss(*s, self.settings.target) for s in calls)
                / len(calls)
                for name, calls in spectra.items()
            }
            loss = sum(losses.values()) / len(losses)
        if not variables:
            raise ValueError(
                "There is nothing to floss: all weights of the recurrent layers "
                f"{', '.join(spectra)} are frozen (`trainable` is False)."
            )
        gradients = tape.gradient(loss, [v.value for v in variables])
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(x)) for x in (loss, *gradients)]
        )

        def update():
            self.optimizer.apply(gradients, variables)
            return finite

        tf.cond(finite, update, lambda: finite)
        self.skipped.update_state(tf.cast(~finite, tf.float32))
        return self._logs(loss, losses, spectra)

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

    def _cut(self, sequence, name):
        """The first sequences and their window, without gradient to what is before."""
        cell_map, inputs, states, mask = sequence
        inputs, states = self._first((inputs, states))
        mask = None if mask is None else self._first(mask)
        window, time = self.settings.window, inputs.shape[1]
        if window is not None and time is not None and window > time:
            raise ValueError(
                f"`window` must be at most {time}, the number of time steps that the "
                f"recurrent layer `{name}` gets. Received: {window}"
            )
        if window is not None and mask is None:
            inputs = inputs[:, :window]
        elif window is not None:
            first = tf.argmax(mask, axis=1, output_type=tf.int32)
            steps = first[:, None] + tf.range(window)
            inside = steps < tf.shape(mask)[1]
            steps = tf.minimum(steps, tf.shape(mask)[1] - 1)
            mask = tf.gather(mask, steps, axis=1, batch_dims=1) & inside
            inputs = tf.gather(inputs, steps, axis=1, batch_dims=1)
        inputs, states = keras.tree.map_structure(tf.stop_gradient, (inputs, states))
        return Sequence(cell_map, inputs, states, mask)


def mean_exponents(spectrum: Spectrum):
    """`(k,)`, the mean over the sequences that have a counted step."""
    used = (spectrum.counted > 0)[:, None]
    total = tf.reduce_sum(
        tf.where(used, spectrum.exponents, tf.zeros_like(spectrum.exponents)), axis=0
    )
    return total / tf.reduce_sum(tf.cast(used, total.dtype))


class StepHistory(keras.callbacks.History):
    """A History with one entry per flossing step; stops a pass that cannot go on."""

    def __init__(self):
        super().__init__()
        self._in_a_row = 0

    def on_train_batch_end(self, batch, logs=None):
        logs = {name: float(value) for name, value in (logs or {}).items()}
        before = self.history.get("flossing_skipped", [0.0])[-1]
        taken = batch + 1 - (self.epoch[-1] if self.epoch else 0)
        skipped = logs["flossing_skipped"] - before
        self._in_a_row = self._in_a_row + taken if skipped == taken else 0
        self.epoch.append(batch + 1)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
        if self._in_a_row >= MAX_SKIPPED:
            raise FloatingPointError(self._message(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.model.history = self

    def _message(self, logs):
        names = list(self.model._flossed()[1])
        bad = [n for n in names if not np.isfinite(logs.get(f"{n}/flossing_loss", 0.0))]
        bad = bad or names
        return (
            f"{self._in_a_row} flossing steps in a row were skipped, because the flossing "
            f"loss or its gradient was not finite, in the recurrent layer(s) "
            f"{', '.join(bad)}. The weights are as they were before. Look for NaN or Inf "
            "in the data and in the weights, or exponents that overflow."
        )
