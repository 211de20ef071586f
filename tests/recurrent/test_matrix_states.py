"""States of any shape have the spectrum of the same numbers in a vector."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import FlossingModel, condition_number, gradient_norms, lyapunov_exponents

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 2)).astype("float32")
Y = RNG.normal(size=(2, 3)).astype("float32")
ops = keras.ops


class Matrix(keras.Layer):
    """A vector and a matrix that act on each other: a fast-weights network."""

    shape = (2, 3)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.state_size = [3, self.shape]
        self.output_size = 3

    def build(self, shape):
        self.k = self.add_weight(shape=(shape[-1], 3), initializer="normal")
        self.r = self.add_weight(shape=(2, 3), initializer="normal")

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, 3)), ops.zeros((batch_size, *self.shape))]

    def call(self, x, states):
        v, m = states
        m = ops.reshape(m, (-1, 2, 3))
        v = ops.tanh(x @ self.k + ops.sum(m * self.r, axis=1))
        m = 0.9 * m + v[:, None] * self.r
        return v, [v, ops.reshape(m, (-1, *self.shape))]


class Flat(Matrix):
    shape = (6,)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.state_size = [3, 6]


@pytest.fixture
def layers():
    keras.utils.set_random_seed(0)
    result = [keras.layers.RNN(cell(), name="rnn") for cell in (Matrix, Flat)]
    for layer in result:
        layer.build(X.shape)
    result[1].set_weights(result[0].get_weights())
    return result


def same(pair):
    # Two float32 traces of the same arithmetic.
    np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_exponents_and_their_gradient(layers, jit_compile):
    mask = np.arange(8) < np.array([[8], [5]])

    def both(layer, x, state):
        with tf.GradientTape() as tape:
            tape.watch((x, state))
            e = lyapunov_exponents(layer, x, 4, initial_state=state, mask=mask)
        return e, *tape.gradient(e, (x, layer.cell.r.value))

    start = RNG.normal(size=(2, 6)).astype("float32")
    results = [
        tf.function(both, jit_compile=jit_compile)(
            layer,
            tf.constant(X),
            [tf.ones((2, 3)), tf.reshape(start, (2, *layer.cell.shape))],
        )
        for layer in layers
    ]
    for pair in zip(*results, strict=True):
        same(pair)


@pytest.mark.slow
def test_models_condition_numbers_and_gradients(layers):
    found = []
    for layer in layers:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((8, 2))
        model = FlossingModel(keras.Model(inputs, layer(inputs)))
        model.compile("adam", "mse")
        found.append(
            [
                model.lyapunov_spectrum(X)["rnn"][:, :4],
                gradient_norms(model, X, Y)["rnn"].norms,
                condition_number(layer, X, [1, 4], 3).log_measured,
                model.floss(X[:1], 2, k=3, verbose=0).history["flossing_loss"],
            ]
        )
    for pair in zip(*found, strict=True):
        same(pair)


def test_a_state_of_another_shape_is_an_error(layers):
    state = [np.zeros((2, 3)), np.zeros((2, 3, 2))]
    with pytest.raises(ValueError, match="`initial_state` of `rnn`"):
        lyapunov_exponents(layers[0], X, initial_state=state)
