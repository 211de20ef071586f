"""One pass of a batch through the recurrent layers of a model: exponents and loss."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import keras
import tensorflow as tf

from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.interval import Interval
from keras_floss.flossing.term import (
    Integer,
    Pass,
    Spectra,
    Trajectories,
    cut,
    spectra,
    summary,
)
from keras_floss.flow.alone import JitCompile
from keras_floss.recurrent.recording import choose_layers, record, recurrent_layers
from keras_floss.utils.typing import Arrays

# `{name: recurrent layer}`.
RecurrentLayers: TypeAlias = Mapping[str, keras.layers.RNN]


def flossed_layers(model: keras.Model, flossing: Flossing) -> RecurrentLayers:
    """`{name: layer}` of the recurrent layers that the settings ask for."""
    available = recurrent_layers(model)
    flossing.check_names(available)
    return choose_layers(available, flossing.layers)


@dataclasses.dataclass(eq=False)
class FlossingPass:
    """Exponents and flossing loss of the recurrent layers of a model.

    Args:
        model: a `keras.Model`.
        layers: `{name: recurrent layer of the model}`.
        flossing: a `Flossing`.
        interval: the `Interval` of its `qr_interval`.
        frames: `{name: variable}`, the frames to start from. None: those of the seed.
        seed: of the noise in cells, a variable. None: that of the flossing.
        redraw: gives a number when it is called, another at each step; noisy cells draw
            anew by it. None: they draw the same at each step.
        jit_compile: whether XLA compiles the pass alone, in a program in graph mode.
    """

    model: keras.Model
    layers: RecurrentLayers
    flossing: Flossing
    interval: Interval
    frames: Any = None
    seed: Any = None
    redraw: Callable[[], tf.Tensor] | None = None
    jit_compile: JitCompile = False

    def sequences(self, inputs: Arrays) -> Trajectories:
        """`{layer name: [Trajectory of each call]}`: what the layers run over, cut."""
        inputs = keras.tree.map_structure(self._first, inputs)
        recorded, _ = record(self.model, inputs, self.layers)
        return {
            name: [cut(run.trajectory(), self.flossing) for run in runs]
            for name, runs in recorded.items()
        }

    def spectra(
        self,
        sequences: Trajectories,
        qr_interval: Integer | Literal["auto"],
        redraw: Integer = 0,
    ) -> Spectra:
        """`{layer name: [Spectrum of each call]}`, from the frames of this pass."""
        return spectra(
            sequences,
            self.flossing,
            qr_interval,
            self.seed,
            self.frames,
            redraw,
            self.jit_compile,
        )

    def look(self, inputs: Arrays) -> Pass:
        """A `Pass` without gradients."""
        sequences = self.sequences(inputs)
        return self.interval.run(lambda n: self._pass(sequences, n))

    def _pass(
        self, sequences: Trajectories, qr_interval: Integer, redraw: Integer = 0
    ) -> Pass:
        found = self.spectra(sequences, qr_interval, redraw)
        return summary(sequences, found, self.flossing, qr_interval)

    def gradients(self, inputs: Arrays) -> tuple[Pass, list[keras.Variable]]:
        """A `Pass` with the gradients of the flossing loss, and their variables."""
        sequences = self.sequences(inputs)
        all_variables = [s.map.variables for calls in sequences.values() for s in calls]
        trainable = {id(v): v for part in all_variables for v in part if v.trainable}
        variables = list(trainable.values())
        if not variables:
            raise ValueError(
                "There is nothing to floss: all weights of the recurrent layers "
                f"{', '.join(sequences)} are frozen (`trainable` is False)."
            )

        noisy = any(s.map.noisy for calls in sequences.values() for s in calls)
        # Before `compute`: a pass that is repeated has the same noise.
        redraw = self.redraw() if noisy and self.redraw else 0

        def compute(qr_interval: Integer) -> Pass:
            with tf.GradientTape() as tape:
                result = self._pass(sequences, qr_interval, redraw)
                # Whoever applies gradients sums them over replicas.
                share = result.loss / replicas()
            gradients = tape.gradient(share, [v.value for v in variables])
            return result._replace(gradients=gradients)

        return self.interval.run(compute), variables

    def _first(self, batch: tf.Tensor) -> tf.Tensor:
        """The sequences of a batch that are wanted."""
        first = batch[: self.flossing.batch_size]
        if self.flossing.batch_size == 1 and replicas() == 1:
            # Even the last batch has one. XLA compiles a known shape in less time.
            first.set_shape((1, *first.shape[1:]))
        return first


def replicas() -> int:
    """In how many replicas the step that is traced here runs at the same time."""
    return tf.distribute.get_replica_context().num_replicas_in_sync
