"""The time loop of `RateRNN`, with its adjoint.

Forwards, `d_t` being what enters from outside:

    s_t = φ(s_{t-1}) U + d_t

Backwards, `g_t` being the gradient in `s_t` of everything that reads it:

    a_t = g_t + (a_{t+1} Uᵀ) ∘ φ'(s_t)
    ∂/∂d_t = a_t,    ∂/∂s_0 = (a_1 Uᵀ) ∘ φ'(s_0),    ∂/∂U = Σ_t φ(s_{t-1})ᵀ a_t

TensorFlow derives the same from Keras's loop, but keeps every intermediate result of every
step and adds to `∂/∂U` at each. Here φ' is computed for all steps at once before the loop,
and `∂/∂U` as one product after it. An iteration of the loop holds several steps, because on
a CPU in graph mode an iteration costs more than a step.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_floss.utils.custom_gradient import custom_gradient
from keras_floss.utils.shapes import extent, fold, unfold
from keras_floss.utils.xla import compiled_by_xla

# Measured on a CPU: more gains little. Under XLA it is 1, and more gains nothing.
STEPS_AN_ITERATION = 8

# The adjoint needs φ'(s) as one number for each unit, which softmax does not have.
ELEMENTWISE = {
    keras.activations.celu,
    keras.activations.elu,
    keras.activations.exponential,
    keras.activations.gelu,
    keras.activations.hard_sigmoid,
    keras.activations.hard_silu,
    keras.activations.hard_tanh,
    keras.activations.leaky_relu,
    keras.activations.linear,
    keras.activations.log_sigmoid,
    keras.activations.mish,
    keras.activations.relu,
    keras.activations.relu6,
    keras.activations.selu,
    keras.activations.sigmoid,
    keras.activations.silu,
    keras.activations.softplus,
    keras.activations.softsign,
    keras.activations.squareplus,
    keras.activations.tanh,
}


def rate_states(
    drive: tf.Tensor,
    start: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    activation: Callable[[tf.Tensor], tf.Tensor],
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """The states after each step, differentiable in the first three arguments.

    Args:
        drive: `(time, batch, units)`, d. At least one step.
        start: `(batch, units)`, s_0.
        recurrent_kernel: `(units, units)`, U.
        activation: φ, one of `ELEMENTWISE`.
        mask: `(time, batch)` booleans, or None. A masked step leaves the state as it is.

    Returns:
        `(time, batch, units)`.
    """
    valid = [] if mask is None else [mask[..., None]]

    @custom_gradient
    def run(drive, start, kernel):
        def forwards(state, drive, valid=None):
            new = tf.matmul(activation(state), kernel) + drive
            new = new if valid is None else tf.where(valid, new, state)
            return new, new

        states, _ = _scan(forwards, start, [drive, *valid])

        def gradient(d_states):
            before = tf.concat([start[None], states[:-1]], axis=0)
            with tf.GradientTape() as tape:
                tape.watch(before)
                rates = activation(before)
            slopes = tape.gradient(rates, before)
            transposed = tf.transpose(kernel)

            def backwards(later, d_state, slope, valid=None):
                adjoint = later + d_state
                if valid is None:
                    return tf.matmul(adjoint, transposed) * slope, adjoint
                passed = tf.where(valid, adjoint, tf.zeros_like(adjoint))
                earlier = tf.matmul(passed, transposed) * slope
                return tf.where(valid, earlier, adjoint), passed

            d_drive, d_start = _scan(
                backwards, tf.zeros_like(start), [d_states, slopes, *valid], reverse=True
            )
            flat = [tf.reshape(x, (-1, x.shape[-1])) for x in (rates, d_drive)]
            return d_drive, d_start, tf.matmul(*flat, transpose_a=True)

        return states, gradient

    # The sum gives `start` the batch of `drive`, which a loop wants to stay the same.
    return run(drive, start + tf.zeros_like(drive[0]), recurrent_kernel)


def _scan(step, state, sequences, reverse=False):
    """Runs `state, output = step(state, *[s[t] for s in sequences])` over all t.

    Sequences are `(time, ...)`. They are filled up with zeros (False) at their end to make
    whole iterations, and the outputs there are cut off. In reverse they come first.

    Returns:
        `(outputs, state)`: outputs of shape `(time, ...)`, and the state after the last
        iteration. Forwards that may be a state beyond the end of the sequence.
    """
    time = extent(sequences[0], 0)
    if compiled_by_xla():
        return _loop(step, state, sequences, time, reverse)
    iterations = -(-time // STEPS_AN_ITERATION)
    blocks = [fold(s, STEPS_AN_ITERATION) for s in sequences]

    def block(state, *sequences):
        steps = list(zip(*map(tf.unstack, sequences), strict=True))
        outputs = []
        for values in steps[::-1] if reverse else steps:
            state, output = step(state, *values)
            outputs.append(output)
        return state, tf.stack(outputs[::-1] if reverse else outputs)

    outputs, state = _loop(block, state, blocks, iterations, reverse)
    return unfold(outputs, time), state


def _loop(step, state, sequences, iterations, reverse):
    """`_scan`, with one call of `step` an iteration."""
    outputs = tf.TensorArray(state.dtype, iterations)

    def iteration(number, state, outputs):
        at = iterations - 1 - number if reverse else number
        state, output = step(state, *(s[at] for s in sequences))
        return number + 1, state, outputs.write(at, output)

    _, state, outputs = tf.while_loop(
        lambda number, *_: number < iterations,
        iteration,
        (0, state, outputs),
        maximum_iterations=iterations,
    )
    return outputs.stack(), state
