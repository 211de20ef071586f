"""One step of the state and of a frame of tangents, for any cell, and its adjoint."""

import functools

import tensorflow as tf

from keras_floss.utils.shapes import extent
from keras_floss.utils.xla import by_itself, compiled_by_xla

ZERO = tf.UnconnectedGradients.ZERO
# Of a graph: that of a plain RNN has 65, that of a GRU 209. Those of so many gain from two
# threads as much as they lose.
FEW_OPERATIONS = 100


def push(step, weights, inputs, states, frame, number=None):
    """State and tangents one step on.

    Args:
        step: the map `step(x_t, states, weights) -> (output, states)`, a `CellMap` or
            a `FunctionMap`.
        weights: list of tensors.
        inputs: `(batch, features)`.
        states: list of `(batch, d_i)`.
        frame: `(batch, k, D)`, tangents in rows; k is known while tracing.
        number: that of the step in a loop over time, if it is in one.

    Returns:
        `(F(x, s), J·q for each tangent)`, shaped like `states` and `frame`.
    """
    function = _traced(step, _push, weights, inputs, states, frame)

    def one_push(states, frame):
        new, pushed = function(weights, inputs, states, frame)
        return _like(states, new), _like(frame, pushed)

    graph = getattr(function, "graph", None)
    if number is None or graph is None or len(graph.get_operations()) > FEW_OPERATIONS:
        return one_push(states, frame)
    return by_itself(one_push, number, states, frame)


def pull(step, weights, inputs, states, frame, d_states, d_frame, variables=()):
    """The adjoint of `push`: its arguments, and the cotangents of what it returns.

    Returns:
        The cotangents of `(weights, inputs, states, frame)`, and of `variables`, which
        `step` reads besides its weights.
    """

    def adjoint(step, *arguments):
        *sources, d_states, d_frame = arguments
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*sources, *variables])
            targets = _push(step, *sources)
        cotangents = d_states, d_frame
        gradients = tape.gradient(targets, (sources, list(variables)), cotangents, ZERO)
        # What is gathered has sparse ones.
        return tf.nest.map_structure(tf.convert_to_tensor, gradients)

    sources = weights, inputs, states, frame
    function = _traced(step, adjoint, *sources, d_states, d_frame)
    cotangents, d_variables = function(*sources, d_states, d_frame)
    return _like(sources, cotangents), d_variables


def _vectorises(step):
    """Whether tangents go through `tf.vectorized_map`."""
    # Eagerly that traces anew each time that it is called.
    return step.vectorizes and not tf.executing_eagerly()


def _push(step, *sources):
    way = _push_vectorised if _vectorises(step) else _push_rows
    return way(step, *sources)


def _traced(step, function, *arguments):
    """`function(step, ...)`, which takes a push of `step`, as one of such arguments."""
    function = functools.partial(function, step)
    if not _vectorises(step) or not compiled_by_xla():
        return function
    # Where XLA compiles, vectorized_map makes a function of its own, and out of the
    # gradient of that come shapes that are no constants: weights would then have to be
    # constants, and be compiled anew with each update. So it is traced elsewhere.
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), arguments)
    with tf.Graph().as_default():  # `tf.init_scope` would stop the tapes
        return tf.function(function, autograph=False).get_concrete_function(*specs)


def _like(shaped, tensors):
    """Tells TensorFlow that tensors have the shapes of others, where it does not know."""
    for x, y in zip(tf.nest.flatten(shaped), tf.nest.flatten(tensors), strict=True):
        y.set_shape(x.shape)
    return tensors


def _push_vectorised(step, weights, inputs, states, frame):
    """The cell is called once for all tangents: only what a tangent passes is repeated."""
    new, jvp = _linearise(step, weights, inputs, states)
    tangents = tf.split(tf.transpose(frame, (1, 0, 2)), step.sizes, axis=-1)
    pushed = tf.vectorized_map(jvp, tangents, fallback_to_while_loop=False)
    return new, tf.transpose(tf.concat(pushed, axis=-1), (1, 0, 2))


def _push_rows(step, weights, inputs, states, frame):
    """Each tangent is a row of one batch of `batch · k`, in which the state is repeated."""
    batch, k = extent(frame, 0), frame.shape[1]

    def flat(x):
        # Not −1: a map that nothing drives has inputs with no features.
        return tf.reshape(x, (batch * k, x.shape[-1]))

    def repeat(x):
        return flat(tf.broadcast_to(x[:, None], (batch, k, x.shape[-1])))

    _, jvp = _linearise(step, weights, repeat(inputs), [repeat(s) for s in states])
    pushed = jvp([flat(q) for q in tf.split(frame, step.sizes, axis=-1)])
    pushed = tf.reshape(tf.concat(pushed, axis=-1), (batch, k, frame.shape[-1]))
    return step(inputs, states, weights)[1], pushed


def _linearise(step, weights, inputs, states):
    """The new state, and the JVP as a function of a tangent.

    A VJP is linear in its cotangent, and its own VJP is the JVP, which thus takes two
    reverse passes.
    """
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as outer:
        cotangents = [tf.zeros_like(s) for s in states]
        outer.watch(cotangents)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(states)
            _, new = step(inputs, states, weights)
        pulled = inner.gradient(new, states, cotangents, ZERO)
    return new, lambda tangent: outer.gradient(pulled, cotangents, tangent, ZERO)
