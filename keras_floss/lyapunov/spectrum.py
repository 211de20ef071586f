"""Lyapunov exponents of a recurrent layer: the public function, and its core."""

import functools
import typing
import warnings
import weakref

import keras
import numpy as np
import tensorflow as tf

from keras_floss.lyapunov.checks import check_k, check_positive_int, check_schedule
from keras_floss.lyapunov.frame import initial_frame
from keras_floss.lyapunov.recurrent import as_sequence, check_recurrent, ensure_built
from keras_floss.lyapunov.schedule import extent, make_schedule
from keras_floss.lyapunov.tangent import tangent_flow


class Spectrum(typing.NamedTuple):
    """Exponents of a batch of sequences.

    Attributes:
        exponents: `(batch, k)`, per time step, natural logarithm.
        counted: `(batch,)` int32, the number of steps they are a mean over.
    """

    exponents: tf.Tensor
    counted: tf.Tensor


def sequence_spectrum(sequence, k=None, *, warmup=0, qr_interval=1, seed=0):
    """The `Spectrum` of a `Sequence`, as `lyapunov_exponents` defines it.

    `warmup` may be a scalar tensor where the number of steps is known only at run time.
    """
    cell_map, inputs, states, mask = sequence
    k = check_k(k, cell_map.dim, cell_map.name)
    if not tf.is_tensor(warmup):
        check_schedule(warmup, qr_interval, inputs.shape[1])
    batch = extent(inputs, 0)
    time = extent(inputs, 1)
    schedule = make_schedule(
        time, None if mask is None else tf.transpose(mask), warmup, qr_interval
    )
    frame = tf.constant(initial_frame(k, cell_map.dim, seed), cell_map.dtype)
    stretch, collapsed = tangent_flow(
        cell_map,
        cell_map.values(),
        tf.transpose(inputs, (1, 0, 2)),
        states,
        tf.broadcast_to(frame, (batch, *frame.shape)),
        schedule,
    )
    counted = tf.broadcast_to(schedule.steps, (batch,))
    steps = tf.cast(tf.maximum(counted, 1), stretch.dtype)[:, None]
    exponents = tf.where(collapsed, tf.cast(-np.inf, stretch.dtype), stretch / steps)
    nan = tf.cast(np.nan, stretch.dtype)
    return Spectrum(tf.where(counted[:, None] > 0, exponents, nan), counted)


def lyapunov_exponents(
    rnn,
    inputs,
    k=None,
    *,
    initial_state=None,
    mask=None,
    warmup=0,
    qr_interval=1,
    seed=0,
):
    """The Lyapunov exponents of a recurrent layer along its input sequences.

    The forward dynamics `s_t = F(x_t, s_{t-1})` of the layer stretch a small
    perturbation of the state by `exp(λ_1)` per time step on average, an area by
    `exp(λ_1 + λ_2)`, and so on. A gradient that is carried back over t steps grows or
    vanishes as `exp(λ t)`. The state is all states side by side (LSTM: h and c), of
    D variables in all; dropout is off; the arithmetic is float32, or float64 where the
    layer's weights are.

    The result is differentiable in the weights, the inputs and the initial state, in
    graph mode and under XLA. Called eagerly it traces once per layer, shape, dtype and
    options, and then reuses the trace.

    Args:
        rnn: a `keras.layers.RNN` layer (SimpleRNN, GRU, LSTM, RateRNN, `RNN` over any
            cell, stacked cells, one direction of a Bidirectional) or a Keras cell. It
            is built if it is not. A stateful layer starts from its stored state and
            leaves that unchanged; `go_backwards` is honoured.
        inputs: `(batch, time, features)`, array or tensor.
        k: number of exponents, from 1 to D. Defaults to None, all D.
        initial_state: what the layer takes as such. Defaults to None, the state that
            the layer itself starts from.
        mask: `(batch, time)`, True where a step is valid. A masked step carries the
            state unchanged: it is not counted and does not turn the frame. Defaults to
            None.
        warmup: number of first valid steps that carry state and tangents but are not
            counted. Defaults to 0.
        qr_interval: number of steps from one QR to the next. More than 1 is faster;
            the exponents are the same until the tangents between two QRs become
            parallel to working precision. Defaults to 1.
        seed: of the random orthonormal frame to start from. Defaults to 0.

    Returns:
        `(batch, k)` tensor: exponents per time step, natural logarithm, in the order of
        the frame (decreasing once it is aligned). −∞ for a direction that lost its rank
        on the way, without gradient; NaN for a sequence with no counted step.

    Raises:
        ValueError: a setting out of its range, inputs that are not
            `(batch, time, features)`, or a layer that is not recurrent.

    Example:

    ```python
    rnn = keras.layers.LSTM(32)
    x = keras.random.normal((4, 100, 3))
    exponents = keras_floss.lyapunov_exponents(rnn, x, k=8, warmup=20)  # (4, 8)
    ```

    References:
        Benettin et al., Meccanica 15, 1980 (the method);
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306), Algorithm 1, whose
        `t_ONS` is `qr_interval`;
        [Vogt et al., 2022](https://arxiv.org/abs/2010.09846), on RNNs.
    """
    check_recurrent(rnn)
    # Before the look for a trace, where True is 1 and 2.0 is 2.
    if k is not None:
        check_positive_int("k", k)
    check_schedule(warmup, qr_interval)
    options = (k, warmup, qr_interval, seed)
    inputs = tf.convert_to_tensor(inputs)
    if not tf.executing_eagerly():
        return _exponents(lambda: rnn, options, inputs, initial_state, mask)
    # Variables cannot be made while a function is traced for the second time.
    ensure_built(rnn, inputs.shape)
    if initial_state is not None:
        initial_state = keras.tree.map_structure(tf.convert_to_tensor, initial_state)
    mask = None if mask is None else tf.convert_to_tensor(mask)
    exponents = _traced(rnn, options)(inputs, initial_state, mask)
    if np.isnan(exponents).all(axis=-1).any():
        warnings.warn(
            "At least one sequence has NaN exponents: it has no valid step after the "
            f"{warmup} steps of warm-up, or something in it is not finite.",
            stacklevel=2,
        )
    return exponents


def _exponents(layer, options, inputs, initial_state, mask):
    k, warmup, qr_interval, seed = options
    sequence = as_sequence(layer(), inputs, initial_state, mask)
    return sequence_spectrum(
        sequence, k, warmup=warmup, qr_interval=qr_interval, seed=seed
    ).exponents


# Layer -> {options: tf.function}. The functions hold the layer by a weak reference, so
# that the traces go when the layer goes.
_traces = weakref.WeakKeyDictionary()


def _traced(rnn, options):
    functions = _traces.setdefault(rnn, {})
    if options not in functions:
        # A `partial` counts as a function of its own when TensorFlow looks for one that
        # is traced over and over; closures of one definition do not.
        exponents = functools.partial(_exponents, weakref.ref(rnn), options)
        functions[options] = tf.function(exponents, autograph=False)
    return functions[options]
