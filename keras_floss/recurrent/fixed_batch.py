"""Models that take a certain number of sequences at a time.

A stateful layer keeps a state for each sequence of the batch that it was built for, and the
inputs of a model may be of a given batch. A batch with fewer sequences is filled up with
copies of them, which nobody sees after: `rows` says how many of a filled batch count.
"""

import keras
import tensorflow as tf

from keras_floss.utils.private_keras import all_layers
from keras_floss.utils.shapes import extent


def fixed_batch(model):
    """`(number of sequences, layer)` of the layer that fixes it, or `(None, None)`."""
    fixed = [(state.shape[0], layer) for state, layer in _stored(model)]
    inputs = [x for x in all_layers(model) if isinstance(x, keras.layers.InputLayer)]
    fixed += [(x.batch_shape[0], x) for x in inputs if x.batch_shape[0]]
    return fixed[0] if fixed else (None, None)


def fill(inputs, model):
    """The inputs with as many sequences as the model wants.

    Args:
        inputs: tensors.
        model: a `keras.Model`.

    Returns:
        `(inputs, rows, size)`: the first `rows` sequences of `size` count. Both are None
        where nothing is filled up.
    """
    size, layer = fixed_batch(model)
    rows = extent(keras.tree.flatten(inputs)[0], 0)
    if size is None or (isinstance(rows, int) and rows >= size):
        return inputs, None, None
    if tf.is_tensor(rows):
        size = tf.maximum(rows, size)
    take = tf.range(size) % rows
    return keras.tree.map_structure(lambda x: tf.gather(x, take), inputs), rows, size


def check_batch(inputs, model):
    """Raises ValueError where a batch is larger than the model can take."""
    size, layer = fixed_batch(model)
    rows = keras.tree.flatten(inputs)[0].shape[0]
    if size is not None and rows is not None and rows > size:
        raise ValueError(
            f"`batch_size` must be at most {size}, the number of sequences that "
            f"`{layer.name}` is made for; a dataset must come in such batches. Received a "
            f"batch of {rows}."
        )


def build(model, inputs):
    """Builds a model by a call; the states that its layers keep stay as they were."""
    before = {id(state): tf.identity(state.value) for state, _ in _stored(model)}
    model(fill(inputs, model)[0])
    for state, _ in _stored(model):
        state.assign(before.get(id(state), tf.zeros_like(state.value)))


def _stored(model):
    """The state variables of the stateful layers of a model, each with its layer."""
    return [
        (state, layer)
        for layer in all_layers(model)
        if getattr(layer, "stateful", False)
        for state in keras.tree.flatten(getattr(layer, "states", None) or [])
    ]
