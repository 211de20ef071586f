"""The forward sweep with a QR where one is needed, rather than at every step.

R of a product of Jacobians is the product of their Rs, so that exponents are the same
however many steps lie between two QRs, as long as the tangents stay far from parallel. How
far they stayed is seen at the next QR: if not far enough, the steps since the last one are
taken again, fewer of them.
"""

import tensorflow as tf

from keras_floss.flow.frame import orthonormalise
from keras_floss.flow.push import push
from keras_floss.flow.record import arrays, as_record, write_before, write_found
from keras_floss.flow.tangent import seen
from keras_floss.utils.precision import product_eps
from keras_floss.utils.shapes import extent
from keras_floss.utils.xla import diagonal, sum_of_squares

# The next interval is to use so much of the logarithm of the condition that is allowed.
AIM = 0.8


def sweep_as_needed(step, weights, inputs, states, frame, schedule):
    """`forward_sweep` of sequences without mask, with QRs as they are needed.

    There is one after the last step and after the last of the warm-up in any case, and
    it begins with an orthonormal frame.
    """
    k, time = frame.shape[1], extent(inputs, 0)
    warmup = time - schedule.steps[0]
    identity = tf.eye(k, batch_shape=[extent(frame, 0)], dtype=frame.dtype)

    def one_step(t, begin, interval, states, frame, origin, before, found, qr):
        before = write_before(before, t, states, frame)
        states, tangents = push(step, weights, inputs[t], states, frame, t)
        last = tf.minimum(begin + interval, tf.where(begin < warmup, warmup, time)) - 1

        def with_qr():
            steps = t + 1 - begin
            what = seen(schedule, t, tangents)
            q, inverse = orthonormalise(what, origin[-1], schedule.orthonormalization)
            used = tf.math.log(condition(what, inverse)) / tf.math.log(allowed(q.dtype))
            good = tf.equal(steps, 1) | (used <= 1)
            now = [tf.where(good, a, b) for a, b in zip([*states, q], origin, strict=True)]
            inverse = tf.where(good, inverse, identity)
            after = tf.where(good, t + 1, begin)
            return after, _next(steps, used, 2 * interval), now, now, inverse, good

        def without():
            same = begin, interval, [*states, tangents], origin
            return *same, identity, tf.constant(False)

        is_last = tf.equal(t, last)
        begin, interval, now, origin, inverse, good = tf.cond(is_last, with_qr, without)
        found, qr = write_found(found, t, inverse), qr.write(t, good[None])
        t = tf.where(is_last, begin, t + 1)
        return t, begin, interval, now[:-1], now[-1], origin, before, found, qr

    start = (
        *(0, 0, 1, states, frame, [*states, frame]),
        *arrays(inputs, states, frame),
        tf.TensorArray(tf.bool, time, element_shape=(1,)),
    )
    *_, states, frame, _, before, found, qr = tf.while_loop(
        lambda t, *_: t < time, one_step, start
    )
    return as_record(before, found, qr.stack(), states, frame, frame)


def condition(tangents, inverse):
    """How much a QR made of the rounding of the tangents: a scalar, ∞ without full rank.

    It is about the condition number of the tangents scaled to one length, and 1 at least.
    Where it is more, it is the fourth root of the length, or its inverse, of what is left
    of a tangent: much larger or smaller numbers the type does not hold.

    Args:
        tangents: `(batch, k, D)`, what went into the QR.
        inverse: `(batch, k, k)`, R⁻ᵀ, what came out.
    """
    length = tf.sqrt(sum_of_squares(tangents))
    of_tangent = sum_of_squares(inverse * length[:, None])
    left = tf.abs(diagonal(inverse))
    reach = tf.reduce_max(tf.maximum(left, 1.0 / left)) ** 0.25
    return tf.maximum(tf.sqrt(tf.reduce_max(tf.reduce_mean(of_tangent, axis=-1))), reach)


def allowed(dtype):
    """The `condition` up to which exponents are as right as with a QR at every step.

    24 in float32 and 1,350 in float64; the rounding error of the gradient is about its
    square.
    """
    return tf.cast(product_eps(dtype) ** -0.2, dtype)


def _next(steps, used, most):
    """The next interval, up to `most`, after one of `steps` that used so much."""
    wanted = tf.cast(steps, used.dtype) * AIM / tf.clip_by_value(used, 0.01, 1e3)
    # No comparison holds for NaN.
    wanted = tf.where(used < 1e3, wanted, tf.ones_like(wanted))
    return tf.clip_by_value(tf.cast(wanted, tf.int32), 1, most)
