"""A run with h-detach that is broken off and goes on draws what it would have drawn."""

import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_floss
from keras_floss import Flossing
from keras_floss.callbacks import HDetachAnnealing
from keras_floss.layers import HDetachLSTM, HDetachLSTMCell

TIME, FEATURES, UNITS = 6, 2, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, TIME, FEATURES)).astype("float32")
Y = RNG.standard_normal((8, 1)).astype("float32")


def stacked():
    cells = [HDetachLSTMCell(UNITS, 0.5), HDetachLSTMCell(2, 0.5, "c", dropout=0.2)]
    return keras.layers.RNN(cells)


FORMS = {
    "layer": lambda: HDetachLSTM(UNITS, 0.5),
    "seeded": lambda: HDetachLSTM(UNITS, 0.5, seed=3),
    "dropout": lambda: HDetachLSTM(UNITS, 0.5, dropout=0.2, recurrent_dropout=0.2),
    "bidirectional": lambda: keras.layers.Bidirectional(HDetachLSTM(UNITS, 0.5)),
    "stacked cells": stacked,
    "regularizer": lambda: keras_floss.LyapunovRegularizer(
        HDetachLSTM(UNITS, 0.5), flossing=Flossing(k=2, warmup=1)
    ),
    "FlossingModel": lambda: HDetachLSTM(UNITS, 0.5),
}
FAST = "layer", "seeded", "FlossingModel"
EACH = [f if f in FAST else pytest.param(f, marks=pytest.mark.slow) for f in FORMS]


def make(form):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIME, FEATURES))
    model = keras.Model(inputs, keras.layers.Dense(1)(FORMS[form]()(inputs)))
    if form == "FlossingModel":
        model = keras_floss.FlossingModel(model)
    # Large steps: a draw that differs shows at once.
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=False)
    return model


def fit(model, **options):
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0, **options)


class Broken(keras.callbacks.Callback):
    """Ends the run in its third epoch, whose first update is done."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() == 5:
            self.how()


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def run(form, folder, *callbacks):
    model = make(form)
    backup = keras.callbacks.BackupAndRestore(folder)
    fit(model, epochs=4, callbacks=[backup, *callbacks])
    return model.get_weights()


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("form", EACH)
def test_a_restored_run_ends_as_the_unbroken_one(form, tmp_path):
    unbroken = run(form, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(form, tmp_path, Broken(interrupt))
    assert_same(run(form, tmp_path), unbroken)


def test_an_annealed_run_ends_as_the_unbroken_one(tmp_path):
    unbroken = run("layer", tmp_path, HDetachAnnealing(-1))
    with pytest.raises(KeyboardInterrupt):
        run("layer", tmp_path, HDetachAnnealing(-1), Broken(interrupt))
    assert_same(run("layer", tmp_path, HDetachAnnealing(-1)), unbroken)
    # The last epoch was another one than without annealing.
    assert np.abs(run("layer", tmp_path)[0] - unbroken[0]).max() > 1e-4


@pytest.mark.slow
def test_a_killed_run_ends_as_the_unbroken_one(tmp_path):
    unbroken = run("layer", tmp_path)
    killed = subprocess.run([sys.executable, __file__, tmp_path], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert_same(run("layer", tmp_path), unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("form", EACH)
def test_a_loaded_model_goes_on_as_the_saved_one(form, tmp_path):
    model = make(form)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        fit(each)
    assert_same(loaded.get_weights(), model.get_weights())


def draws(layer):
    return layer.cell.draw(20).numpy().tolist()


def built(layer):
    return keras.Sequential([keras.Input((TIME, FEATURES)), layer])


@pytest.mark.parametrize("wrap", [keras.layers.Bidirectional, keras.layers.RNN])
def test_weights_files_go_between_it_and_the_lstm(wrap, tmp_path):
    """Where Keras keeps weights by the name of what is around the LSTM."""
    if wrap is keras.layers.RNN:
        kinds = HDetachLSTMCell, keras.layers.LSTMCell
    else:
        kinds = HDetachLSTM, keras.layers.LSTM
    ours, theirs = (built(wrap(kind(UNITS))) for kind in kinds)
    for source, target in [(ours, theirs), (theirs, ours)]:
        source.set_weights([w + 1.0 for w in source.get_weights()])
        source.save_weights(tmp_path / "model.weights.h5")
        target.load_weights(tmp_path / "model.weights.h5")
        assert_same(target.get_weights(), source.get_weights())


def test_a_layer_that_was_given_another_seed_keeps_it(tmp_path):
    """Runs that start from one weights file, each with its seed, draw differently."""
    source = HDetachLSTM(UNITS, 0.5, seed=1)
    model = built(source)
    draws(source)
    model.save_weights(tmp_path / "model.weights.h5")
    expected = draws(source)
    for seed, goes_on in [(1, True), (None, True), (2, False)]:
        layer = HDetachLSTM(UNITS, 0.5, seed=seed)
        built(layer).load_weights(tmp_path / "model.weights.h5")
        assert (draws(layer) == expected) == goes_on
    fresh = HDetachLSTM(UNITS, 0.5, seed=2)
    assert [draws(fresh), draws(fresh)][1] == draws(layer)


def test_what_is_saved_is_no_weight():
    layer = HDetachLSTM(UNITS)
    layer.build(X.shape)
    assert len(layer.weights) == len(layer.get_weights()) == 3
    assert len(layer.variables) == 4  # and the seed, once
    assert len(layer.cell.variables) == 4


@pytest.mark.slow
def test_two_devices_go_on_as_they_would_have(tmp_path):
    done = subprocess.run([sys.executable, __file__, tmp_path, "two"], timeout=300)
    assert done.returncode == 0


def on_two_devices(folder):
    device = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(device, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        unbroken = run("layer", folder)
        with pytest.raises(KeyboardInterrupt):
            run("layer", folder, Broken(interrupt))
        assert_same(run("layer", folder), unbroken)


if __name__ == "__main__":
    if sys.argv[2:] == ["two"]:
        on_two_devices(sys.argv[1])
    else:
        run("layer", sys.argv[1], Broken(kill))
