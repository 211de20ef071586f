"""The flossing loss of recurrent layers, given what they run over.

It is the mean over layers (the directions of a Bidirectional are two) and their calls, in a
flossing step, in joint flossing and in `LyapunovRegularizer`.
"""

import typing
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from keras_floss.flossing.flossing import Flossing
from keras_floss.flow.alone import JitCompile
from keras_floss.flow.damping import Damping
from keras_floss.flow.loss import flossing_loss
from keras_floss.flow.spectrum import Spectrum, trajectory_spectrum
from keras_floss.recurrent.output_map import seen_in
from keras_floss.recurrent.trajectory import Trajectory, cut_batch, cut_window
from keras_floss.utils.shapes import extent

# `{layer name: [one for each call]}`.
Trajectories: typing.TypeAlias = Mapping[str, Sequence[Trajectory]]
Spectra: typing.TypeAlias = Mapping[str, Sequence[Spectrum]]
Integer: typing.TypeAlias = int | tf.Tensor


def cut(trajectory: Trajectory, flossing: Flossing) -> Trajectory:
    """The first sequences and their window, without gradient to what is before.

    Its exponents are those of what `flossing.of` says.
    """
    trajectory = cut_batch(trajectory, flossing.batch_size)
    inputs, states = keras.tree.map_structure(
        tf.stop_gradient, (trajectory.inputs, trajectory.states)
    )
    trajectory = trajectory._replace(inputs=inputs, states=states)
    trajectory = cut_window(trajectory, flossing.window_of(trajectory.length))
    return seen_in(trajectory, flossing.of)


def spectra(
    trajectories: Trajectories,
    flossing: Flossing,
    qr_interval: Integer | typing.Literal["auto"],
    seed: Integer | None = None,
    frames: Mapping[str, tf.Variable] | None = None,
    redraw: Integer = 0,
    jit_compile: JitCompile = False,
) -> Spectra:
    """The exponents of each call of each layer.

    Args:
        trajectories: `{layer name: [Trajectory of each call]}`.
        flossing: a `Flossing`.
        qr_interval: an int, a scalar tensor, or `"auto"`; see `make_schedule`.
        seed: of the noise in cells. Defaults to None, that of the flossing.
        frames: `{layer name: frame to start from}`. Defaults to None, those of the seed.
        redraw: another number, other noise; see `flow_arguments`.
        jit_compile: whether XLA compiles the pass alone.

    Returns:
        `{layer name: [Spectrum of each call]}`.
    """
    return {
        name: [
            trajectory_spectrum(
                trajectory,
                flossing.k_of(name, trajectory.map),
                damping=Damping(flossing.damping, _target(flossing, trajectory))
                if flossing.damping
                else None,
                warmup=flossing.warmup_of(extent(trajectory.inputs, 1)),
                qr_interval=qr_interval,
                seed=flossing.seed or 0 if seed is None else seed,
                frame=(frames or {}).get(name),
                redraw=redraw,
                memory_limit=flossing.memory_limit,
                orthonormalization=flossing.orthonormalization,
                jit_compile=jit_compile,
            )
            for trajectory in calls
        ]
        for name, calls in trajectories.items()
    }


def _target(flossing: Flossing, trajectory: Trajectory) -> float | Sequence[float]:
    return flossing.target_of(trajectory.map, trajectory.length)


def summary(
    trajectories: Trajectories, spectra: Spectra, flossing: Flossing, qr_interval: Integer
) -> "Pass":
    """The flossing loss, and that of each layer, with what is worth knowing of both."""
    losses = {}
    for name, calls in spectra.items():
        terms = [
            flossing_loss(s.exponents, s.counted, _target(flossing, trajectory))
            for s, trajectory in zip(calls, trajectories[name], strict=True)
        ]
        losses[name] = sum(terms) / len(terms)
    every = [s for calls in spectra.values() for s in calls]
    dtype = keras.backend.result_type(*(x.dtype.name for x in losses.values()))
    loss = sum(tf.cast(x, dtype) for x in losses.values()) / len(losses)
    means = {name: [mean_exponents(s) for s in calls] for name, calls in spectra.items()}
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
        width=_largest(
            [
                tf.reduce_max(m) - tf.reduce_min(m)
                for calls in means.values()
                for m in calls
            ],
            dtype,
        ),
        qr_interval=tf.convert_to_tensor(qr_interval),
        gradients=[],
    )


class Pass(typing.NamedTuple):
    """What came of a pass.

    Attributes:
        loss: the flossing loss.
        losses: `{layer name: that of the layer}`, ∞ where a call has no direction left.
        exponents: `{layer name: (k,)}`, the mean over sequences and calls.
        lost: `{layer name: number of directions without a finite exponent}`, likewise.
        log_condition: the largest of all sequences and calls; see `tangent_flow`.
        width: the largest distance of two exponents of a call, ∞ where one is −∞.
        qr_interval: with which it was made.
        gradients: those of the loss, or of a replica's share of it.
    """

    loss: tf.Tensor
    losses: dict[str, tf.Tensor]
    exponents: dict[str, tf.Tensor]
    lost: dict[str, tf.Tensor]
    log_condition: tf.Tensor
    width: tf.Tensor
    qr_interval: tf.Tensor
    gradients: list[tf.Tensor]

    def finite(self) -> tf.Tensor:
        """Whether the loss and all gradients are."""
        parts = [tf.math.is_finite(x) for x in (self.loss, *self.gradients)]
        # One reduction: XLA compiles it in less time than several.
        return tf.reduce_all(tf.concat([tf.reshape(x, [-1]) for x in parts], axis=0))


def mean_exponents(spectrum: Spectrum) -> tf.Tensor:
    """`(k,)`, the mean over the sequences that have a counted step."""
    used = (spectrum.counted > 0)[:, None]
    total = tf.reduce_sum(
        tf.where(used, spectrum.exponents, tf.zeros_like(spectrum.exponents)), axis=0
    )
    return total / tf.reduce_sum(tf.cast(used, total.dtype))


def mean_lost(spectrum: Spectrum) -> tf.Tensor:
    """How many directions have no finite exponent, in a sequence with a counted step."""
    used = spectrum.counted > 0
    lost = used[:, None] & ~tf.math.is_finite(spectrum.exponents)
    number = tf.reduce_sum(tf.cast(lost, tf.float32))
    return number / tf.maximum(tf.reduce_sum(tf.cast(used, tf.float32)), 1.0)


def _largest(values: list[tf.Tensor], dtype: str) -> tf.Tensor:
    return tf.reduce_max([tf.cast(v, dtype) for v in values])
