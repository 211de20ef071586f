"""Lyapunov exponents of a recurrent layer: the public function."""

import warnings
from typing import Literal

import numpy as np
import tensorflow as tf

from keras_floss.flow.alone import JitCompile
from keras_floss.flow.frame import Orthonormalization
from keras_floss.flow.spectrum import trajectory_spectrum
from keras_floss.lyapunov.traced import call_traced
from keras_floss.recurrent.output_map import Seen, check_seen, seen_in
from keras_floss.utils.typing import Array, Arrays, Recurrent


def lyapunov_exponents(
    rnn: Recurrent,
    inputs: Array | int,
    k: int | None = None,
    *,
    initial_state: Arrays | None = None,
    mask: Array | None = None,
    of: Seen = "state",
    warmup: int = 0,
    qr_interval: int | Literal["auto"] = "auto",
    seed: int = 0,
    memory_limit: float | None = None,
    orthonormalization: Orthonormalization = "auto",
    jit_compile: JitCompile = "auto",
) -> tf.Tensor:
    """The Lyapunov exponents of a recurrent layer along its input sequences.

    The forward dynamics `s_t = F(x_t, s_{t-1})` of the layer stretch a small
    perturbation of the state by `exp(λ_1)` per time step on average, an area by
    `exp(λ_1 + λ_2)`, and so on. A gradient that is carried back over t steps grows or
    vanishes as `exp(λ t)`. The state is all states side by side (LSTM: h and c), of
    D variables in all; dropout is off; the arithmetic is float32, or float64 where the
    layer's weights are.

    Where a step draws random numbers, by `keras.random` or `tf.random`, the exponents are
    those along one noisy trajectory: the noise is new at each step, independent from
    sequence to sequence, the same for all tangents and for the gradient, and reproducible
    by `seed`. The layer's own generators of random numbers are left as they are.

    The result is differentiable in the weights, the inputs and the initial state, in
    graph mode and under XLA. Called eagerly it traces once per layer, shape, dtype and
    options, and then reuses the trace, until a Python value has changed that stands in
    it: an attribute of the layer, of its cell or of anything they hold, or what their
    code reads of closures, globals and classes. Only what that code reads elsewhere (a
    file, the clock, the globals of installed packages) is frozen. A plain function is
    traced at every call; a `tf.function` of your own around the call is traced once.

    Args:
        rnn: a `keras.layers.RNN` layer (SimpleRNN, GRU, LSTM, RateRNN, `RNN` over any
            cell, stacked cells, one direction of a Bidirectional) or a Keras cell. It
            is built if it is not. A stateful layer starts from its stored state and
            leaves that unchanged; `go_backwards` is honoured. Or a plain function
            `step(state, x)`, or `step(state)`, that returns the next state; it computes
            on tensors `(batch, size)`, each row on its own.
        inputs: `(batch, time, features)`, array or tensor; of a function `step(state)`,
            the number of steps.
        k: number of exponents, from 1 to D. Defaults to None, all D.
        initial_state: what the layer takes as such. Defaults to None, the state that
            the layer itself starts from. A plain function must have one: `(batch, size)`,
            or a list, tuple or dict of several; float64 makes all float64.
        mask: `(batch, time)`, True where a step is valid. A masked step carries the
            state unchanged: it is not counted and does not turn the frame. Defaults to
            None.
        of: what perturbations are measured in: `"state"`; or `"output"`, where a sequence
            ends, as what comes after the layer sees them. What an LSTM holds in c, say,
            grows unseen once tanh(c) is saturated. There are then as many exponents as the
            output has variables, at most. Over long sequences the two are the same, up to
            1/steps; of a layer whose output is its whole state they always are. Defaults to
            `"state"`.
        warmup: number of first valid steps that carry state and tangents but are not
            counted. Defaults to 0.
        qr_interval: number of steps from one QR to the next, or `"auto"`: as many as the
            tangents allow, seen as the pass goes. They are never so near to parallel that
            it shows in the exponents: those of `"auto"` and of 1 are apart by rounding, and
            it takes a half to a third of the time where the exponents are close. It is 1
            with a mask, and where k is more than half of the state. A number of more than 1
            is right until the tangents between two QRs become parallel to working
            precision. Defaults to `"auto"`.
        seed: of the random orthonormal frame to start from, and of the noise of a step
            that draws random numbers. Defaults to 0.
        memory_limit: the bytes that may be kept for the gradient. A longer pass keeps less
            and computes twice (see `set_memory_limit`). Defaults to None, the limit of
            `set_memory_limit`.
        orthonormalization: the algorithm of the QR. `"householder"` is TensorFlow's;
            `"gram-schmidt"` works in products of blocks, and is several times faster under
            XLA; `"auto"` is the latter where XLA compiles and products are as precise as
            the dtype (those of float32 on a recent NVIDIA GPU are not, unless
            TensorFloat-32 is off), and else the former. Exponents and gradient are the
            same. Defaults to `"auto"`.
        jit_compile: whether XLA compiles the pass and its gradient, in a program that is
            in graph mode: 1 to 2 s at the first call, and a half to an eighth of the time
            from then on. `"auto"` does where that pays: in a `tf.function` of your own, on
            a CPU with one device, over a known number of 50 time steps or more, for the
            cells of Keras and of this package, and for functions of products, sums, tanh
            and the like. The gradient of the gradient is not to be had of what XLA
            compiled. Defaults to `"auto"`.

    Returns:
        `(batch, k)` tensor: exponents per time step, natural logarithm, in the order of
        the frame (decreasing once it is aligned). −∞ for a direction that lost its rank
        on the way, without gradient; NaN for a sequence with no counted step.

    Raises:
        ValueError: a setting out of its range, inputs that are not
            `(batch, time, features)`, a layer that is not recurrent, or one that draws
            random numbers in a way that cannot be the same for all tangents (in a loop, a
            branch or a `tf.function`, or with parameters or a seed that vary).

    Example:

    ```python
    rnn = keras.layers.LSTM(32)
    x = keras.random.normal((4, 100, 3))
    exponents = keras_floss.lyapunov_exponents(rnn, x, k=8, warmup=20)  # (4, 8)


    def henon(state):
        x, y = keras.ops.unstack(state, axis=-1)
        return keras.ops.stack([1 - 1.4 * x**2 + y, 0.3 * x], axis=-1)


    start = [[0.1, 0.1]]
    keras_floss.lyapunov_exponents(henon, 1000, initial_state=start)  # 0.42, -1.62
    ```

    References:
        Benettin et al., Meccanica 15, 1980 (the method);
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306), Algorithm 1, whose
        `t_ONS` is `qr_interval`;
        [Vogt et al., 2022](https://arxiv.org/abs/2010.09846), on RNNs.
    """
    check_seen(of)
    exponents = call_traced(
        _spectrum,
        rnn,
        inputs,
        initial_state,
        mask,
        of=of,
        k=k,
        warmup=warmup,
        qr_interval=qr_interval,
        seed=seed,
        memory_limit=memory_limit,
        orthonormalization=orthonormalization,
        jit_compile=jit_compile,
    ).exponents
    if tf.executing_eagerly() and np.isnan(exponents).all(axis=-1).any():
        warnings.warn(
            "At least one sequence has NaN exponents: it has no valid step after the "
            f"{warmup} steps of warm-up, or something in it is not finite.",
            stacklevel=2,
        )
    return exponents


def _spectrum(trajectory, of, **settings):
    return trajectory_spectrum(seen_in(trajectory, of), **settings)
