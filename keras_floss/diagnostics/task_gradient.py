"""The gradient of a task's loss at recurrent layers: in their inputs and in their states.

The model is called under a tape, and what its recurrent layers run over is recorded. The
tape then has the gradient in what goes into each call of a layer and in what comes out.
The first is that in the inputs. The second is carried on to the states of all steps within
(module `state_gradients`).

All of it is in inference mode, and traced once per model, layers and shapes.
"""

import contextlib
import functools
import math
import typing
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_floss.diagnostics.state_gradients import state_gradients
from keras_floss.recurrent.recording import by_run, choose_layers, record, recurrent_layers
from keras_floss.utils.private_keras import compiled_loss
from keras_floss.utils.shapes import as_tensors
from keras_floss.utils.traces import call_kept
from keras_floss.utils.typing import Layers


def task_gradient(
    where: Callable[..., Any],
    model: keras.Model,
    data: tuple,
    layers: Layers | None = None,
) -> Any:
    """The gradient of the task's loss at recurrent layers.

    Args:
        where: `in_inputs` or `in_states`, which describe what comes of it, a dict by layer
            name; or `_loss`, for the loss itself.
        model: a compiled and built `keras.Model`.
        data: `(x, y)` or `(x, y, sample_weight)`, tensors.
        layers: names or layers. Defaults to None, all of them.
    """
    if not model.compiled:
        raise ValueError(
            f"The model `{model.name}` has no loss: compile it before its gradients are "
            "looked at."
        )
    layers = choose_layers(recurrent_layers(model), layers)
    call = functools.partial(where, model, layers)
    with _unchanged_metrics(model):
        # Traced anew after each `compile`, which makes a new loss.
        return call_kept(model, (where, *layers), call, data, compiled_loss(model))


def task_loss(model: keras.Model, data: tuple, layers: Layers | None = None) -> float:
    """The task's loss on `data`, in inference mode; see `task_gradient`."""
    return float(task_gradient(_loss, model, as_tensors(data), layers))


def _loss(model, layers, x, y, sample_weight=None):
    # Recorded, so that stateful layers keep their states.
    _, outputs = record(model, x, layers)
    return model.compute_loss(x, y, outputs, sample_weight, training=False)


@contextlib.contextmanager
def _unchanged_metrics(model):
    """Puts the metrics of a model back, after the block, to what they were before it.

    A loss of several outputs counts in a metric of its own as soon as it is computed.
    """
    noted = {id(m): [v.numpy() for v in m.variables] for m in model.metrics}
    try:
        yield
    finally:
        for metric in model.metrics:
            metric.reset_state()
            # One that was not there before, or not built, stays empty.
            for v, value in zip(metric.variables, noted.get(id(metric), ()), strict=False):
                v.assign(value)


class CallGradient(typing.NamedTuple):
    """The gradient in what a recurrent layer is called on, and in what it returns."""

    inputs: tf.Tensor
    initial_state: list
    output: tf.Tensor
    states: list


def _at_calls(model, layers, x, y, sample_weight=None):
    """`{name: [(Run, [CallGradient, ...]), ...]}`, and gradients of kernels by name."""
    with tf.GradientTape() as tape:
        recorded, outputs = record(model, x, layers, watch=tape)
        loss = model.compute_loss(x, y, outputs, sample_weight, training=False)
    watched = {
        name: [
            [CallGradient(c.inputs, c.entered, c.output, c.states) for c in run.calls]
            for run in runs
        ]
        for name, runs in recorded.items()
    }
    kernels = {name: _kernels(layer) for name, layer in layers.items()}
    gradients, d_kernels = tape.gradient(
        loss, (watched, kernels), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return {
        name: list(zip(runs, gradients[name], strict=True))
        for name, runs in recorded.items()
    }, d_kernels


def in_inputs(
    model: keras.Model, layers: dict[str, keras.layers.RNN], *data: Any
) -> dict[str, list[tf.Tensor]]:
    """The gradient in the inputs of layers, at both ends.

    Returns:
        `{layer name: [first, last]}`: its norm at the first and at the last valid step of
        each sequence, over all sequences together. Of a layer that runs several times, the
        mean over the runs.
    """
    result: dict = {}
    for name, runs in _at_calls(model, layers, *data)[0].items():
        ends = [_ends(run.join([d.inputs for d in calls]), run.mask) for run, calls in runs]
        result[name] = [sum(norms) / len(ends) for norms in zip(*ends, strict=True)]
    return result


def _ends(gradient, mask):
    """`(first, last)` of a gradient `(batch, time, features)`."""
    valid = tf.ones_like(gradient[..., 0]) if mask is None else tf.cast(mask, tf.int32)
    first = tf.argmax(valid, axis=1)
    last = tf.shape(valid, tf.int64)[1] - 1 - tf.argmax(valid[:, ::-1], axis=1)
    return [tf.norm(tf.gather(gradient, t, axis=1, batch_dims=1)) for t in (first, last)]


def in_states(
    model: keras.Model, layers: dict[str, keras.layers.RNN], *data: Any
) -> dict[str, tuple]:
    """The gradient in the states of layers, at every step.

    Returns:
        `{layer name: (norms, cell share or None, {path: gradient of the kernel})}` as
        tensors; see `GradientNorms`. Of a layer that runs several times there are several.
    """
    recorded, d_kernels = _at_calls(model, layers, *data)
    result: dict = {}
    for name, runs in recorded.items():
        result[name] = []
        for run, d_calls in runs:
            d_outputs, d_states = _by_step(run, d_calls)
            gradients, carried = state_gradients(
                run.trajectory(), d_outputs, d_states, run.layer.zero_output_for_mask
            )
            squares = sum(tf.reduce_sum(g**2, axis=(1, 2)) for g in gradients)
            share = _cell_share(run.layer.cell, carried)
            result[name].append((tf.sqrt(squares), share, d_kernels[name]))
    return by_run(result)


def _by_step(run, d_calls):
    """Gradients in the output of every step, and in the states after it.

    Args:
        d_calls: the `CallGradient` of each call.

    Returns:
        `(batch, time, outputs)`, and a list of `(batch, time, d_i)` or an empty list.
    """
    d_outputs, d_states = [], []
    following = [d.initial_state for d in d_calls[1:]] + [[]]
    for call, d, d_next in zip(run.calls, d_calls, following, strict=True):
        before = tf.shape(call.inputs)[1] - 1

        def at_end(d, before=before):
            d = tf.reshape(d, (tf.shape(d)[0], 1, math.prod(d.shape[1:])))
            return tf.pad(d, [[0, 0], [before, 0], [0, 0]])

        d_output = d.output if call.layer.return_sequences else at_end(d.output)
        if call.mask is not None:
            # Until its first valid step a call puts out zeros.
            mask = call.mask[:, ::-1] if call.layer.go_backwards else call.mask
            begun = tf.cumsum(tf.cast(mask, d_output.dtype), axis=1)[..., None] > 0
            d_output = tf.where(begun, d_output, tf.zeros_like(d_output))
        d_outputs.append(d_output)
        # What comes through the next call comes through the steps that follow.
        d_final = d.states or [tf.zeros_like(d) for d in d_calls[-1].initial_state]
        d_next = d_next or [tf.zeros_like(d) for d in d_final]
        d_states.append([at_end(a - b) for a, b in zip(d_final, d_next, strict=True)])
    return tf.concat(d_outputs, axis=1), [
        tf.concat(parts, axis=1) for parts in zip(*d_states, strict=True)
    ]


def _cell_share(cell, carried):
    """`(time − 1,)`, of the gradients that come into h and c from the step after."""
    if not isinstance(cell, keras.layers.LSTMCell):
        return None
    h, c = (tf.reduce_sum(g[1:] ** 2, axis=(1, 2)) for g in carried)
    return c / (h + c)


def _kernels(layer):
    """`{path: recurrent kernel}` of a recurrent layer."""
    cells = getattr(layer.cell, "cells", [layer.cell])
    kernels = [getattr(cell, "recurrent_kernel", None) for cell in cells]
    return {v.path: v.value for v in kernels if v is not None}
