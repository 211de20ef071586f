"""The networks of the command line that have no recurrent layer."""

import keras
import numpy as np
import pytest

from keras_floss.experiments import Configuration, run
from keras_floss.experiments.network import build
from keras_floss.experiments.other_networks import OTHER_NETWORKS, LinearRecurrentUnit
from keras_floss_command.main import main

SMALL = {"units": 8, "batch_size": 4, "length": 20, "delay": 3, "updates": 20}


def test_the_linear_recurrent_unit_is_a_recursion():
    keras.utils.set_random_seed(0)
    unit = LinearRecurrentUnit(5)
    x = keras.random.normal((2, 30, 3))
    outputs = np.array(unit(x))
    decay, phase, gamma, b, c, d = (np.array(w, "float64") for w in unit.weights)
    eigenvalues = np.exp(-np.exp(decay) + 1j * np.exp(phase))
    assert np.all((np.abs(eigenvalues) > 0.9) & (np.abs(eigenvalues) < 0.999))
    # So that the states of white noise have a variance of one.
    np.testing.assert_allclose(np.exp(gamma) ** 2, 1 - np.abs(eigenvalues) ** 2, rtol=1e-4)
    states = np.zeros((2, 5), complex)
    for t in range(30):
        now = np.array(x[:, t], "float64")
        states = eigenvalues * states + np.exp(gamma) * (now @ (b[0] + 1j * b[1]))
        expected = (states @ (c[0] + 1j * c[1])).real + d * now
        np.testing.assert_allclose(outputs[:, t], expected, atol=1e-5)


@pytest.mark.parametrize("network", OTHER_NETWORKS)
def test_each_looks_back_over_the_whole_sequence_and_not_ahead(network):
    model = build(Configuration.of(network=network, flossing="none", **SMALL))
    x = np.random.default_rng(0).standard_normal((1, 20, 1)).astype("float32")
    before = np.array(model(x))[0, :, 0]
    x[0, 0] += 1
    assert np.all(np.array(model(x))[0, :, 0] != before)  # a first step, heard to the last
    x[0, 0] -= 1
    x[0, 12] += 1
    changed = np.abs(np.array(model(x))[0, :, 0] - before) > 1e-5
    assert not changed[:12].any()
    assert changed[12:].any()


@pytest.mark.parametrize("network", OTHER_NETWORKS)
def test_each_is_trained_and_has_no_spectrum(network, capsys):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    assert main(["train", f"--network={network}", "--flossing=none", *flags]) == 0
    said = capsys.readouterr().out
    assert "accuracy" in said
    assert "λ" not in said


@pytest.mark.slow
@pytest.mark.parametrize("network", OTHER_NETWORKS)
def test_each_learns_a_delay(network):
    knobs = {**SMALL, "units": 16, "batch_size": 16, "updates": 400, "clipnorm": 1.0}
    configuration = Configuration.of(network=network, flossing="none", **knobs)
    assert run(configuration, verbose=0).measure > 0.95
