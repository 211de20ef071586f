"""A recurrent layer, or a cell, and what it is called on, ready for the tangent flow."""

import typing

import keras
import tensorflow as tf

from keras_floss.lyapunov.cells import CellMap
from keras_floss.lyapunov.schedule import extent


class Sequence(typing.NamedTuple):
    """What a recurrent layer runs over, in the order in which it does.

    Attributes:
        map: the `CellMap` of the layer's cell.
        inputs: `(batch, time, features)`, reversed for `go_backwards`.
        states: list of `(batch, d_i)`, the initial state.
        mask: `(batch, time)` booleans, or None.
    """

    map: CellMap
    inputs: tf.Tensor
    states: list
    mask: tf.Tensor | None


def check_recurrent(rnn):
    """Raises ValueError unless `rnn` is a recurrent layer or a cell."""
    if isinstance(rnn, keras.layers.Bidirectional):
        raise ValueError(
            f"`{rnn.name}` is Bidirectional and has a spectrum for each direction: pass "
            "its `forward_layer` or its `backward_layer`."
        )
    if not isinstance(rnn, keras.layers.RNN) and not hasattr(rnn, "state_size"):
        raise ValueError(
            "Lyapunov exponents are those of a `keras.layers.RNN` (SimpleRNN, GRU, LSTM, "
            "RateRNN, ...) or of a cell with a `state_size`; of a wrapper, pass its "
            f"`layer`. Received: {rnn!r}"
        )


def directions(rnn):
    """`{"forward": layer, "backward": layer}` of a Bidirectional, else `{"": rnn}`."""
    if isinstance(rnn, keras.layers.Bidirectional):
        return {"forward": rnn.forward_layer, "backward": rnn.backward_layer}
    return {"": rnn}


def ensure_built(rnn, shape):
    """Builds a layer or cell for inputs of shape `(batch, time, features)`."""
    if shape.rank != 3 or shape[-1] is None:
        raise ValueError(
            f"The inputs of `{getattr(rnn, 'name', type(rnn).__name__)}` must be of shape "
            "(batch, time, features) with a known number of features; layers with other "
            f"inputs (ConvLSTM, say) are not supported. Received inputs of shape {shape}."
        )
    if not getattr(rnn, "built", True):
        layer = isinstance(rnn, keras.layers.RNN)
        rnn.build(tuple(shape) if layer else (shape[0], shape[-1]))


def as_sequence(rnn, inputs, initial_state=None, mask=None):
    """Builds the layer if need be and takes its call apart into a `Sequence`.

    Args:
        rnn: a `keras.layers.RNN` or a cell.
        inputs: `(batch, time, features)`.
        initial_state: what the layer takes, or None for what it starts from.
        mask: `(batch, time)`, or None.
    """
    check_recurrent(rnn)
    name = getattr(rnn, "name", type(rnn).__name__)
    cell = rnn.cell if isinstance(rnn, keras.layers.RNN) else rnn
    inputs = tf.convert_to_tensor(inputs)
    ensure_built(rnn, inputs.shape)
    if inputs.dtype.is_complex or inputs.dtype == tf.string:
        raise ValueError(
            f"The inputs of `{name}` must be real numbers. Received: {inputs.dtype.name}"
        )
    cell_map = CellMap(cell, name).trace(inputs.shape[-1])

    inputs = tf.cast(inputs, cell_map.dtype)
    if initial_state is None:
        initial_state = _own_initial_state(rnn, cell_map, extent(inputs, 0))
    states = [
        tf.cast(tf.convert_to_tensor(s), cell_map.dtype)
        for s in keras.tree.flatten(initial_state)
    ]
    wanted = [tf.TensorShape((inputs.shape[0], d)) for d in cell_map.sizes]
    given = [s.shape for s in states]
    if len(given) != len(wanted) or not all(map(_compatible, given, wanted)):
        raise ValueError(
            f"`initial_state` of `{name}` must hold {len(wanted)} state(s) of sizes "
            f"{cell_map.sizes}, as tensors of shape (batch, size) with the batch of the "
            f"inputs. Received shapes: {[tuple(shape) for shape in given]}"
        )
    mask = None if mask is None else tf.cast(tf.convert_to_tensor(mask), tf.bool)
    if mask is not None and not _compatible(mask.shape, inputs.shape[:2]):
        raise ValueError(
            f"`mask` of `{name}` must be of shape (batch, time), {inputs.shape[:2]}. "
            f"Received shape: {mask.shape}"
        )
    if mask is not None:
        # What stands in padding may be anything; 0·NaN in a gradient is NaN.
        inputs = tf.where(mask[..., None], inputs, tf.zeros_like(inputs))
    if getattr(rnn, "go_backwards", False):
        inputs = tf.reverse(inputs, [1])
        mask = None if mask is None else tf.reverse(mask, [1])
    return Sequence(cell_map, inputs, states, mask)


def cut_window(sequence, window):
    """The first `window` steps of each sequence, from its first valid one; None: all."""
    cell_map, inputs, states, mask = sequence
    time = inputs.shape[1]
    if window is None:
        return sequence
    if time is not None and window > time:
        raise ValueError(
            f"`window` must be at most {time}, the number of time steps that the recurrent "
            f"layer `{cell_map.name}` gets. Received: {window}"
        )
    if mask is None:
        return Sequence(cell_map, inputs[:, :window], states, None)
    first = tf.argmax(mask, axis=1, output_type=tf.int32)
    steps = first[:, None] + tf.range(window)
    inside = steps < tf.shape(mask)[1]
    steps = tf.minimum(steps, tf.shape(mask)[1] - 1)
    inputs = tf.gather(inputs, steps, axis=1, batch_dims=1)
    mask = tf.gather(mask, steps, axis=1, batch_dims=1) & inside
    return Sequence(cell_map, inputs, states, mask)


def _compatible(shape, wanted):
    return shape.rank == wanted.rank and shape.is_compatible_with(wanted)


def _own_initial_state(rnn, cell_map, batch):
    """What the layer starts from when it is given no state: its own, or zeros."""
    if getattr(rnn, "stateful", False) and rnn.states is not None:
        return [v.value for v in keras.tree.flatten(rnn.states)]
    if hasattr(rnn, "get_initial_state"):
        with cell_map.precision():
            return rnn.get_initial_state(batch_size=batch)
    return [tf.zeros((batch, d), cell_map.dtype) for d in cell_map.sizes]
