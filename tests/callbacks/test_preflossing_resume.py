"""Preflossing that is done is not done again."""

import keras
import numpy as np
import pytest

import keras_floss
from keras_floss.callbacks import Preflossing

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 12, 2)).astype("float32")
Y = RNG.standard_normal((8, 1)).astype("float32")


def make_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(4)(inputs))
    model = keras_floss.FlossingModel(inputs, outputs)
    model.compile("adam", "mse")
    return model


def fit(model, folder, *callbacks):
    """Three epochs, each on all data at once, with a backup after each."""
    preflossing = Preflossing(X, steps=5, seed=1)
    backup = keras.callbacks.BackupAndRestore(folder)
    model.fit(
        X,
        Y,
        batch_size=8,
        epochs=3,
        verbose=0,
        callbacks=[preflossing, backup, *callbacks],
    )
    return preflossing


class Killed(Exception):
    pass


class KillInEpoch(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Killed


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_without_flossing_again(tmp_path):
    whole = make_model()
    assert fit(whole, tmp_path / "whole").history is not None

    with pytest.raises(Killed):
        fit(make_model(), tmp_path / "killed", KillInEpoch(2))
    again = make_model()
    assert fit(again, tmp_path / "killed").history is None
    assert int(again.flossing_optimizer.iterations) == 5
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_a_later_epoch_is_past_the_first_update():
    model = make_model()
    preflossing = Preflossing(X, steps=2)
    model.fit(X, Y, initial_epoch=1, epochs=2, verbose=0, callbacks=[preflossing])
    assert preflossing.history is None
    assert int(model.flossing_optimizer.iterations) == 0
