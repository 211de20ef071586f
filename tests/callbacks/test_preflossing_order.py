"""Preflossing flosses once, before the first update, as `floss` would."""

import functools

import keras
import numpy as np
import pytest
from cells import SLOW

from keras_floss import FlossingModel
from keras_floss.callbacks import Preflossing

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6, 2)).astype("float32")
Y = RNG.normal(size=(4, 1)).astype("float32")
SETTINGS = {"steps": 3, "batch_size": 2, "k": 2, "warmup": 1, "target": -0.1, "seed": 0}


class FirstWeights(keras.callbacks.Callback):
    """The weights at the first update of each `fit`."""

    def __init__(self):
        super().__init__()
        self.seen = None

    def on_train_begin(self, logs=None):
        self.seen = None

    def on_train_batch_begin(self, batch, logs=None):
        if self.seen is None:
            self.seen = self.model.get_weights()


def layers():
    keras.utils.set_random_seed(1)
    return keras.Input((6, 2)), [keras.layers.SimpleRNN(3), keras.layers.Dense(1)]


def functional():
    inputs, (rnn, readout) = layers()
    return keras.Model(inputs, readout(rnn(inputs)))


def sequential():
    inputs, stack = layers()
    return keras.Sequential([inputs, *stack])


def unbuilt_sequential():
    return keras.Sequential(layers()[1])


def flossing():
    return FlossingModel(functional())


@functools.cache
def flossed_weights(optimizer=None):
    """What `floss` alone makes of the same model."""
    model = flossing()
    model.compile("adam", "mse", flossing_optimizer=optimizer)
    model.floss(X, verbose=0, **SETTINGS)
    return model.get_weights()


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        # The same float32 operations in two traces.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def fit(model, *callbacks, **kwargs):
    if not model.compiled:
        model.compile("adam", "mse")
    model.fit(X, Y, callbacks=list(callbacks), verbose=0, **kwargs)


@pytest.mark.parametrize(
    ("make", "preflossing_first"),
    [
        (flossing, True),
        pytest.param(functional, False, marks=SLOW),
        pytest.param(sequential, True, marks=SLOW),
    ],
)
def test_the_first_update_finds_flossed_weights(make, preflossing_first):
    preflossing, first = Preflossing(X, **SETTINGS), FirstWeights()
    model = make()
    order = [preflossing, first] if preflossing_first else [first, preflossing]
    fit(model, *order)
    assert_close(first.seen, flossed_weights())
    # And then it was trained.
    assert int(model.optimizer.iterations) == 1
    assert not np.allclose(model.get_weights()[1], first.seen[1], atol=1e-5)


def test_flossing_and_training_have_a_history_each():
    preflossing, model = Preflossing(X, **SETTINGS), functional()
    assert preflossing.history is None
    model.compile("adam", "mse")
    of_fit = model.fit(X, Y, callbacks=[preflossing], epochs=2, verbose=0)
    assert model.history is of_fit
    assert set(of_fit.history) == {"loss"}
    assert len(of_fit.history["loss"]) == int(model.optimizer.iterations) == 2

    assert isinstance(preflossing.history, keras.callbacks.History)
    history = preflossing.history.history
    others = {"lambda_1", "lambda_k", "lost_directions", "qr_interval"}
    assert set(history) == {"flossing_loss", "flossing_skipped"} | others
    assert all(len(values) == 3 for values in history.values())


def test_it_flosses_once_only():
    preflossing, first, model = Preflossing(X, **SETTINGS), FirstWeights(), functional()
    fit(model, preflossing, first, epochs=2)
    history, trained = preflossing.history, model.get_weights()
    fit(model, preflossing, first)
    assert preflossing.history is history
    for ours, theirs in zip(first.seen, trained, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "optimizer",
    [pytest.param("sgd", marks=SLOW), keras.optimizers.SGD()],
    ids=["name", "object"],
)
def test_a_plain_model_takes_an_optimizer_by_argument(optimizer):
    first = FirstWeights()
    fit(functional(), Preflossing(X, optimizer=optimizer, **SETTINGS), first)
    assert_close(first.seen, flossed_weights("sgd"))


def test_a_flossing_model_brings_its_own_optimizer():
    model = flossing()
    before = model.get_weights()
    with pytest.raises(ValueError, match="flossing_optimizer"):
        fit(model, Preflossing(X, optimizer="adam", **SETTINGS))
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_model_that_is_not_built_yet():
    preflossing, first = Preflossing(X, **SETTINGS), FirstWeights()
    fit(unbuilt_sequential(), preflossing, first)
    assert len(preflossing.history.history["flossing_loss"]) == 3
    assert len(first.seen) == 5


def test_a_model_without_recurrent_layer_is_an_error():
    model = keras.Sequential([keras.Input((6, 2)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="no recurrent layer"):
        fit(model, Preflossing(X, **SETTINGS))
