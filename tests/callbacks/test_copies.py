"""A copy of a callback shares its data and begins anew, as KerasTuner's trials need."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_floss
from keras_floss import Flossing
from keras_floss.callbacks import (
    AdaptiveFlossing,
    HDetachAnnealing,
    LyapunovMonitor,
    PeriodicFlossing,
    Preflossing,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 8, 2)).astype("float32")
Y = RNG.standard_normal((10, 1)).astype("float32")
FLOSSING = {
    "flossing": Flossing(k=1, seed=0, input_drive=0.0),
    "steps": 2,
    "verbose": 0,
}


def data():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)


KINDS = pytest.mark.parametrize(
    "make",
    [
        lambda: Preflossing(data(), optimizer=keras.optimizers.Adam(0.01), **FLOSSING),
        pytest.param(
            lambda: PeriodicFlossing(data(), every="epoch", times=1, **FLOSSING),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: AdaptiveFlossing(data(), every=3, tolerance=1e-9, **FLOSSING),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: LyapunovMonitor(data(), every=3, flossing=Flossing(k=1)),
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda: HDetachAnnealing(1), marks=pytest.mark.slow),
    ],
    ids=["preflossing", "periodic", "adaptive", "monitor", "annealing"],
)


def make_model(callback):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    layers = keras_floss.layers
    h_detach = isinstance(callback, HDetachAnnealing)
    rnn = layers.HDetachLSTM(2) if h_detach else keras.layers.SimpleRNN(3)
    model = keras.Model(inputs, keras.layers.Dense(1)(rnn(inputs)))
    model.compile("adam", "mse", jit_compile=False)
    return model


def fit(callback):
    """The weights after two epochs of five updates."""
    model = make_model(callback)
    data = {"batch_size": 2, "shuffle": False, "verbose": 0, "epochs": 2}
    model.fit(X, Y, callbacks=[callback], **data)
    return model.get_weights()


def times(callback):
    """When a callback acted."""
    history = getattr(callback, "history", None)
    if isinstance(history, keras.callbacks.History):
        history = history.history
    if isinstance(callback, AdaptiveFlossing):
        return callback.looks["time"]
    if isinstance(callback, LyapunovMonitor):
        return history["time"]
    return history and len(history)


@pytest.mark.parametrize(
    "copied", [pytest.param(copy.copy, marks=pytest.mark.slow), copy.deepcopy]
)
@KINDS
def test_a_copy_shares_the_data_and_begins_anew(make, copied):
    original = make()
    fresh = copied(original)
    expected, seen = fit(original), times(original)
    used = copied(original)
    assert used.model is None
    for again in (fresh, used):
        for name in original.shared:
            assert getattr(again, name) is getattr(original, name)
        for a, b in zip(fit(again), expected, strict=True):
            # The same float32 operations in two traces.
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert times(again) == times(original) == seen


class Noting(Preflossing):
    """A user's own, with something of its own to be copied."""

    def __init__(self):
        super().__init__(X, **FLOSSING)
        self.notes = [[]]


def test_what_a_user_adds_is_copied_as_python_does():
    original = Noting()
    shallow, deep = copy.copy(original), copy.deepcopy(original)
    assert shallow.notes is original.notes
    assert deep.notes == [[]]
    assert deep.notes[0] is not original.notes[0]


@pytest.mark.peers
def test_a_search_of_keras_tuner(tmp_path):
    tuner = pytest.importorskip("keras_tuner")

    def build(parameters):
        model = make_model(None)
        model.optimizer.learning_rate = parameters.Choice("rate", [0.001, 0.01])
        return model

    at_begin = []

    class Kept(Preflossing):
        def floss(self, *args, **kwargs):
            history = super().floss(*args, **kwargs)
            at_begin.append(self.model.get_weights()[1])
            return history

    search = tuner.RandomSearch(build, "val_loss", max_trials=2, directory=tmp_path, seed=0)
    adam = keras.optimizers.Adam(0.01)
    before = make_model(None).get_weights()[1]
    callbacks = [
        Kept(data(), optimizer=adam, **FLOSSING),
        PeriodicFlossing(data(), every=3, optimizer=adam, **FLOSSING),
        AdaptiveFlossing(data(), every=3, optimizer=adam, **FLOSSING),
        LyapunovMonitor((X, Y), flossing=Flossing(k=1)),
    ]
    search.search(X, Y, validation_data=(X, Y), epochs=2, callbacks=callbacks, verbose=0)
    assert len(search.oracle.trials) == 2
    assert len(at_begin) == 2
    assert np.any(at_begin[0] != before)
    np.testing.assert_allclose(*at_begin, rtol=1e-4, atol=1e-6)
    # What the monitor logs can be searched for.
    for trial in search.oracle.trials.values():
        assert trial.metrics.exists("lambda_1")
