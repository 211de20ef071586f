"""The orthonormalised tangent flow, with its own adjoint: the mathematics of the package.

Forward, for t = 1..T, with an orthonormal frame Q of k tangents (D×k):

    s_t = F(x_t, s_{t-1});   Z = J_t Q_{t-1},   J_t = ∂s_t/∂s_{t-1}
    at a QR step:   Z = Q_t R_t;   Λ_i += log|R_ii|  where the step is counted
    otherwise:      Q_t = Z

Backward, with ḡ = ∂L/∂Λ and Q̄ the cotangent of the frame that leaves a step:

    at a QR step:   M = diag(ḡ, or 0 where not counted) − Q̄ᵀQ
                    Z̄ = (Q̄ + Q sym(M)) R⁻ᵀ,   sym: the lower triangle, mirrored up
    otherwise:      Z̄ = Q̄
    (x̄_t, s̄_{t-1}, Q̄_{t-1}), θ̄ +=  VJP of (x_t, s_{t-1}, Q_{t-1}, θ) ↦ (s_t, J_t Q_{t-1})

This is the adjoint of QR (Engelken, NeurIPS 2023, eq. 8) for a loss that sees the
diagonal of R alone: only diag(ḡ) is then left of the lower triangle of R R̄ᵀ.

Both sweeps are a `tf.while_loop` that calls the cell, whatever it is. TensorFlow's
autodiff of the forward loop would need shapes that XLA does not have, and would store
every intermediate; this stores O(T (D + Dk + k²)) numbers per sequence.
"""

import typing

import numpy as np
import tensorflow as tf

from keras_floss.lyapunov import xla  # noqa: F401  (registers a missing gradient)
from keras_floss.lyapunov.frame import log_stretch, orthonormalise, qr_adjoint
from keras_floss.lyapunov.schedule import extent

ZERO = tf.UnconnectedGradients.ZERO


def tangent_flow(step, weights, inputs, states, frame, schedule):
    """Carries an orthonormal frame along a batch of sequences.

    Args:
        step: the map `step(x_t, states, weights) -> states` on lists of
            `(batch, d_i)` tensors (a `CellMap` or a `FunctionMap`).
        weights: list of tensors. TensorFlow variables that `step` reads besides have a
            gradient too.
        inputs: `(time, batch, features)`.
        states: list of `(batch, d_i)`, the initial state.
        frame: `(batch, k, D)`, orthonormal rows; k is known while tracing.
        schedule: a `Schedule`.

    Returns:
        `(stretch, collapsed, spread)`. `stretch`, `(batch, k)`: Λ, the sum of `log|R_ii|`
        over the counted steps, differentiable in `weights`, `inputs` and `states`.
        `collapsed`, `(batch, k)`: whether direction i lost its rank at a counted step (it
        adds nothing there and has no gradient). `spread`, `(batch,)`: the largest
        `max log|R_ii| − min log|R_ii|` of a QR, that is, how near the tangents came to
        being parallel; ∞ where rank was lost.
    """
    rows = make_rows(states, frame)
    count = len(weights)

    @tf.custom_gradient
    def flow(inputs, *tensors):
        weights, states = list(tensors[:count]), list(tensors[count:])
        record = forward_sweep(step, weights, inputs, states, frame, schedule, rows)
        logarithm, lost = log_stretch(record.triangles, sum(rows.sizes))
        counted = schedule.counted[..., None]
        zero = tf.zeros((), logarithm.dtype)
        stretch = tf.reduce_sum(tf.where(counted, logarithm, zero), axis=0)
        collapsed = tf.reduce_any(counted & lost, axis=0)

        def gradient(d_stretch, *_, variables=()):
            d_log = tf.where(counted & ~lost, d_stretch, zero)
            d_inputs, d_weights, d_states, d_variables = backward_sweep(
                step, weights, inputs, record, lost, d_log, schedule, rows, variables
            )
            d_arguments = (d_inputs, *d_weights, *d_states)
            return (d_arguments, d_variables) if variables else d_arguments

        return (stretch, collapsed, largest_spread(logarithm, lost)), gradient

    return flow(inputs, *weights, *states)


def stretch_by_step(step, weights, inputs, states, frame, schedule):
    """`log|R_ii|` of each step, to look at; the arguments are those of `tangent_flow`.

    Returns:
        `(stretch, lost)`, both `(time, batch, k)`: 0 at a step without QR, and where the
        rank was lost. Without gradient.
    """
    rows = make_rows(states, frame)
    record = forward_sweep(step, weights, inputs, states, frame, schedule, rows)
    return log_stretch(record.triangles, sum(rows.sizes))


class Record(typing.NamedTuple):
    """What the forward sweep leaves for the backward sweep.

    Attributes:
        states: list of `(time, batch, d_i)`, before each step.
        frames: `(time, batch, k, D)`, before each step.
        last_frame: `(batch, k, D)`, after the last step.
        triangles: `(time, batch, k, k)`, R of each step (the identity without QR).
    """

    states: list
    frames: tf.Tensor
    last_frame: tf.Tensor
    triangles: tf.Tensor


def largest_spread(logarithm, lost):
    """The largest `max − min` of `log|R_ii|` over time, `(batch,)`; ∞ without full rank."""
    spread = tf.reduce_max(logarithm, axis=-1) - tf.reduce_min(logarithm, axis=-1)
    infinite = tf.cast(np.inf, spread.dtype)
    return tf.reduce_max(tf.where(tf.reduce_any(lost, axis=-1), infinite, spread), axis=0)


def forward_sweep(step, weights, inputs, states, frame, schedule, rows):
    """State and frame along the sequence, as a `Record`."""
    k, dtype = rows.k, inputs.dtype
    identity = tf.eye(k, batch_shape=[rows.batch], dtype=dtype)

    def one_step(t, states, frame, past_states, past_frames, past_r):
        past_states = [a.write(t, s) for a, s in zip(past_states, states, strict=True)]
        past_frames = past_frames.write(t, frame)
        new, pushed = push(
            step, weights, rows.repeat(inputs[t]), rows.repeat(states), rows.split(frame)
        )
        states = select(schedule, schedule.valid[t], rows.first(new), states)
        tangents = select(schedule, schedule.valid[t], rows.join(pushed), frame)

        def with_qr():
            q, r = orthonormalise(tangents)
            at = schedule.qr[t]
            return select(schedule, at, q, tangents), select(schedule, at, r, identity)

        frame, r = at_qr_step(schedule, t, with_qr, lambda: (tangents, identity))
        return t + 1, states, frame, past_states, past_frames, past_r.write(t, r)

    time = extent(inputs, 0)
    start = (
        0,
        states,
        frame,
        [rows.array(dtype, time, d) for d in rows.sizes],
        rows.array(dtype, time, k, sum(rows.sizes)),
        rows.array(dtype, time, k, k),
    )
    _, _, frame, past_states, past_frames, past_r = tf.while_loop(
        lambda t, *_: t < time, one_step, start
    )
    past_states = [a.stack() for a in past_states]
    return Record(past_states, past_frames.stack(), frame, past_r.stack())


def backward_sweep(
    step, weights, inputs, record, lost, d_log, schedule, rows, variables=()
):
    """Cotangents of inputs, weights, initial states and variables.

    `lost` and `d_log`, both `(time, batch, k)`: the directions without gradient, and the
    cotangent of `log|R_ii|` of each step.
    """

    def one_step(t, d_states, d_frame, frame, d_weights, d_variables, d_inputs):
        def through_qr():
            d = qr_adjoint(frame, record.triangles[t], lost[t], d_frame, d_log[t])
            return select(schedule, schedule.qr[t], d, d_frame)

        d_tangents = at_qr_step(schedule, t, through_qr, lambda: d_frame)

        valid, before = schedule.valid[t], record.frames[t]
        sources = (
            weights,
            rows.repeat(inputs[t]),
            rows.repeat([s[t] for s in record.states]),
            rows.split(before),
        )
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            for v in variables:
                tape.watch(v)
            targets = push(step, *sources)
        # A masked step is the identity map: nothing goes into the cell.
        none = tf.zeros_like
        d_new = select(schedule, valid, d_states, [none(d) for d in d_states])
        d_pushed = select(schedule, valid, d_tangents, none(d_tangents))
        (d_w, d_x, d_s, d_q), d_v = tape.gradient(
            targets,
            (sources, list(variables)),
            (rows.only_first(d_new), rows.split(d_pushed)),
            ZERO,
        )
        d_weights = [a + b for a, b in zip(d_weights, d_w, strict=True)]
        d_variables = [a + b for a, b in zip(d_variables, d_v, strict=True)]
        d_inputs = d_inputs.write(t, rows.total(d_x))
        d_states = select(schedule, valid, rows.total(d_s), d_states)
        d_frame = select(schedule, valid, rows.join(d_q), d_tangents)
        return t - 1, d_states, d_frame, before, d_weights, d_variables, d_inputs

    time = extent(inputs, 0)
    start = (
        time - 1,
        [tf.zeros_like(s[0]) for s in record.states],
        tf.zeros_like(record.last_frame),
        record.last_frame,
        [tf.zeros_like(w) for w in weights],
        [tf.zeros_like(v) for v in variables],
        rows.array(inputs.dtype, time, inputs.shape[-1]),
    )
    _, d_states, _, _, d_weights, d_variables, d_inputs = tf.while_loop(
        lambda t, *_: t >= 0, one_step, start
    )
    return d_inputs.stack(), d_weights, d_states, d_variables


def push(step, weights, inputs, states, tangents):
    """State and tangents one step on: `(F(x, s), J·q)`, both lists like `states`.

    Row i of `tangents` is a tangent at row i of `states`. A VJP is linear in its
    cotangent, and its own VJP is the JVP, which thus takes two reverse passes.
    """
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        cotangents = [tf.zeros_like(s) for s in states]
        outer.watch(cotangents)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(states)
            new = step(inputs, states, weights)
        pulled = inner.gradient(new, states, cotangents, ZERO)
    return new, outer.gradient(pulled, cotangents, tangents, ZERO)


class Rows(typing.NamedTuple):
    """The k tangents of each sequence as the rows of one batch of `batch · k`.

    State and input are repeated k times, so that one call of the cell serves all
    tangents.
    """

    batch: int | tf.Tensor
    k: int
    sizes: list

    def repeat(self, tensors):
        """`(batch, n)` → `(batch·k, n)`; of each tensor where there is a list."""

        def one(x):
            wide = tf.broadcast_to(x[:, None], (self.batch, self.k, x.shape[-1]))
            # Not −1: a map that nothing drives has inputs with no features.
            return tf.reshape(wide, (self.batch * self.k, x.shape[-1]))

        return tf.nest.map_structure(one, tensors)

    def split(self, frame):
        """A frame `(batch, k, D)` as a list of `(batch·k, d_i)`."""
        parts = tf.split(frame, self.sizes, axis=-1)
        return [tf.reshape(p, (-1, p.shape[-1])) for p in parts]

    def join(self, parts):
        """The inverse of `split`."""
        return tf.concat([self._unpack(p) for p in parts], axis=-1)

    def first(self, tensors):
        """`(batch·k, n)` → `(batch, n)`: one of k equal rows."""
        return [self._unpack(x)[:, 0] for x in tensors]

    def only_first(self, cotangents):
        """The adjoint of `first`."""
        row = tf.one_hot(0, self.k, dtype=cotangents[0].dtype)[:, None]
        return [tf.reshape(c[:, None] * row, (-1, c.shape[-1])) for c in cotangents]

    def total(self, cotangents):
        """The adjoint of `repeat`."""
        return tf.nest.map_structure(
            lambda c: tf.reduce_sum(self._unpack(c), axis=1), cotangents
        )

    def array(self, dtype, time, *shape):
        """A TensorArray over time of `(batch, *shape)`."""
        batch = self.batch if isinstance(self.batch, int) else None
        return tf.TensorArray(dtype, time, element_shape=(batch, *shape))

    def _unpack(self, x):
        return tf.reshape(x, (self.batch, self.k, x.shape[-1]))


def make_rows(states, frame):
    """The `Rows` of initial states and a frame."""
    sizes = [s.shape[-1] for s in states]
    return Rows(batch=extent(states[0], 0), k=frame.shape[1], sizes=sizes)


def select(schedule, flags, new, old):
    """`new` for the sequences whose flag is set, else `old`: tensors, or lists of them.

    Without a mask all sequences are alike, and it is `new`.
    """
    if not schedule.masked:
        return new

    def one(new, old):
        return tf.where(tf.reshape(flags, [-1] + [1] * (new.shape.rank - 1)), new, old)

    return tf.nest.map_structure(one, new, old)


def at_qr_step(schedule, t, with_qr, without):
    """Runs `with_qr` at a step at which any sequence has a QR, else `without`."""
    if schedule.every_step:
        return with_qr()
    return tf.cond(tf.reduce_any(schedule.qr[t]), with_qr, without)
