"""The learning rate and the momentum of the default flossing optimiser."""

import types

import keras
import numpy as np
import pytest

from keras_floss import FlossingModel
from keras_floss.flossing.flossing_optimizer import Settling
from keras_floss.layers import RateRNN

PLAIN, GATED, LSTM = (
    {"layer": kind(2)}
    for kind in (keras.layers.SimpleRNN, keras.layers.GRU, keras.layers.LSTM)
)


def rates(layers, losses, steps=10**6, done=0):
    """The learning rate of each step, of which the losses are given."""
    optimizer = keras.optimizers.Lamb()
    settling = Settling(layers, steps, done)
    settling.set_model(types.SimpleNamespace(optimizer=optimizer, steps_per_execution=1))
    found = []
    for batch, loss in enumerate(losses):
        settling.on_train_batch_begin(batch)
        found.append(float(optimizer.learning_rate))
        settling.on_train_batch_end(batch, {"flossing_loss": loss})
    return found


def test_far_from_flossed_the_rate_falls_with_the_distance():
    found = rates(PLAIN, [1.0, 0.5, 0.3, 0.03, 0.003, float("nan"), 0.0])
    assert found[0] == pytest.approx(0.03)
    # Three times the rate down to a loss of 0.3, and as its root from there.
    expected = [0.09, 0.09, 0.09, 0.09 * 0.1**0.5, 0.09 * 0.1, 0.09 * 0.1]
    assert found[1:] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("layers", "losses"), [(PLAIN, [0.019, 0.5, 1e-4]), (GATED, [1.0, 0.5, 1e-4])]
)
def test_nearly_flossed_or_gated_it_does_not(layers, losses):
    assert rates(layers, losses) == pytest.approx([0.03] * 3, rel=1e-4)


def test_an_lstm_has_half_of_it():
    assert rates(LSTM, [1.0, 0.5]) == pytest.approx([0.015] * 2, rel=1e-4)


def test_it_falls_over_the_steps():
    found = rates(PLAIN, [0.01] * 100, steps=100)
    assert all(a >= b for a, b in zip(found, found[1:], strict=False))
    assert found[-1] < 0.001


def test_after_an_interruption_it_goes_by_the_distance():
    assert rates(PLAIN, [0.003, 0.003], done=10)[1] == pytest.approx(0.009, rel=1e-4)


def test_during_training_it_is_small():
    assert rates(PLAIN, [1.0, 1.0], steps=None) == pytest.approx([6e-4] * 2)


@pytest.mark.parametrize(
    ("layer", "momentum"),
    [(RateRNN(2), 0.7), (keras.layers.SimpleRNN(2), 0.7), (keras.layers.GRU(2), 0.9)],
)
def test_layers_without_gates_have_less_momentum(layer, momentum):
    model = FlossingModel(keras.Sequential([keras.Input((5, 1)), layer]))
    model.compile(jit_compile=False)
    model.floss(keras.random.normal((4, 5, 1)), 1, verbose=0)
    assert model.flossing_optimizer.beta_1 == momentum


def test_the_momentum_of_a_given_optimiser_stays():
    layer = keras.layers.SimpleRNN(2)
    model = FlossingModel(keras.Sequential([keras.Input((5, 1)), layer]))
    model.compile(flossing_optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    model.floss(keras.random.normal((4, 5, 1)), 1, verbose=0)
    assert model.flossing_optimizer.beta_1 == 0.9


def test_where_it_rises_it_goes_back_to_the_least_more_slowly():
    layer = keras.layers.SimpleRNN(1)
    layer.build((1, None, 1))
    optimizer = keras.optimizers.Lamb()
    settling = Settling({"layer": layer}, None)
    settling.set_model(types.SimpleNamespace(optimizer=optimizer, steps_per_execution=1))
    rates, kernels = [], []
    # The mean of three is least at 0.03, the fifth step, and 0.05 at the seventh.
    for batch, loss in enumerate([0.09, 0.05, 0.03, 0.03, 0.03, 0.05, 0.07, 0.01, 0.3]):
        settling.on_train_batch_begin(batch)
        rates.append(float(optimizer.learning_rate))
        layer.cell.recurrent_kernel.assign([[batch]])
        settling.on_train_batch_end(batch, {"flossing_loss": loss})
        kernels.append(float(layer.cell.recurrent_kernel[0, 0]))
    assert kernels == [0, 1, 2, 3, 4, 5, 4, 7, 8]
    assert rates == pytest.approx([6e-4] * 7 + [3e-4] * 2)


def test_part_of_a_chaotic_spectrum_gets_nearer():
    """Half of the exponents of a chaotic network: the loss was twice as large then."""
    keras.utils.set_random_seed(0)
    normal = keras.initializers.RandomNormal(stddev=2 / 40**0.5)
    rnn = RateRNN(40, recurrent_initializer=normal, return_sequences=True)
    model = FlossingModel(keras.Sequential([keras.Input((60, 1)), rnn]), flossing=None)
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).standard_normal((32, 60, 1)).astype("float32")
    losses = model.floss(x, 60, k=20, seed=0, verbose=0).history["flossing_loss"]
    assert np.mean(losses[-10:]) < np.mean(losses[:3])
