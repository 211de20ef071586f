"""A loop of `fit(epochs=1)`, as one writes for stateful layers, is one long run."""

import keras
import numpy as np
import pytest

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
FLOSSING = {"flossing": Flossing(k=1, seed=0), "steps": 2}


def make_model(**compiled):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(3, name="rnn")(inputs))
    model = keras_floss.FlossingModel(inputs, outputs)
    model.compile("adam", "mse", jit_compile=False, **compiled)
    return model


def fit(model, callback, epochs=1, **kwargs):
    """Five updates an epoch."""
    data = {"batch_size": 2, "shuffle": False, "verbose": 0, "epochs": epochs}
    return model.fit(X, Y, callbacks=keras.tree.flatten(callback), **data, **kwargs)


def seen(callback):
    """What a callback tells of when it acted, and of what it saw."""
    if isinstance(callback, LyapunovMonitor):
        return {k: np.array(v) for k, v in callback.history.items()}
    number = {"flossings": len(callback.history)}
    return {**getattr(callback, "looks", {}), **number}


MAKE = {
    "updates": lambda: AdaptiveFlossing(X, every=7, tolerance=1e-9, **FLOSSING),
    "epochs": lambda: AdaptiveFlossing(X, every="epoch", tolerance=1e-9, **FLOSSING),
    "until": lambda: AdaptiveFlossing(
        X, every="epoch", until=2, tolerance=1e-9, **FLOSSING
    ),
    "times": lambda: PeriodicFlossing(X, every=7, times=1, **FLOSSING),
    "end of an epoch": lambda: PeriodicFlossing(X, every=5, **FLOSSING),
    "monitor": lambda: LyapunovMonitor(X, flossing=Flossing(k=1)),
    "monitor of updates": lambda: LyapunovMonitor(X, every=7, flossing=Flossing(k=1)),
}
FAST = [("epochs", False)]
SLOW = [(kind, by_hand) for kind in MAKE for by_hand in (False, True)]


@pytest.mark.parametrize(
    ("kind", "by_hand"),
    FAST + [pytest.param(*p, marks=pytest.mark.slow) for p in SLOW if p not in FAST],
)
def test_a_loop_does_what_one_fit_does(kind, by_hand):
    """With `epochs=1` each time, or with `initial_epoch` too."""
    make = MAKE[kind]
    whole, parts, once, again = make_model(), make_model(), make(), make()
    fit(whole, once, epochs=3)
    for epoch in range(3):
        if by_hand:
            fit(parts, again, epochs=epoch + 1, initial_epoch=epoch)
        else:
            fit(parts, again)
    expected, found = seen(once), seen(again)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        # The same float32 operations in two traces.
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6)
    # Flossing took the same data at the same times.
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_steps_per_execution_in_a_loop():
    # Executions end after updates 2, 4, 5 and 7, 9, 10: they pass 3, 6, 9, and 12 later.
    model = make_model(steps_per_execution=2)
    callback = AdaptiveFlossing(X, every=3, tolerance=1e9, **FLOSSING)
    for _ in range(3):
        fit(model, callback)
    assert callback.looks["time"] == [3, 6, 9, 12]


@pytest.mark.slow
def test_a_model_compiled_anew_goes_on_counting():
    model, callback = make_model(), AdaptiveFlossing(X, every=7, tolerance=1e9, **FLOSSING)
    for _ in range(3):
        fit(model, callback)
        model.compile("adam", "mse", jit_compile=False)
    assert callback.looks["time"] == [7, 14]


def test_a_callback_counts_from_when_it_was_given_the_model():
    model = make_model()
    fit(model, Preflossing(X, **FLOSSING))
    callback = AdaptiveFlossing(X, every=4, tolerance=1e9, **FLOSSING)
    fit(model, callback)
    fit(model, callback)
    assert callback.looks["time"] == [4, 8]


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_interrupted_and_restored_in_the_same_process(tmp_path):
    """With the same model and callback, as one does in a notebook."""
    settings = {"every": 5, "tolerance": 1e-9, **FLOSSING}
    whole, once = make_model(), AdaptiveFlossing(X, **settings)
    fit(whole, once, epochs=3)
    model, callback = make_model(), AdaptiveFlossing(X, **settings)
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    together = [backup, callback, Interrupt()]
    with pytest.raises(KeyboardInterrupt):
        fit(model, together, epochs=3)
    fit(model, [backup, callback], epochs=3)
    assert callback.looks["time"] == once.looks["time"] == [5, 10]
    for a, b in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


class OwnOptimizer(keras.Model):
    """Trains by an optimiser that `compile` does not know of."""

    def train_step(self, batch):
        return {"loss": 0.0}


def test_a_model_that_the_optimizer_of_compile_does_not_train_is_warned_of():
    inputs = keras.Input((8, 2))
    rnn = keras.layers.SimpleRNN(3)
    model = OwnOptimizer(inputs, keras.layers.Dense(1)(rnn(inputs)))
    model.compile(jit_compile=False)
    with pytest.warns(UserWarning, match="`every` counts updates"):
        fit(model, PeriodicFlossing(X, every=2, **FLOSSING))
