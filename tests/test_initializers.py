"""Chrono biases, in the layers that they are for."""

import keras
import numpy as np
import pytest

from keras_floss.initializers import Chrono
from keras_floss.layers import GRU, LSTM, HDetachLSTM

UNITS, LONGEST = 500, 101
LSTMS, GRUS = (keras.layers.LSTM, LSTM, HDetachLSTM), (keras.layers.GRU, GRU)


def layer_of(kind, seed=0, units=UNITS, **options):
    """A built layer with chrono biases."""
    if kind in LSTMS:
        options = {"unit_forget_bias": False, **options}
    chrono = Chrono(units, LONGEST, seed)
    layer = kind(units, bias_initializer=chrono, return_sequences=True, **options)
    layer.build((None, None, 1))
    return layer


def check_times(bias):
    """exp(b) is uniform from 1 to the longest delay − 1: Kolmogorov and Smirnov's test."""
    times = np.sort(np.exp(bias))
    assert times[0] >= 1
    assert times[-1] <= LONGEST - 1
    distances = (times - 1) / (LONGEST - 2) - (np.arange(UNITS) + 0.5) / UNITS
    assert np.abs(distances).max() < 1.63 / np.sqrt(UNITS)  # exceeded once in a hundred


@pytest.mark.parametrize("kind", LSTMS)
def test_an_lstm_remembers_for_times_up_to_the_longest_delay(kind):
    i, f, c, o = np.split(layer_of(kind).cell.bias.numpy(), 4)
    check_times(f)
    np.testing.assert_array_equal(i, -f)
    assert not np.any([c, o])


@pytest.mark.parametrize("kind", GRUS)
@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_remembers_for_times_up_to_the_longest_delay(kind, reset_after):
    bias = layer_of(kind, reset_after=reset_after).cell.bias.numpy()
    bias = bias.sum(axis=0) if reset_after else bias
    z, r, h = np.split(bias, 3)
    check_times(z)
    assert not np.any([r, h])


@pytest.mark.parametrize("kind", [keras.layers.LSTM, keras.layers.GRU])
def test_the_gate_that_is_meant_is_the_one_that_remembers(kind):
    """A state decays by sigmoid(b) = u / (1 + u) a step, with no other weights."""
    layer = layer_of(kind, units=8)
    kernel, recurrent, bias = layer.get_weights()
    layer.set_weights([0 * kernel, 0 * recurrent, bias])
    bias = np.reshape(bias, (-1, 8))[1 if kind is keras.layers.LSTM else 0]
    old = np.linspace(0.1, 1.0, 8, dtype="float32")[None]
    _, new = layer.cell(np.zeros((1, 1), "float32"), [old, old])
    decayed = old / (1 + np.exp(-bias))
    np.testing.assert_allclose(new[-1], decayed, rtol=1e-5)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(keras.layers.LSTM, marks=pytest.mark.slow),
        HDetachLSTM,
        keras.layers.GRU,
    ],
)
def test_a_layer_is_saved_and_trains_on(kind, tmp_path):
    layer = layer_of(kind, units=4)
    model = keras.Sequential([keras.Input((None, 1)), layer])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    initializer = loaded.layers[0].cell.bias_initializer
    assert isinstance(initializer, Chrono)
    assert initializer.get_config() == {"units": 4, "max_delay": LONGEST, "seed": 0}
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    loaded.compile("adam", "mse")
    x = np.ones((2, 5, 1), "float32")
    loaded.fit(x, np.zeros((2, 5, 4), "float32"), verbose=0)
    assert np.any(loaded.get_weights()[2] != model.get_weights()[2])


def test_the_seed_decides():
    (first, again, other) = (
        Chrono(UNITS, LONGEST, seed)((4 * UNITS,)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    both = keras.layers.Bidirectional(
        keras.layers.LSTM(
            4, unit_forget_bias=False, bias_initializer=Chrono(4, LONGEST, seed=1)
        )
    )
    both.build((None, None, 1))
    assert np.all(both.backward_layer.cell.bias.numpy()[8:] == 0)


@pytest.mark.parametrize("kind", LSTMS)
def test_keras_own_forget_bias_must_be_off(kind):
    """64 units ask for 64 biases, which would do as those of 16."""
    with pytest.raises(ValueError, match=r"unit_forget_bias=False.*shape=\(64,\)"):
        layer_of(kind, units=64, unit_forget_bias=True)


@pytest.mark.parametrize("shape", [(4,), (4, 4), (3, 12), (17,), ()])
def test_what_is_no_bias_of_so_many_units_is_said(shape):
    with pytest.raises(ValueError, match=r"LSTM or a GRU of 4 units"):
        Chrono(4, LONGEST)(shape)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("units", (0, 9)), ("max_delay", (4, 1)), ("max_delay", (4, 9.5))],
)
def test_settings_out_of_range_are_named(name, settings):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least"):
        Chrono(*settings)
