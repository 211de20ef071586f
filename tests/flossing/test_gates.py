"""Gates that are opened before flossing."""

import keras
import numpy as np
import pytest

import keras_floss
from keras_floss import Flossing, FlossingModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 30, 2)).astype("float32")


def model_of(*layers):
    keras.utils.set_random_seed(0)
    model = FlossingModel(keras.Sequential([keras.Input((30, 2)), *layers]))
    model.compile(jit_compile=False)
    return model


def biases(layer):
    """The biases of a layer when flossing takes its first step."""
    model = model_of(layer)
    half = Flossing(open_gates=0.5)
    model.flosser.floss(X, 1, half, total=1, callbacks=[Undo(layer)], verbose=0)
    return layer.cell.bias.numpy()


class Undo(keras.callbacks.Callback):
    """Gives a layer the weights back that it has before the first step."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def on_train_begin(self, logs=None):
        self.weights = self.layer.get_weights()

    def on_train_end(self, logs=None):
        self.layer.set_weights(self.weights)


# Evenly over 1 to 29 steps, of which 30 are the window.
REMEMBER = np.log(1 + 28 * np.array([1, 3, 5, 7]) / 8)


@pytest.mark.parametrize(
    "kind",
    [
        keras.layers.LSTM,
        pytest.param(keras_floss.layers.HDetachLSTM, marks=pytest.mark.slow),
    ],
)
def test_half_of_the_units_of_an_lstm_forget_and_let_in_slowly(kind):
    i, f, c, o = biases(kind(8)).reshape(4, 8)
    np.testing.assert_allclose(f, [*REMEMBER, 1, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(i, [*-REMEMBER, 0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal([c, o], 0)


@pytest.mark.parametrize("reset_after", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_half_of_the_units_of_a_gru_keep_what_they_have(reset_after):
    bias = biases(keras.layers.GRU(8, reset_after=reset_after)).reshape(-1, 8)
    np.testing.assert_allclose(bias[0], [*REMEMBER, 0, 0, 0, 0], rtol=1e-6)
    assert not bias[1:].any()


def test_a_unit_that_was_opened_remembers_for_its_time():
    """After one step there is left 1 − 1/(1 + τ), the sigmoid of log(τ)."""
    gru = keras.layers.GRU(8, kernel_initializer="zeros", recurrent_initializer="zeros")
    model_of(gru)
    gru.cell.bias.assign(biases(keras.layers.GRU(8)))
    log_left = keras_floss.jacobian_singular_values(gru, X[:1], horizon=1, k=8)
    left = np.exp(np.asarray(log_left).reshape(-1)[:4])
    np.testing.assert_allclose(left, 1 - 1 / (1 + np.exp(REMEMBER[::-1])), rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LSTM(4, bias_initializer="ones"),
        pytest.param(
            keras.layers.GRU(4, bias_initializer=keras_floss.initializers.Chrono(4, 30)),
            marks=pytest.mark.slow,
        ),
        pytest.param(keras.layers.LSTM(4, use_bias=False), marks=pytest.mark.slow),
        keras.layers.SimpleRNN(4),
    ],
    ids=["biases of the user", "chrono", "no bias", "no gates"],
)
def test_other_layers_are_left_alone(layer):
    model = model_of(layer)
    before = [np.array(w) for w in layer.get_weights()]
    settings = {"total": 1, "callbacks": [Undo(layer)], "verbose": 0}
    history = model.flosser.floss(X, 1, Flossing(input_drive=0.0), **settings)
    assert not history.opened
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_frozen_biases_and_a_share_of_0_open_nothing():
    lstm = keras.layers.LSTM(4)
    model = model_of(lstm)
    assert not model.floss(X, 1, open_gates=0.0, verbose=0).opened
    lstm = keras.layers.LSTM(4)
    model = model_of(lstm)
    lstm.cell.bias.trainable = False
    assert not model.floss(X, 1, verbose=0).opened


# Half of the units, and three for every ten of the 30 steps, if there are so many.
@pytest.mark.parametrize(("units", "opened"), [(4, 4), (9, 9), (12, 9), (24, 12)])
def test_how_many_are_opened_goes_by_the_units_and_the_window(units, opened):
    layer = keras.layers.GRU(units, name="rnn")
    assert model_of(layer).floss(X, 1, k=1, verbose=0).opened == {"rnn": opened}


def test_it_is_done_once_and_said():
    model = model_of(
        keras.layers.LSTM(8, return_sequences=True, name="a"), keras.layers.GRU(4, name="b")
    )
    history = model.floss(X, 2, open_gates=0.5, verbose=0)
    assert history.opened == {"a": 4, "b": 2}
    assert history.message.endswith(
        " The gates of 4 units of a were opened. The gates of 2 units of b were opened."
    )
    assert not model.floss(X, 1, verbose=0).opened


def test_gates_are_not_opened_in_the_middle_of_training():
    model = model_of(keras.layers.LSTM(4))
    assert not model.flosser.floss(X, 1, Flossing(), verbose=0).opened


@pytest.mark.parametrize("share", [-0.1, 1.1, "half"])
def test_a_share_is_a_number_from_0_to_1(share):
    with pytest.raises(ValueError, match="`open_gates` must be .* from 0 to 1"):
        Flossing(open_gates=share)
