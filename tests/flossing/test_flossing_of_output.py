"""Flossing of what is read: the exponents that it moves are those of the output."""

import keras
import numpy as np
import pytest

from keras_floss import Flossing, FlossingModel, lyapunov_exponents
from keras_floss.layers import LyapunovRegularizer

X = np.random.default_rng(0).standard_normal((4, 12, 2)).astype("float32")


class Projected(keras.layers.SimpleRNNCell):
    """A SimpleRNNCell that puts out a projection of its state."""

    def build(self, input_shape):
        super().build(input_shape)
        self.projection = self.add_weight(shape=(self.units, 3), name="projection")

    def call(self, inputs, states, training=False):
        h, new = super().call(inputs, states)
        return h @ self.projection, new


def make_model(rnn, xla):
    keras.utils.set_random_seed(0)
    model = FlossingModel(keras.Sequential([keras.Input((12, 2)), rnn]))
    model.compile("sgd", "mse", jit_compile=xla)
    return model


def mean_exponents(model, **options):
    return np.mean(lyapunov_exponents(model.model.layers[-1], X, **options), axis=0)


@pytest.mark.parametrize(
    ("k", "xla"), [(6, False), pytest.param(2, True, marks=pytest.mark.slow)]
)
def test_an_lstm_is_flossed_as_it_is_read(k, xla):
    model = make_model(keras.layers.LSTM(6, name="lstm"), xla)
    before = mean_exponents(model, k=k, of="output", warmup=2)
    flossing = Flossing(4, k=k, warmup=2, of="output", open_gates=0.0)
    history = model.floss(X, 50, flossing=flossing, brake=False, verbose=0).history
    assert history["lambda_1"][0] == pytest.approx(before[0], abs=1e-5)
    assert history["lambda_k"][0] == pytest.approx(before[-1], abs=1e-5)
    assert history["flossing_loss"][-1] < 0.5 * history["flossing_loss"][0]
    found = model.lyapunov_spectrum(X, k=k, of="output", warmup=2)["lstm"]
    after = mean_exponents(model, k=k, of="output", warmup=2)
    np.testing.assert_allclose(found.mean(axis=0), after, atol=1e-5)


def test_what_only_the_output_depends_on_is_flossed_too():
    model = make_model(keras.layers.RNN(Projected(5)), False)
    rnn = model.model.layers[-1]
    before = [v.numpy() for v in rnn.weights]
    model.floss(X, 1, of="state", brake=False, verbose=0)
    np.testing.assert_array_equal(rnn.weights[-1], before[-1])
    model.floss(X, 1, of="auto", brake=False, verbose=0)
    for old, new in zip(before, rnn.weights, strict=True):
        assert np.any(old != new.numpy())


@pytest.mark.parametrize(("kind", "of"), [("LSTM", "output"), ("GRU", "state")])
def test_auto_is_the_output_where_it_is_not_the_whole_state(kind, of):
    model = make_model(getattr(keras.layers, kind)(4), False)
    spectra = [model.lyapunov_spectrum(X, k=3, of=o).popitem()[1] for o in (of, "auto")]
    np.testing.assert_array_equal(*spectra)


def test_more_exponents_than_the_output_has_variables():
    model = make_model(keras.layers.LSTM(4, name="lstm"), False)
    message = "from 1 to 4, the number of output variables of `lstm`.*: 5"
    with pytest.raises(ValueError, match=message):
        model.lyapunov_spectrum(X, k=5, of="output")
    regularizer = LyapunovRegularizer(
        keras.layers.LSTM(4, name="lstm"), flossing=Flossing(k=5, of="output")
    )
    with pytest.raises(ValueError, match=message):
        regularizer.build((None, 12, 2))
    with pytest.raises(ValueError, match="one of 'auto', 'state', 'output'. Received: 'c'"):
        Flossing(of="c")


@pytest.mark.slow
def test_a_target_for_each_exponent_of_the_output():
    model = make_model(keras.layers.LSTM(4), False)
    flossing = Flossing(k=None, of="output", target=[0.0, 0.0, -0.1, -0.1])
    model.floss(X, 1, flossing=flossing, brake=False, verbose=0)


def test_joint_flossing_in_a_layer():
    layer = LyapunovRegularizer(
        keras.layers.LSTM(4), flossing=Flossing(None, k=3, warmup=0, of="output")
    )
    layer(X, training=True)
    exponents = lyapunov_exponents(layer.layer, X, 3, of="output")
    assert float(layer.losses[0]) == pytest.approx(np.mean(exponents**2), rel=1e-5)
