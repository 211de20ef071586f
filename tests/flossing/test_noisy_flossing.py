"""Flossing of layers whose cells draw random numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells

import keras_floss


class NoisyCell(keras.layers.SimpleRNNCell):
    def call(self, inputs, states, training=False):
        output, _ = super().call(inputs, states, training=training)
        output += 0.5 * keras.random.normal(keras.ops.shape(output), dtype=output.dtype)
        return output, [output]


X = np.random.default_rng(0).standard_normal((1, 20, 2)).astype("float32")
Y = np.zeros((1, 1), "float32")


def make_model(wrap=lambda rnn: rnn):
    # A layer is built before it is used, and not by its first draws.
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 2))
    rnn = keras.layers.RNN(NoisyCell(4), name="rnn")
    return keras.Model(inputs, keras.layers.Dense(1)(wrap(rnn)(inputs)))


def flossed(jit_compile, steps=4, **settings):
    """The losses of flossing steps that change nothing."""
    model = keras_floss.FlossingModel(make_model())
    still = keras.optimizers.SGD(0.0)
    model.compile("sgd", "mse", flossing_optimizer=still, jit_compile=jit_compile)
    settings = {"window": 20, "warmup": 0, "verbose": 0, **settings}
    return model.floss(X, steps=steps, **settings).history["flossing_loss"]


@pytest.mark.parametrize("jit_compile", cells(MODES, always=["graph"]))
def test_noise_is_another_at_each_flossing_step_and_that_of_the_seed(jit_compile):
    losses = flossed(jit_compile)
    assert len(set(np.round(losses, 3))) == 4
    np.testing.assert_allclose(flossed(jit_compile), losses, rtol=1e-5)


@pytest.mark.slow
def test_a_pass_that_is_repeated_with_a_shorter_interval_has_the_same_noise():
    fixed, auto = flossed(False, steps=6), flossed(False, steps=6, qr_interval="auto")
    np.testing.assert_allclose(auto, fixed, rtol=1e-3)


@pytest.mark.parametrize(
    "way", [pytest.param("joint", marks=pytest.mark.slow), "regularizer"]
)
def test_noise_is_another_at_each_training_step(way):
    if way == "joint":
        model = keras_floss.FlossingModel(make_model(), strength=1.0)
    else:
        model = make_model(keras_floss.LyapunovRegularizer)
    model.compile(keras.optimizers.SGD(0.0), lambda y, output: 0.0 * output)
    losses = model.fit(X, Y, epochs=4, verbose=0).history["loss"]
    assert len(set(np.round(losses, 4))) == 4


def test_a_spectrum_of_a_noisy_model_is_the_same_at_each_look():
    model = keras_floss.FlossingModel(make_model())
    model.compile("sgd", "mse")
    rnn = model.model.get_layer("rnn")
    first, second = (model.lyapunov_spectrum(X)["rnn"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, keras_floss.lyapunov_exponents(rnn, X), rtol=1e-4)


def test_gradient_norms_of_a_noisy_model_are_those_along_one_trajectory():
    model = make_model()
    model.compile("sgd", lambda y, output: tf.reduce_sum(output, axis=-1))
    look = keras_floss.gradient_norms(model, X, Y)["rnn"]
    # The loss is linear, so that the gradient at the last step is the read-out.
    readout = model.layers[-1].kernel.numpy()
    np.testing.assert_allclose(look.norms[-1], np.linalg.norm(readout), rtol=1e-5)
    np.testing.assert_array_equal(
        look.norms, keras_floss.gradient_norms(model, X, Y)["rnn"].norms
    )
