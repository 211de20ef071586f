"""A recurrent layer, cell or function and its arguments, ready for the tangent flow."""

import typing

import keras
import tensorflow as tf

from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.functions import FunctionMap, function_inputs, is_function
from keras_floss.recurrent.output_map import OutputMap
from keras_floss.utils.checks import check_dense
from keras_floss.utils.shapes import extent, first_rows, reshape_rows

Map: typing.TypeAlias = CellMap | FunctionMap | OutputMap


class Trajectory(typing.NamedTuple):
    """What a batch of trajectories follows from, in the order in which a layer runs.

    Attributes:
        map: `CellMap` of the layer's cell, or `FunctionMap`; or the `OutputMap` of one.
        inputs: `(batch, time, features)` tensor, reversed for `go_backwards`.
        states: list of `(batch, d_i)` tensors, the initial state.
        mask: `(batch, time)` tensor of booleans, or None.
        length: number of time steps before a window was cut, or None where it is not known.
    """

    map: Map
    inputs: tf.Tensor
    states: list
    mask: tf.Tensor | None
    length: int | None = None


def check_recurrent(rnn):
    """Raises ValueError unless `rnn` is a recurrent layer, a cell or a plain function."""
    if is_function(rnn):
        return
    if isinstance(rnn, keras.layers.Bidirectional):
        raise ValueError(
            f"`{rnn.name}` is Bidirectional and has a spectrum for each direction: pass "
            "its `forward_layer` or its `backward_layer`."
        )
    if not isinstance(rnn, keras.layers.RNN) and not hasattr(rnn, "state_size"):
        raise ValueError(
            "Lyapunov exponents are those of a `keras.layers.RNN` (SimpleRNN, GRU, LSTM, "
            "RateRNN, ...), of a cell with a `state_size`, or of a function "
            f"`step(state, x)`; of a wrapper, pass its `layer`. Received: {rnn!r}"
        )


def check_taped():
    """Raises ValueError where no tape records, as inside of `tf.recompute_grad`."""
    x = tf.constant(0.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.identity(x)
    if tape.gradient(y, x) is None:
        raise ValueError(
            "Exponents cannot be computed inside of `tf.recompute_grad`, where no tape "
            "records: leave them outside of it. What it would save they save themselves, "
            "with checkpoints along long sequences."
        )


def directions(rnn):
    """`{"forward": layer, "backward": layer}` of a Bidirectional, else `{"": rnn}`."""
    if isinstance(rnn, keras.layers.Bidirectional):
        return {"forward": rnn.forward_layer, "backward": rnn.backward_layer}
    return {"": rnn}


def prepare(rnn, inputs, initial_state=None, mask=None):
    """Arguments as tensors, and the layer built. To be called where variables can be made.

    Returns:
        `(inputs, initial_state, mask)`.
    """
    check_recurrent(rnn)
    check_dense(inputs)
    check_taped()
    if is_function(rnn):
        inputs, initial_state = function_inputs(rnn, inputs, initial_state)
    inputs = tf.convert_to_tensor(inputs)
    name = _name_of(rnn)
    if inputs.shape.rank != 3 or inputs.shape[-1] is None:
        raise ValueError(
            f"The inputs of `{name}` must be of shape (batch, time, features) with a known "
            "number of features; layers with other inputs (ConvLSTM, say) are not "
            f"supported. Received inputs of shape {inputs.shape}."
        )
    if inputs.shape[1] == 0:
        raise ValueError(
            f"The inputs of `{name}` have no time step. Received inputs of shape "
            f"{inputs.shape}."
        )
    if inputs.dtype.is_complex or inputs.dtype == tf.string:
        raise ValueError(
            f"The inputs of `{name}` must be real numbers. Received: {inputs.dtype.name}"
        )
    if not is_function(rnn) and not getattr(rnn, "built", True):
        shape = tuple(inputs.shape)
        layer = isinstance(rnn, keras.layers.RNN)
        rnn.build(shape if layer else (shape[0], shape[-1]))
    if initial_state is not None:
        initial_state = keras.tree.map_structure(tf.convert_to_tensor, initial_state)
    mask = None if mask is None else tf.cast(tf.convert_to_tensor(mask), tf.bool)
    if mask is not None and not _compatible(mask.shape, inputs.shape[:2]):
        raise ValueError(
            f"`mask` of `{name}` must be of shape (batch, time), {inputs.shape[:2]}. "
            f"Received shape: {mask.shape}"
        )
    return inputs, initial_state, mask


def as_map(rnn, inputs, initial_state):
    """The map of a layer, a cell or a function, given what `prepare` returns."""
    if is_function(rnn):
        return FunctionMap(rnn, _name_of(rnn), initial_state, inputs.shape[-1])
    return CellMap(rnn.cell if isinstance(rnn, keras.layers.RNN) else rnn, _name_of(rnn))


def as_trajectory(rnn, inputs, initial_state=None, mask=None):
    """Takes the call of a layer apart into a `Trajectory`; builds the layer if need be.

    Args:
        rnn: a `keras.layers.RNN`, a cell, or a plain function.
        inputs: `(batch, time, features)`, or the number of steps of a plain function.
        initial_state: what the layer takes, or None for what it starts from.
        mask: `(batch, time)`, or None.
    """
    inputs, initial_state, mask = prepare(rnn, inputs, initial_state, mask)
    step = as_map(rnn, inputs, initial_state)
    inputs = tf.cast(inputs, step.dtype)
    if initial_state is None:
        initial_state = _own_initial_state(rnn, step, extent(inputs, 0))
    states = [
        tf.cast(tf.convert_to_tensor(s), step.dtype)
        for s in keras.tree.flatten(initial_state)
    ]
    wanted = [tf.TensorShape((inputs.shape[0], *shape)) for shape in step.shapes]
    given = [s.shape for s in states]
    if len(given) != len(wanted) or not all(map(_compatible, given, wanted)):
        raise ValueError(
            f"`initial_state` of `{step.name}` must hold {len(wanted)} state(s) of sizes "
            f"{step.sizes}, as tensors of shape (batch, size) with the batch of the "
            f"inputs. Received shapes: {[tuple(shape) for shape in given]}"
        )
    # A matrix is a vector from here on.
    states = [reshape_rows(s, (d,)) for s, d in zip(states, step.sizes, strict=True)]
    step.trace(inputs)
    if mask is not None:
        # What stands in padding may be anything; 0·NaN in a gradient is NaN.
        inputs = tf.where(mask[..., None], inputs, tf.zeros_like(inputs))
    if getattr(rnn, "go_backwards", False):
        inputs = tf.reverse(inputs, [1])
        mask = None if mask is None else tf.reverse(mask, [1])
    return Trajectory(step, inputs, states, mask, inputs.shape[1])


def cut_batch(trajectory, batch_size):
    """The first sequences; None: all."""
    tensors = trajectory.inputs, trajectory.states, trajectory.mask
    inputs, states, mask = first_rows(tensors, batch_size)
    return trajectory._replace(inputs=inputs, states=states, mask=mask)


def cut_window(trajectory, window):
    """The first `window` steps of each sequence, from its first valid one; None: all."""
    if window is None:
        return trajectory
    inputs, mask, time = trajectory.inputs, trajectory.mask, trajectory.length
    if time is not None and window > time:
        raise ValueError(
            f"`window` must be at most {time}, the number of time steps that the recurrent "
            f"layer `{trajectory.map.name}` gets. Received: {window}"
        )
    if mask is None:
        return trajectory._replace(inputs=inputs[:, :window])
    first = tf.argmax(mask, axis=1, output_type=tf.int32)
    steps = first[:, None] + tf.range(window)
    inside = steps < tf.shape(mask)[1]
    steps = tf.minimum(steps, tf.shape(mask)[1] - 1)
    inputs = tf.gather(inputs, steps, axis=1, batch_dims=1)
    mask = tf.gather(mask, steps, axis=1, batch_dims=1) & inside
    return trajectory._replace(inputs=inputs, mask=mask)


def _name_of(rnn):
    return getattr(rnn, "name", getattr(rnn, "__name__", type(rnn).__name__))


def _compatible(shape, wanted):
    return shape.rank == wanted.rank and shape.is_compatible_with(wanted)


def _own_initial_state(rnn, cell_map, batch):
    """What the layer starts from when it is given no state: its own, or zeros."""
    if getattr(rnn, "stateful", False) and rnn.states is not None:
        return [v.value for v in keras.tree.flatten(rnn.states)]
    if hasattr(rnn, "get_initial_state"):
        # In the scope a random state does not move its seed generator on.
        with keras.StatelessScope(), cell_map.precision():
            return rnn.get_initial_state(batch_size=batch)
    return [tf.zeros((batch, d), cell_map.dtype) for d in cell_map.sizes]
