"""Units whose step has no derivative: exponents of the surrogates that stand in for it."""

import numpy as np
import pytest
import tensorflow as tf
from reference import compiled, make_inputs, unrolled_exponents

import keras_floss
from keras_floss.flow.frame import initial_frame

UNITS, TIME = 5, 6
INPUTS = make_inputs(2, TIME)
STATES = [np.random.default_rng(3).standard_normal((2, UNITS))]


@tf.custom_gradient
def binary(x):
    """On or off, with the surrogate derivative 1 / (1 + |x|)²."""
    return tf.cast(x > 0, x.dtype), lambda d: d / (1 + tf.abs(x)) ** 2


@pytest.fixture(scope="module")
def layer():
    layer = keras_floss.layers.RateRNN(UNITS, binary, dtype="float64")
    layer.build((None, None, INPUTS.shape[-1]))
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.standard_normal(weight.shape))
    return layer


@pytest.mark.parametrize("xla", [False, True])
def test_exponents_are_those_of_the_surrogate_jacobians(layer, xla):
    kernel, recurrent, bias = (weight.numpy() for weight in layer.weights)
    expected = []
    for sequence, state in zip(INPUTS, *STATES, strict=True):
        frame, total = initial_frame(UNITS, UNITS).T, 0.0
        for x in sequence:
            jacobian = recurrent.T / (1 + np.abs(state)) ** 2
            state = (state > 0) @ recurrent + x @ kernel + bias
            frame, r = np.linalg.qr(jacobian @ frame)
            total += np.log(np.abs(np.diag(r)))
        expected.append(total / TIME)
    found = compiled(
        lambda: keras_floss.lyapunov_exponents(layer, INPUTS, initial_state=STATES), xla
    )()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("xla", [False, True])
def test_their_gradient_goes_through_the_surrogates_too(layer, xla):
    """As that of the unrolled loop does, by TensorFlow's own adjoint of QR."""

    def gradients(exponents):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(exponents()[:, :3] ** 2)
        return tape.gradient(value, layer.trainable_variables)

    states = [tf.constant(STATES[0])]
    found = compiled(
        lambda: gradients(
            lambda: keras_floss.lyapunov_exponents(layer, INPUTS, 3, initial_state=states)
        ),
        xla,
    )()
    expected = gradients(lambda: unrolled_exponents(layer.cell, INPUTS, states, 3))
    for a, e in zip(found, expected, strict=True):
        largest = np.max(np.abs(e))
        assert largest > 1e-4
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-8 * largest)
