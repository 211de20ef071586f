"""How much of the task's gradient arrives at the first and the last step of a sequence."""

import typing

import tensorflow as tf

from keras_floss.recurrent.recording import record


class Ends(typing.NamedTuple):
    """Norms of the gradient of the task's loss in the inputs of a recurrent layer.

    Attributes:
        first: at the first valid step of each sequence, over all sequences together.
        last: at the last valid step.
    """

    first: tf.Tensor
    last: tf.Tensor


def gradient_ends(model, layers, x, y, sample_weight=None):
    """`{layer name: Ends}` for one batch, in the model's inference mode.

    Args:
        model: a compiled `keras.Model`.
        layers: `{name: recurrent layer}`.
        x, y, sample_weight: the batch.
    """
    with tf.GradientTape() as tape:
        recorded, outputs = record(model, x, layers, watch=tape)
        loss = model.compute_loss(x, y, outputs, sample_weight, training=False)
    gradients = tape.gradient(
        loss,
        {
            name: [[call.inputs for call in run.calls] for run in runs]
            for name, runs in recorded.items()
        },
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    result = {}
    for name, runs in recorded.items():
        ends = [
            _ends(run.join(g), run.mask)
            for g, run in zip(gradients[name], runs, strict=True)
        ]
        # Of a layer with several runs, the mean over them.
        result[name] = Ends(*(sum(x) / len(ends) for x in zip(*ends, strict=True)))
    return result


def _ends(gradient, mask):
    """`(first, last)` of a gradient `(batch, time, features)`."""
    time = tf.shape(gradient)[1]
    if mask is None:
        first = tf.zeros_like(gradient[:, 0, 0], tf.int32)
        last = first + time - 1
    else:
        mask = tf.cast(mask, tf.int32)
        first = tf.argmax(mask, axis=1, output_type=tf.int32)
        last = time - 1 - tf.argmax(mask[:, ::-1], axis=1, output_type=tf.int32)
    return [tf.norm(tf.gather(gradient, t, axis=1, batch_dims=1)) for t in (first, last)]
