"""A callback that is given another model begins anew, as in a loop of k folds."""

import keras
import numpy as np
import pytest
from cells import cells

import keras_floss
from keras_floss import Flossing
from keras_floss.callbacks import (
    AdaptiveFlossing,
    LyapunovMonitor,
    PeriodicFlossing,
    Preflossing,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 8, 2)).astype("float32")
Y = RNG.standard_normal((10, 1)).astype("float32")
FLOSSING = {"flossing": Flossing(k=1, seed=0), "verbose": 0}
KINDS = pytest.mark.parametrize("wrapped", [True, False], ids=["FlossingModel", "plain"])


def make_model(wrapped):
    """The same at each call, and not trained: what moves its weights is flossing."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(3)(inputs))
    model = (keras_floss.FlossingModel if wrapped else keras.Model)(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    return model


def fit(model, *callbacks, epochs=1, **kwargs):
    """Five updates an epoch."""
    data = {"batch_size": 2, "shuffle": False, "verbose": 0, "epochs": epochs}
    model.fit(X, Y, callbacks=list(callbacks), **data, **kwargs)


def assert_equal(ours, theirs):
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        # The same float32 operations in two traces.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "wrapped", cells({"FlossingModel": True, "plain": False}, always=["plain"])
)
def test_preflossing_flosses_the_model_of_every_fold(wrapped):
    preflossing = Preflossing(X, steps=3, **FLOSSING)
    first, second = make_model(wrapped), make_model(wrapped)
    before = first.get_weights()
    fit(first, preflossing)
    history = preflossing.history
    fit(second, preflossing)
    assert any(np.any(a != b) for a, b in zip(before, second.get_weights(), strict=True))
    assert_equal(first, second)
    assert preflossing.history is not history
    assert len(preflossing.history.history["flossing_loss"]) == 3
    # Given again, a model is left alone, whatever became of its weights.
    for model in (second, first):
        model.set_weights(before)
        fit(model, preflossing)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@KINDS
@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: PeriodicFlossing(X, every=4, steps=2, times=1, **kw),
        lambda **kw: AdaptiveFlossing(X, every=4, tolerance=1e-9, steps=2, **kw),
        lambda **kw: PeriodicFlossing(X, every="epoch", steps=2, **kw),
    ],
    ids=["updates", "adaptive", "epochs"],
)
@pytest.mark.slow
def test_flossing_during_training_begins_anew(make, wrapped):
    callback = make(**FLOSSING)
    first, second = make_model(wrapped), make_model(wrapped)
    histories = []
    for model in (first, second):
        fit(model, callback, epochs=2)
        histories.append(callback.history)
    assert_equal(first, second)
    assert histories[0] is not histories[1]
    assert len(histories[0]) == len(histories[1]) > 0
    if isinstance(callback, AdaptiveFlossing):
        assert callback.looks["time"] == [4, 8]


@pytest.mark.slow
def test_the_monitor_begins_anew():
    monitor = LyapunovMonitor(X, every=4, flossing=Flossing(k=1))
    histories = []
    for _ in range(2):
        fit(make_model(False), monitor)
        histories.append(monitor.history)
    assert histories[0]["time"] == histories[1]["time"] == [0, 4]
    assert histories[0]["lambda_1"] == histories[1]["lambda_1"]


@pytest.mark.slow
def test_an_optimizer_given_as_an_object_serves_every_model():
    optimizer = keras.optimizers.Adam(0.01)
    settings = {"optimizer": optimizer, **FLOSSING}
    before = Preflossing(X, steps=3, **settings)
    periodic = PeriodicFlossing(X, every=4, steps=2, times=1, **settings)
    models = [make_model(False) for _ in range(3)]
    for model in models:
        fit(model, before, periodic)
    assert int(optimizer.iterations) == 5  # those of the first model
    for model in models[1:]:
        assert_equal(models[0], model)
    # And again the first, where the state of the optimiser is.
    fit(models[0], Preflossing(X, steps=1, **settings))
    assert int(optimizer.iterations) == 6


@pytest.mark.slow
def test_an_optimizer_that_served_elsewhere_is_left_alone():
    optimizer, task = keras.optimizers.Adam(0.01), make_model(False)
    task.compile(optimizer, "mse", jit_compile=False)
    fit(task)
    ours, fresh = make_model(False), make_model(False)
    fit(ours, Preflossing(X, steps=2, optimizer=optimizer, **FLOSSING))
    assert int(optimizer.iterations) == 5
    adam = keras.optimizers.Adam(0.01)
    fit(fresh, Preflossing(X, steps=2, optimizer=adam, **FLOSSING))
    assert_equal(ours, fresh)
