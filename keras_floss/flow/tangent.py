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

Where exponents are those of the output y of a cell, a tangent also has a component for each
of its variables, and a QR sees those of the state alone, but after the last step those of
the output alone: there Z = (∂y_T/∂s_{T-1}) Q_{T-1}.

This is the adjoint of QR (Engelken, NeurIPS 2023, eq. 8) for a loss that sees the
diagonal of R alone: only diag(ḡ) is then left of the lower triangle of R R̄ᵀ.

Both sweeps are a `tf.while_loop` that calls the cell, whatever it is. TensorFlow's
autodiff of the forward loop would need shapes that XLA does not have, and would store
every intermediate; this stores O(T (D + Dk + k²)) numbers per sequence.
"""

import typing

import tensorflow as tf

from keras_floss.flow.frame import orthonormalise, qr_adjoint
from keras_floss.flow.push import pull, push
from keras_floss.flow.record import array, arrays, as_record, write_before, write_found
from keras_floss.utils.shapes import extent


class Cotangents(typing.NamedTuple):
    """What the backward sweep carries.

    Attributes:
        states: list of `(batch, d_i)`, of the state after a step, and
        frame: `(batch, k, D)`, of the frame after it.
        weights: list, of the weights, from all steps so far, and
        variables: list, of the variables.
    """

    states: list
    frame: tf.Tensor
    weights: list
    variables: list


def forward_sweep(step, weights, inputs, states, frame, schedule, origin=None):
    """State and frame along the sequence, as a `Record`.

    `origin` is the orthonormal frame that `frame` was made of since the last QR; None: it
    is `frame` itself.
    """
    identity = tf.eye(frame.shape[1], batch_shape=[extent(frame, 0)], dtype=frame.dtype)

    def one_step(t, states, frame, origin, before, found):
        before = write_before(before, t, states, frame)
        pushed = push(step, weights, inputs[t], states, frame, t)
        states, tangents = select(schedule, schedule.valid[t], pushed, (states, frame))
        without_qr = tangents, identity, origin

        def with_qr():
            algorithm, seldom = schedule.orthonormalization, schedule.seldom
            what = seen(schedule, t, tangents)
            q, inverse = orthonormalise(what, origin, algorithm, seldom)
            return select(schedule, schedule.qr[t], (q, inverse, q), without_qr)

        flags = schedule.qr[t]
        frame, inverse, origin = at_qr_step(schedule, flags, with_qr, lambda: without_qr)
        return t + 1, states, frame, origin, before, write_found(found, t, inverse)

    start = 0, states, frame, frame if origin is None else origin
    _, states, frame, origin, before, found = tf.while_loop(
        lambda t, *_: t < extent(inputs, 0),
        one_step,
        (*start, *arrays(inputs, states, frame)),
    )
    return as_record(before, found, schedule.qr, states, frame, origin)


def backward_sweep(
    step, weights, inputs, record, d_log, schedule, end, variables=(), keep=None
):
    """Cotangents of the inputs, and the `Cotangents` before the first step.

    Args:
        record: what `forward_sweep` left.
        d_log: `(time, batch, k)`, the cotangent of `log|R_ii|` of each step, 0 where
            direction i lost its rank.
        end: the `Cotangents` after the last step.
        variables: TensorFlow variables that `step` reads besides its weights.
        keep: `(batch, 1)`, what is kept of the cotangent of the state at each step (see
            the module `damping`). None: all of it, the exact gradient.
    """

    def one_step(t, after, frame, d_inputs):
        def through_qr():
            d = qr_adjoint(frame, record.inverses[t], after.frame, d_log[t])
            return select(schedule, record.qr[t], seen(schedule, t, d), after.frame)

        d_tangents = at_qr_step(schedule, record.qr[t], through_qr, lambda: after.frame)

        valid, before = schedule.valid[t], record.frames[t]
        # A masked step is the identity map: nothing goes into the cell.
        d_after = after.states, d_tangents
        nothing = tf.nest.map_structure(tf.zeros_like, d_after)
        d_new, d_pushed = select(schedule, valid, d_after, nothing)
        states = [s[t] for s in record.states]
        (d_weights, d_input, d_states, d_frame), d_variables = pull(
            step, weights, inputs[t], states, before, d_new, d_pushed, variables
        )
        if keep is not None:
            d_states = [keep * d for d in d_states]
        d_before = Cotangents(
            states=select(schedule, valid, d_states, after.states),
            frame=select(schedule, valid, d_frame, d_tangents),
            weights=[a + b for a, b in zip(after.weights, d_weights, strict=True)],
            variables=[a + b for a, b in zip(after.variables, d_variables, strict=True)],
        )
        return t - 1, d_before, before, d_inputs.write(t, d_input)

    time = extent(inputs, 0)
    start = time - 1, end, record.last_frame, array(inputs, inputs.shape[-1])
    _, beginning, _, d_inputs = tf.while_loop(lambda t, *_: t >= 0, one_step, start)
    return d_inputs.stack(), beginning


def seen(schedule, t, tangents):
    """Tangents after step t in the components that are looked at there, the others 0.

    It is its own adjoint. Between two QRs it is left out: what is not looked at there goes
    nowhere.
    """
    if schedule.columns is None:
        return tangents
    during, at_last = schedule.columns
    columns = tf.where(schedule.last[t][:, None], at_last, during)
    return tf.where(columns[:, None], tangents, tf.zeros((), tangents.dtype))


def select(schedule, flags, new, old):
    """`new` for the sequences whose flag is set, else `old`: tensors, or nests of them.

    Without a mask all sequences are alike, and it is `new`.
    """
    if not schedule.masked:
        return new

    def one(new, old):
        return tf.where(tf.reshape(flags, [-1] + [1] * (new.shape.rank - 1)), new, old)

    return tf.nest.map_structure(one, new, old)


def at_qr_step(schedule, flags, with_qr, without):
    """Runs `with_qr` at a step at which any sequence has a QR, else `without`."""
    if schedule.every_step:
        return with_qr()
    return tf.cond(tf.reduce_any(flags), with_qr, without)
