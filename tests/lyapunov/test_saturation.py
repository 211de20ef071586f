"""Saturated units: float32 knows the derivatives as well as float64 does."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import (
    FEATURES,
    compiled,
    make_inputs,
    make_layer,
    numpy_exponents,
    sigmoid,
    simple_rnn_step,
)

from keras_floss import layers as floss_layers
from keras_floss import lyapunov_exponents
from keras_floss.flow.frame import initial_frame
from keras_floss.flow.loss import flossing_loss
from keras_floss.recurrent.activations import sigmoid as precise_sigmoid
from keras_floss.recurrent.activations import tanh as precise_tanh


def build(kind, dtype, activation="tanh"):
    options = {"dtype": dtype}
    if kind == "stacked":
        cells = [keras.layers.LSTMCell(3, **options), keras.layers.GRUCell(4, **options)]
        cell = keras.layers.StackedRNNCells(cells, **options)
        layer = keras.layers.RNN(cell, **options)
    elif kind == "RateRNN":
        layer = floss_layers.RateRNN(5, **options)
    else:
        units = 4 if kind == "LSTM" else 5
        layer = getattr(keras.layers, kind)(units, activation=activation, **options)
    layer.build((None, None, FEATURES))
    return layer


def biases(shape, rng, size):
    """Biases that saturate every unit, to one side or the other."""
    signs = rng.choice([-1.0, 1.0], shape)
    if len(shape) == 2:  # GRU: z is shut, or z·I would be all there is to see
        gates = np.array([-3.0 * size, size, size])
        signs[:, : shape[1] // 3] = 1.0
        signs[1] = 0.0
        return signs * np.repeat(gates, shape[1] // 3)
    if shape[0] % 4 == 0:  # LSTM: i and o are open, f is shut
        gates = np.array([1.4 * size, -3.0 * size, size, 1.4 * size])
        units = shape[0] // 4
        signs[: 2 * units] = signs[3 * units :] = 1.0
        return signs * np.repeat(gates, units)
    return signs * size


def saturated(kind, dtype, size=10.0, **options):
    """A layer whose pre-activations are about ±size; the same weights in any dtype."""
    layer = build(kind, dtype, **options)
    rng = np.random.default_rng(0)
    for v in layer.weights:
        value = 0.6 * rng.standard_normal(v.shape)
        if "bias" in v.name:
            value = biases(v.shape, rng, size)
        v.assign(value.astype("float32"))
    return layer


INPUTS = make_inputs(2, 8).astype("float32")
K = 3  # the gates of an LSTM and a GRU differ by more than float32 spans


@functools.cache
def wide_exponents(kind):
    return lyapunov_exponents(saturated(kind, "float64"), INPUTS, K).numpy()


@pytest.mark.parametrize(
    "kind",
    [
        "SimpleRNN",
        "RateRNN",
        "GRU",
        "LSTM",
        pytest.param("stacked", marks=pytest.mark.slow),
    ],
)
def test_float32_has_the_exponents_of_float64(kind):
    expected = wide_exponents(kind)
    assert expected.max() < -6  # everything is saturated
    exponents = lyapunov_exponents(saturated(kind, "float32"), INPUTS, K)
    # A pre-activation of 10 is rounded by 1e-6, R by 1e-7 times a condition of 1e2: next
    # to nothing in exponents of 10.
    np.testing.assert_allclose(exponents, expected, rtol=1e-4)


def loss_gradients(layer, xla=False):
    def gradients(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            exponents = lyapunov_exponents(layer, inputs, K)
            loss = flossing_loss(exponents, tf.ones(2, tf.int32))
        return tape.gradient(loss, [*layer.trainable_variables, inputs])

    inputs = tf.cast(INPUTS, layer.weights[0].dtype)
    return compiled(gradients, xla)(inputs)


@pytest.mark.parametrize(
    ("kind", "xla"),
    cells(
        ["SimpleRNN", "RateRNN", "GRU", "LSTM"], MODES, always=["SimpleRNN-*", "LSTM-graph"]
    ),
)
def test_float32_has_the_gradient_of_float64(kind, xla):
    actual = loss_gradients(saturated(kind, "float32"), xla)
    expected = loss_gradients(saturated(kind, "float64"))
    for a, e in zip(actual, expected, strict=True):
        largest = np.abs(e).max()
        assert largest > 1e-3
        # As above; the sums over steps in the adjoint cost a digit.
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-3 * largest)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "stacked"])
def test_gated_layers_equal_the_definition(kind):
    layer = saturated(kind, "float64")
    expected = numpy_exponents(layer.cell, INPUTS.astype("float64"), k=K)
    # The reference takes 1 − y² of a y that is rounded to 1e-16: of 8e-9 at 10, a
    # relative error of 1e-8, and of 1e-6 where the pre-activation is 12.
    np.testing.assert_allclose(wide_exponents(kind), expected, rtol=1e-6)


def slope(activation, a):
    """The derivative from the pre-activation, right to rounding however large that is."""
    if activation == "tanh":
        return np.cosh(a) ** -2.0
    return sigmoid(a) * sigmoid(-a)


def stable_exponents(layer, activation, inputs):
    """All exponents of a SimpleRNN from zeros, by the definition."""
    kernel, recurrent, bias = (v.numpy() for v in layer.weights)
    value = {"tanh": np.tanh, "sigmoid": sigmoid}[activation]
    result = []
    for sequence in inputs:
        dim = len(recurrent)
        state, frame, total = np.zeros(dim), initial_frame(dim, dim).T, 0.0
        for x in sequence:
            a = x @ kernel + state @ recurrent + bias
            state = value(a)
            frame, r = np.linalg.qr(slope(activation, a)[:, None] * recurrent.T @ frame)
            total += np.log(np.abs(np.diag(r)))
        result.append(total / len(sequence))
    return np.array(result)


# At these the value is 1 or −1 (0 and 1) to the last digit of float64.
@pytest.mark.parametrize(
    ("activation", "size"), [("tanh", 24.0), ("sigmoid", 45.0), ("tanh", 100.0)]
)
def test_float64_is_right_where_every_value_is_rounded_to_one(activation, size):
    layer = saturated("SimpleRNN", "float64", size, activation=activation)
    inputs = INPUTS.astype("float64")
    expected = stable_exponents(layer, activation, inputs)
    assert np.abs(expected).min() > size - 10
    # A pre-activation of 100 is rounded by 1e-14.
    np.testing.assert_allclose(lyapunov_exponents(layer, inputs), expected, rtol=1e-10)


def test_the_definition_written_stably_is_the_reference_where_that_is_right():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(2, 8)
    actual = stable_exponents(layer, "tanh", inputs)
    np.testing.assert_allclose(actual, numpy_exponents(layer.cell, inputs), atol=1e-10)
    # And is not where 1 − y² is 0.
    layer = saturated("SimpleRNN", "float64", 24.0)
    _, jacobian, _ = simple_rnn_step(layer.cell)(inputs[0, 0], np.zeros(5))
    assert np.abs(jacobian).min() == 0


@pytest.mark.parametrize("activation", ["tanh", keras.ops.tanh, tf.tanh])
def test_every_name_of_tanh_will_do(activation):
    layer = saturated("SimpleRNN", "float32", activation=activation)
    exponents = lyapunov_exponents(layer, INPUTS, K)
    np.testing.assert_allclose(exponents, wide_exponents("SimpleRNN"), rtol=1e-4)


# Tangents of 1e-25 and 1e-35: float32 holds them, but not their squares.
@pytest.mark.parametrize("size", [30.0, 40.0])
def test_float32_is_right_until_the_derivative_underflows(size):
    wide, narrow = (saturated("SimpleRNN", d, size) for d in ("float64", "float32"))
    expected = lyapunov_exponents(wide, INPUTS, K)
    assert -2 * size < np.min(expected) < 10 - 2 * size
    np.testing.assert_allclose(lyapunov_exponents(narrow, INPUTS, K), expected, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_tangents_may_shrink_or_grow_by_much_between_two_qrs(scale):
    # scale^20, far from where float32 ends, and all singular values within 1.5.
    rng = np.random.default_rng(0)
    rotation, other = (np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(2))
    kernel = scale * rotation @ np.diag([1.0, 0.99, 0.98]) @ other
    layer = keras.layers.SimpleRNN(3, activation="linear", dtype="float32")
    layer.build((None, None, FEATURES))
    layer.weights[1].assign(kernel)
    inputs = np.zeros((1, 40, FEATURES))
    # The QR at every step is right: 40 roundings of 1e-7.
    expected = lyapunov_exponents(layer, inputs)
    assert abs(np.sum(expected) - np.linalg.slogdet(kernel)[1]) < 1e-5
    exponents = lyapunov_exponents(layer, inputs, qr_interval=20)
    np.testing.assert_allclose(exponents, expected, atol=1e-5)


# What a call leaves behind


def functions_of(layer):
    cells = getattr(layer.cell, "cells", [layer.cell])
    names = ("activation", "recurrent_activation")
    return [getattr(c, n) for c in cells for n in names if hasattr(c, n)]


def test_a_layer_is_after_a_call_what_it_was_before():
    layer = saturated("stacked", "float32")
    output, functions = layer(INPUTS), functions_of(layer)
    assert functions == 2 * [keras.activations.tanh, keras.activations.sigmoid]
    lyapunov_exponents(layer, INPUTS, K)
    for before, after in zip(functions, functions_of(layer), strict=True):
        assert before is after
    np.testing.assert_array_equal(layer(INPUTS), output)


def test_a_layer_is_after_an_error_what_it_was_before():
    class Broken(keras.layers.GRUCell):
        def call(self, inputs, states, training=False):
            super().call(inputs, states, training=training)
            raise RuntimeError("broken")

    layer = keras.layers.RNN(Broken(3))
    for function in (lyapunov_exponents, lambda *a: compiled(lyapunov_exponents, 0)(*a)):
        with pytest.raises(RuntimeError, match="broken"):
            function(layer, INPUTS)
        tanh, gate = functions_of(layer)
        assert tanh is keras.activations.tanh
        assert gate is keras.activations.sigmoid


def test_an_activation_of_its_own_is_left_alone():
    calls = []

    def activation(x):
        calls.append(x)
        return tf.tanh(x)

    layer = saturated("SimpleRNN", "float64", 1.0, activation=activation)
    plain = saturated("SimpleRNN", "float64", 1.0)
    # Derivatives of about 0.4, which 1 − y² has to rounding.
    np.testing.assert_allclose(
        lyapunov_exponents(layer, INPUTS), lyapunov_exponents(plain, INPUTS), atol=1e-10
    )
    assert calls


# The functions


def derivatives(function, xla):
    def both(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = function(x)
            first = inner.gradient(y, x)
        return y, first, outer.gradient(first, x)

    return compiled(both, xla)


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize(
    ("function", "plain", "numpy"),
    [
        (precise_tanh, tf.tanh, lambda x: (slope("tanh", x), -2 * np.tanh(x))),
        (precise_sigmoid, tf.sigmoid, lambda x: (slope("", x), -np.tanh(x / 2))),
    ],
    ids=["tanh", "sigmoid"],
)
def test_derivatives_of_the_functions(function, plain, numpy, xla):
    x = np.linspace(-30, 30, 481, dtype="float32")
    y, first, second = (t.numpy() for t in derivatives(function, xla)(tf.constant(x)))
    np.testing.assert_array_equal(y, compiled(plain, xla)(tf.constant(x)))
    slopes, ratio = numpy(x.astype("float64"))  # f'' = f' times a ratio of order 1
    np.testing.assert_allclose(first, slopes, rtol=1e-5)
    # f'' is a difference, which is 0 at 0: to rounding of what is subtracted.
    np.testing.assert_allclose(second / slopes, ratio, atol=1e-5)
