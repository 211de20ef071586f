"""How the gradient of the task's loss comes back through time: the public function."""

import math
import typing

import keras
import numpy as np
import tensorflow as tf

from keras_floss.diagnostics.state_gradients import state_gradients
from keras_floss.diagnostics.task_gradient import look_at_gradient
from keras_floss.recurrent.fixed_batch import build
from keras_floss.recurrent.recording import by_run, record
from keras_floss.utils.checks import check_dense


class KernelGradient(typing.NamedTuple):
    """The gradient of the task's loss in a recurrent kernel.

    Attributes:
        singular_values: NumPy array, decreasing.
        effective_dimension: participation ratio of their squares, (Σσ²)² / Σσ⁴: about how
            many directions the gradient has. NaN where it is 0.
    """

    singular_values: np.ndarray
    effective_dimension: float


class LayerGradients(typing.NamedTuple):
    """The gradient of the task's loss in the states of a recurrent layer.

    Attributes:
        norms: `(time,)`, the norm of ∂loss/∂s_t over all states and sequences, in the
            order in which the layer runs. It counts what s_t does to the layer's output at
            t and to all that follows.
        cell_share: of an LSTM, `(time − 1,)`: the share, from 0 to 1, of the squared norm
            that comes into s_t from s_{t+1} through c; the rest comes through h, the path
            that h-detach blocks. NaN where nothing comes. None of other layers.
        kernels: `{path of the recurrent kernel: KernelGradient}`.
    """

    norms: np.ndarray
    cell_share: np.ndarray | None
    kernels: dict


def gradient_norms(model, x, y=None, sample_weight=None, *, layers=None):
    """The norm of the gradient of the task's loss in every state, step by step.

    Why a network does not learn a delay: from the last step back, the norms fall (or grow)
    as `exp(λ_1 t)` on average, and an optimiser hears nothing of what was long ago.

    The loss is that which the model was compiled with, in inference mode: no dropout, no
    h-detach. The gradient within a recurrent layer is computed in float32 (float64 for a
    float64 layer), whatever the dtype policy. It is traced once per model, shapes and
    layers, and anew where the model was changed or compiled since. A cell that draws random
    numbers draws others there, the same at each look, than in the pass of the model that
    gives the loss.

    Args:
        model: a compiled `keras.Model`, functional or subclassed, with recurrent layers.
        x, y, sample_weight: one batch, as in `fit`.
        layers: recurrent layers, as names or layers. Defaults to None, all of them.

    Returns:
        `{layer name: LayerGradients}`; Bidirectional: `name/forward`, `name/backward`. A
        layer that is called several times has an entry for each call: `name/call_1`, ...;
        but calls that hand the states on, from one to the next, are one.

    Raises:
        ValueError: a model that is not compiled, one without a recurrent layer, or one
            whose recurrent layers cannot be reached.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, name="memory")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    gradients = keras_floss.gradient_norms(model, x_train, y_train)["memory"]
    gradients.norms[0] / gradients.norms[-1]  # what is left at the first step
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306) (gradients and
        exponents); [Kanuparthi, Arpit et al., ICLR 2019](https://arxiv.org/abs/1810.03023)
        (the two paths)
    """
    if not tf.executing_eagerly():
        raise ValueError("`gradient_norms` gives NumPy arrays: call it eagerly.")
    check_dense(x)
    x, y, sample_weight = keras.tree.map_structure(
        lambda a: None if a is None else tf.convert_to_tensor(a), (x, y, sample_weight)
    )
    if not model.built:
        build(model, x)
    result = look_at_gradient(_gradients, model, layers, (x, y, sample_weight))
    return {
        name: LayerGradients(
            norms.numpy(),
            None if share is None else share.numpy(),
            {path: _kernel_gradient(g.numpy()) for path, g in kernels.items()},
        )
        for name, (norms, share, kernels) in result.items()
    }


def _gradients(model, layers, x, y, sample_weight):
    """`{name: (norms, cell share or None, {path: gradient of the kernel})}`."""
    with tf.GradientTape() as tape:
        recorded, outputs = record(model, x, layers, watch=tape)
        loss = model.compute_loss(x, y, outputs, sample_weight, training=False)
    runs = by_run(recorded)
    d_calls, d_kernels = tape.gradient(
        loss,
        (
            {
                name: [(c.output, c.states, c.entered) for c in run.calls]
                for name, run in runs.items()
            },
            {name: _kernels(run.layer) for name, run in runs.items()},
        ),
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    result = {}
    for name, run in runs.items():
        d_outputs, d_states = _by_step(run, d_calls[name])
        gradients, carried = state_gradients(
            run.trajectory(), d_outputs, d_states, run.layer.zero_output_for_mask
        )
        result[name] = (
            tf.sqrt(sum(tf.reduce_sum(g**2, axis=(1, 2)) for g in gradients)),
            _cell_share(run.layer.cell, carried),
            d_kernels[name],
        )
    return result


def _by_step(run, d_calls):
    """Gradients in the output of every step, and in the states after it.

    Args:
        d_calls: `(in the output, in the final states, in the initial state)` of each call.

    Returns:
        `(batch, time, outputs)`, and a list of `(batch, time, d_i)` or an empty list.
    """
    d_outputs, d_states = [], []
    following = [d_entered for *_, d_entered in d_calls[1:]] + [[]]
    for call, (d_output, d_final, _), d_next in zip(
        run.calls, d_calls, following, strict=True
    ):
        before = tf.shape(call.inputs)[1] - 1

        def at_end(d, before=before):
            d = tf.reshape(d, (tf.shape(d)[0], 1, math.prod(d.shape[1:])))
            return tf.pad(d, [[0, 0], [before, 0], [0, 0]])

        if not call.layer.return_sequences:
            d_output = at_end(d_output)
        if call.mask is not None:
            # Until its first valid step a call puts out zeros.
            mask = call.mask[:, ::-1] if call.layer.go_backwards else call.mask
            begun = tf.cumsum(tf.cast(mask, d_output.dtype), axis=1)[..., None] > 0
            d_output = tf.where(begun, d_output, tf.zeros_like(d_output))
        d_outputs.append(d_output)
        # What comes through the next call comes through the steps that follow.
        d_final = d_final or [tf.zeros_like(d) for d in d_calls[-1][-1]]
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


def _kernel_gradient(gradient):
    values = np.linalg.svd(gradient.astype("float64"), compute_uv=False)
    squares = (values / (values.max() or np.nan)) ** 2
    return KernelGradient(values, float(squares.sum() ** 2 / (squares**2).sum()))
