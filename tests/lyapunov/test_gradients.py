"""Gradients in weights, inputs and initial state: against autodiff and differences."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import (
    DIMS,
    KINDS,
    compiled,
    make_inputs,
    make_layer,
    make_states,
    unrolled_exponents,
)

from keras_floss import lyapunov_exponents


def loss(exponents):
    """A weighted sum with a weight of its own for every exponent of every sequence."""
    weights = np.random.default_rng(7).standard_normal(exponents.shape)
    return tf.reduce_sum(weights * exponents)


def problem(kind, time):
    layer = make_layer(kind)
    inputs = tf.constant(make_inputs(2, time))
    states = [tf.constant(s) for s in make_states(layer, 2)]
    return layer, inputs, states


def flow_gradients(layer, inputs, states, xla, **options):
    """One array for every weight, the inputs and every initial state."""

    def gradients(inputs, states):
        with tf.GradientTape() as tape:
            tape.watch([inputs, states])
            value = loss(lyapunov_exponents(layer, inputs, initial_state=states, **options))
        return tape.gradient(value, [*layer.trainable_variables, inputs, *states])

    return [np.array(g) for g in compiled(gradients, xla)(inputs, states)]


@functools.cache
def autodiff_gradients(kind, **options):
    layer, inputs, states = problem(kind, time=6)
    with tf.GradientTape() as tape:
        tape.watch([inputs, states])
        value = loss(unrolled_exponents(layer.cell, inputs, states, **options))
    gradients = tape.gradient(value, [*layer.trainable_variables, inputs, *states])
    return [np.array(g) for g in gradients]


def check_against_autodiff(kind, xla, **options):
    layer, inputs, states = problem(kind, time=6)
    options = {**options, "k": DIMS[kind] // 2}
    actual = flow_gradients(layer, inputs, states, xla, **options)
    expected = autodiff_gradients(kind, **options)
    for a, e in zip(actual, expected, strict=True):
        largest = np.abs(e).max()
        assert largest > 1e-4  # every source has a gradient: none is compared with zero
        # Two orders of summation: rounding times the condition of R, of about 1e3.
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-8 * largest)


@pytest.mark.parametrize(
    ("xla", "kind"), cells(MODES, KINDS, always=["graph-*", "xla-LSTM"])
)
def test_gradients_equal_autodiff(kind, xla):
    # 6 − 2 steps in blocks of 3 and 1.
    check_against_autodiff(kind, xla, warmup=2, qr_interval=3)


def test_gradients_with_a_qr_at_every_step_equal_autodiff_under_xla():
    check_against_autodiff("LSTM", xla=True)


def wide_frame_gradients(dtype, xla):
    """Of a network of gain 1 and almost all its exponents, in one vector."""
    units, k, time = 32, 30, 40
    rng = np.random.default_rng(3)
    kernel = rng.standard_normal((1, units))
    recurrent = rng.standard_normal((units, units)) / np.sqrt(units)
    layer = keras.layers.SimpleRNN(units, dtype=dtype)
    layer.build((1, time, 1))
    weights = kernel, recurrent, rng.standard_normal(units)
    layer.set_weights([w.astype("float32") for w in weights])
    inputs = tf.constant(rng.standard_normal((1, time, 1)).astype("float32"), dtype)

    def gradients(inputs):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(lyapunov_exponents(layer, inputs, k) ** 2)
        return tape.gradient(value, layer.trainable_variables)

    return np.concatenate([np.ravel(g) for g in compiled(gradients, xla)(inputs)])


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_float32_has_the_gradient_of_float64_for_a_wide_frame(xla):
    expected = wide_frame_gradients("float64", xla=False)
    actual = wide_frame_gradients("float32", xla)
    # A frame that is orthonormal to 1e-4 only, for 1e-7, is enough for an error of 0.5.
    assert np.linalg.norm(actual - expected) < 1e-3 * np.linalg.norm(expected)


def directional_difference(layer, inputs, states, directions, **options):
    """dL along a direction, by central differences extrapolated to step 0."""
    sources = [*(v.numpy() for v in layer.trainable_variables), inputs, *states]

    def value(step):
        moved = [s + step * d for s, d in zip(sources, directions, strict=True)]
        count = len(layer.trainable_variables)
        for v, new in zip(layer.trainable_variables, moved, strict=False):
            v.assign(new)
        inputs, states = moved[count], moved[count + 1 :]
        return loss(lyapunov_exponents(layer, inputs, initial_state=states, **options))

    def central(h):
        return (value(h) - value(-h)) / (2 * h)

    # (4·C(h) − C(2h)) / 3 has an error of h⁴ ~ 1e-14 times a fifth derivative, and
    # rounding of 1e-15 / h ~ 1e-12.
    return float(4 * central(3e-4) - central(6e-4)) / 3


@pytest.mark.parametrize(
    ("kind", "k"),
    cells(
        [(kind, DIMS[kind] // 2) for kind in KINDS] + [("SimpleRNN", 5), ("GRU", 5)],
        always=["SimpleRNN-5", "GRU-2", "LSTM-4"],
    ),
)
def test_gradients_equal_finite_differences(kind, k):
    layer, inputs, states = problem(kind, time=8)
    options = {"k": k, "warmup": 2}
    gradients = flow_gradients(layer, inputs, states, False, **options)
    rng = np.random.default_rng(11)
    # One direction in all sources together, then one in each of them alone.
    everywhere = [rng.standard_normal(g.shape) for g in gradients]
    choices = [everywhere]
    for i in range(len(gradients)):
        choices.append([d * (i == j) for j, d in enumerate(everywhere)])
    for directions in choices:
        expected = directional_difference(layer, inputs, states, directions, **options)
        # Put the weights back: a difference leaves them moved by its last step.
        for v, w in zip(layer.weights, make_layer(kind).weights, strict=True):
            v.assign(w)
        pairs = list(zip(gradients, directions, strict=True))
        actual = sum(np.sum(g * d) for g, d in pairs)
        scale = sum(np.linalg.norm(g) * np.linalg.norm(d) for g, d in pairs)
        assert abs(actual - expected) < 1e-6 * scale
