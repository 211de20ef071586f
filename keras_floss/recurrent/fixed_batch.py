"""Models that take a certain number of sequences at a time.

A stateful layer keeps a state for each sequence of the batch that it was built for, and the
inputs of a model may be of a given batch. A batch with fewer sequences is filled up with
copies of them, which nobody sees after: `rows` says how many of a filled batch count.
"""

import keras
import tensorflow as tf

from keras_floss.utils.shapes import extent


def walk(layer):
    """A layer and all layers in it, in order. (All at once, Keras turns them round.)"""
    yield layer
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from walk(inner)


def fixed_batch(model):
    """`(number of sequences, layer)` of the layer that fixes it, or `(None, None)`."""
    for layer in walk(model):
        for state in _stored(layer):
            return state.shape[0], layer
    for layer in walk(model):
        if isinstance(layer, keras.layers.InputLayer) and layer.batch_shape[0]:
            return layer.batch_shape[0], layer
    return None, None


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
    before = [(v, tf.identity(v.value)) for layer in walk(model) for v in _stored(layer)]
    model(fill(inputs, model)[0])
    for layer in walk(model):
        for v in _stored(layer):
            v.assign(tf.zeros_like(v.value))
    for v, value in before:
        v.assign(value)


def _stored(layer):
    """The state variables of a stateful layer."""
    if not getattr(layer, "stateful", False):
        return []
    return keras.tree.flatten(getattr(layer, "states", None) or [])
