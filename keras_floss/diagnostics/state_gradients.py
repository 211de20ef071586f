"""The gradient of a loss in every state along a sequence."""

import tensorflow as tf

from keras_floss.recurrent.noise import with_noise
from keras_floss.utils.shapes import extent


def state_gradients(trajectory, d_outputs, d_states=(), zero_output_for_mask=False):
    """∂loss/∂s_t for every t, given the gradient of the loss in what the layer returns.

    A perturbation is added to each state, `s_t = F(x_t, s_{t-1}) + δ_t`, and the gradient
    is that in δ_t at δ = 0. Where the output of the cell is one of its states, as it is in
    Keras's cells, the perturbation is in the output of that step as well.

    Args:
        trajectory: a `Trajectory` of a layer.
        d_outputs: `(batch, time, outputs)`, in the output of each step.
        d_states: list of `(batch, time, d_i)`, in the states after each step beside what
            comes through the steps that follow; or empty.
        zero_output_for_mask: whether the output of a masked step is 0, and not that of the
            step before.

    Returns:
        `(gradients, carried)`, both lists of `(time, batch, d_i)`: the gradient in each
        state, and the part of that in the state before which comes from this step.
    """
    step, inputs, states, mask, _ = with_noise(trajectory)
    batch, time = extent(inputs, 0), extent(inputs, 1)
    inputs = tf.transpose(inputs, (1, 0, 2))
    valid = None if mask is None else tf.transpose(mask)[..., None]
    d_outputs = tf.cast(tf.transpose(d_outputs, (1, 0, 2)), step.dtype)
    d_states = [tf.cast(tf.transpose(d, (1, 0, 2)), step.dtype) for d in d_states]
    weights = step.values()

    perturbations = [tf.zeros((time, batch, d), step.dtype) for d in step.sizes]
    links = [tf.zeros((time, batch, d), step.dtype) for d in step.sizes]

    def one_step(t, states, output, total):
        before = [s + link[t] for s, link in zip(states, links, strict=True)]
        new_output, new = step(inputs[t], before, weights)
        perturbed = [s + p[t] for s, p in zip(new, perturbations, strict=True)]
        for old, state in zip(new, perturbed, strict=True):
            if new_output is old:
                new_output = state
                break
        if valid is not None:
            v = valid[t]
            masked = [s + p[t] for s, p in zip(before, perturbations, strict=True)]
            perturbed = [tf.where(v, a, b) for a, b in zip(perturbed, masked, strict=True)]
            kept = tf.zeros_like(output) if zero_output_for_mask else output
            new_output = tf.where(v, new_output, kept)
        total += tf.reduce_sum(new_output * d_outputs[t])
        for state, d in zip(perturbed, d_states, strict=False):
            total += tf.reduce_sum(state * d[t])
        return t + 1, perturbed, new_output, total

    start = tf.zeros((batch, d_outputs.shape[-1]), step.dtype)
    zero = tf.zeros((), step.dtype)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch((perturbations, links))
        # Σ output · its gradient, whose derivatives are those of the loss.
        *_, total = tf.while_loop(
            lambda t, *_: t < time, one_step, (0, states, start, zero)
        )
    # The link into step t leaves state t − 1.
    return tape.gradient(
        total, (perturbations, links), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
