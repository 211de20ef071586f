"""Depth as time: the exponents of a stack of layers, each with weights of its own."""

import pathlib
import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import central_difference, compiled

import keras_floss
from keras_floss.flow.frame import initial_frame

DEPTH, WIDTH = 6, 4
EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "deep_network.py"


@pytest.fixture(scope="module")
def stack():
    """The example's stack of layers, in float64, with random weights."""
    cell = runpy.run_path(str(EXAMPLE))["StackCell"](DEPTH, WIDTH, dtype="float64")
    layer = keras.layers.RNN(cell, dtype="float64")
    layer.build((None, DEPTH, 1))
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(0.7 * rng.standard_normal(weight.shape))
    return layer


START = np.random.default_rng(1).standard_normal((2, WIDTH))
NUMBERS = np.tile(np.arange(DEPTH, dtype="float64")[:, None], (2, 1, 1))


def exponents(stack):
    return keras_floss.lyapunov_exponents(stack, NUMBERS, initial_state=[START])


@pytest.mark.parametrize("xla", [False, True])
def test_exponents_are_those_of_the_product_of_the_layers_jacobians(stack, xla):
    kernels, biases = (weight.numpy() for weight in stack.weights)
    expected = []
    for state in START:
        frame, total = initial_frame(WIDTH, WIDTH).T, 0.0
        for kernel, bias in zip(kernels, biases, strict=True):
            state = np.tanh(state @ kernel + bias)
            frame, r = np.linalg.qr((1 - state**2)[:, None] * (kernel.T @ frame))
            total += np.log(np.abs(np.diag(r)))
        expected.append(total / DEPTH)
    found = compiled(lambda: exponents(stack), xla)()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("xla", [False, True])
def test_every_layer_has_its_gradient(stack, xla):
    def loss():
        return tf.reduce_sum(exponents(stack) ** 2)

    def gradients():
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, stack.trainable_variables)

    rng = np.random.default_rng(2)
    for variable, gradient in zip(
        stack.trainable_variables, compiled(gradients, xla)(), strict=True
    ):
        for layer in range(DEPTH):
            direction = np.zeros(variable.shape)
            direction[layer] = rng.standard_normal(variable.shape[1:])
            slope = central_difference(lambda: loss().numpy(), variable, direction, h=1e-6)
            assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-6, abs=1e-8)
