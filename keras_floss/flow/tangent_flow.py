"""The tangent flow as one differentiable function of weights, inputs and initial state."""

import numpy as np
import tensorflow as tf

from keras_floss.flow import checkpoints
from keras_floss.flow.alone import by_xla
from keras_floss.flow.as_needed import sweep_as_needed
from keras_floss.flow.damping import kept
from keras_floss.flow.frame import log_stretch
from keras_floss.flow.tangent import Cotangents, backward_sweep, forward_sweep
from keras_floss.utils.custom_gradient import custom_gradient


def tangent_flow(
    step,
    weights,
    inputs,
    states,
    frame,
    schedule,
    memory_limit,
    alone=False,
    damping=None,
):
    """Carries an orthonormal frame along a batch of sequences.

    Args:
        step: the map `step(x_t, states, weights) -> (output, states)` on lists of
            `(batch, d_i)` tensors (a `CellMap` or a `FunctionMap`).
        weights: list of tensors. TensorFlow variables that `step` reads besides have a
            gradient too.
        inputs: `(time, batch, features)`.
        states: list of `(batch, d_i)`, the initial state.
        frame: `(batch, k, D)`, orthonormal rows; k is known while tracing.
        schedule: a `Schedule`.
        memory_limit: the bytes that are kept for the gradient of a pass before it computes
            a second time instead (see the module `checkpoints`).
        alone: whether XLA compiles both sweeps alone (see the module `alone`).
        damping: a `Damping` of the gradient. None: it is exact.

    Returns:
        `(stretch, lost, log_condition)`. `stretch`, `(batch, k)`: Λ, the sum of `log|R_ii|`
        over the counted steps, differentiable in `weights`, `inputs` and `states`.
        `lost`, `(batch, k)`: whether direction i lost its rank at a counted step (it
        adds nothing there and has no gradient). `log_condition`, `(batch,)`: the
        largest `max log|R_ii| − min log|R_ii|` of a QR, about the logarithm of the
        condition number of the tangents; ∞ where rank was lost.
    """
    count = len(weights)
    forward, backward = sweeps(inputs, frame, schedule, memory_limit, alone)

    @custom_gradient
    def flow(inputs, *tensors):
        weights, states = list(tensors[:count]), list(tensors[count:])
        logarithm, gone, record = forward(step, weights, inputs, states, frame, schedule)
        counted = schedule.counted[..., None]
        zero = tf.zeros((), logarithm.dtype)
        stretch = tf.reduce_sum(tf.where(counted, logarithm, zero), axis=0)
        lost = tf.reduce_any(counted & gone, axis=0)

        def gradient(d_stretch, *_, variables=()):
            d_log = tf.where(counted & ~gone, d_stretch, zero)
            # The loss does not depend on the frame and the state after the last step.
            ends = Cotangents(states, frame, weights, list(variables))
            end = tf.nest.map_structure(tf.zeros_like, ends)
            keep = None if damping is None else kept(damping, stretch, lost, schedule.steps)
            d_inputs, d = backward(
                step, weights, inputs, record, d_log, schedule, end, variables, keep
            )
            d_arguments = (d_inputs, *d.weights, *d.states)
            return (d_arguments, d.variables) if variables else d_arguments

        return (stretch, lost, log_condition(logarithm, gone)), gradient

    try:
        return flow(inputs, *weights, *states)
    except TypeError as error:
        if "variant" not in str(error):
            raise
        raise ValueError(
            "`tf.autodiff.ForwardAccumulator` does not pass through exponents that a graph "
            "computes: under it, call `lyapunov_exponents` eagerly, outside of any "
            f"`tf.function`. What failed: {error}"
        ) from error


def stretch_by_step(
    step, weights, inputs, states, frame, schedule, memory_limit, alone=False
):
    """`log|R_ii|` of each step, to look at; the arguments are those of `tangent_flow`.

    Returns:
        `(stretch, lost)`, both `(time, batch, k)`: 0 at a step without QR, and where the
        rank was lost. Without gradient.
    """
    forward, _ = sweeps(inputs, frame, schedule, memory_limit, alone)
    return forward(step, weights, inputs, states, frame, schedule)[:2]


def sweeps(inputs, frame, schedule, memory_limit, alone=False):
    """Both sweeps, with or without checkpoints, as the memory limit has it.

    The first has the arguments of `forward_sweep` and returns
    `(log|R_ii|, lost, record)`, the second those of `backward_sweep`.
    """
    both = _sweep_as_needed if schedule.as_needed else _forward_sweep, backward_sweep
    if checkpoints.wanted(inputs, frame, memory_limit):
        both = checkpoints.forward, checkpoints.backward
    return tuple(map(by_xla, both)) if alone else both


def _forward_sweep(*arguments):
    return _with_stretch(forward_sweep(*arguments))


def _sweep_as_needed(*arguments):
    return _with_stretch(sweep_as_needed(*arguments))


def _with_stretch(record):
    return *log_stretch(record.diagonals), record


def log_condition(logarithm, lost):
    """The largest `max − min` of `log|R_ii|` over time, `(batch,)`; ∞ without full rank."""
    width = tf.reduce_max(logarithm, axis=-1) - tf.reduce_min(logarithm, axis=-1)
    infinite = tf.cast(np.inf, width.dtype)
    return tf.reduce_max(tf.where(tf.reduce_any(lost, axis=-1), infinite, width), axis=0)
