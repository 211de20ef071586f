"""One `Flossing` for all that flosses, and a FlossingModel that carries it."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest

from keras_floss import Flossing, FlossingModel, LyapunovRegularizer
from keras_floss.callbacks import (
    AdaptiveFlossing,
    LyapunovMonitor,
    PeriodicFlossing,
    Preflossing,
)

X = np.random.default_rng(0).normal(size=(4, 8, 2)).astype("float32")
Y = np.zeros((4, 1), "float32")
CARRIED = Flossing(k=2, window=6, warmup=1)
OTHER = Flossing(k=1, window=5)
CALLBACKS = [Preflossing, PeriodicFlossing, AdaptiveFlossing, LyapunovMonitor]


def network():
    inputs = keras.Input((8, 2))
    return inputs, keras.layers.Dense(1)(keras.layers.SimpleRNN(3)(inputs))


def carrier(**settings):
    model = FlossingModel(*network(), flossing=CARRIED, **settings)
    still = keras.optimizers.SGD(0.0)
    model.compile("sgd", "mse", jit_compile=False, flossing_optimizer=still)
    return model


def seen(callback, model):
    """What a callback flosses by, but for the number of sequences and the interval."""
    callback.set_model(model)
    return dataclasses.replace(callback.flossing, batch_size=2, qr_interval="auto")


@pytest.mark.parametrize("make", CALLBACKS)
def test_callbacks_take_that_of_the_model_where_they_have_none(make):
    assert seen(make(X), carrier()) == CARRIED
    assert seen(make(X, flossing=OTHER), carrier()) == OTHER
    plain = keras.Model(*network())
    plain.compile("sgd", "mse")
    callback = make(X)
    assert seen(callback, plain) == Flossing()
    assert seen(callback, carrier()) == CARRIED


def test_keywords_override_field_by_field():
    callback = Preflossing(X, k=None, target=-1.0)
    expected = dataclasses.replace(CARRIED, k=None, target=-1.0)
    assert seen(callback, carrier()) == expected
    callback = Preflossing(X, flossing=OTHER, k=3)
    assert seen(callback, carrier()) == dataclasses.replace(OTHER, k=3)


@pytest.mark.parametrize(
    ("given", "exponents"),
    [
        ({}, [2]),
        pytest.param({"flossing": OTHER}, [1], marks=pytest.mark.slow),
        ({"flossing": OTHER, "k": 3}, [3]),
    ],
    ids=str,
)
def test_floss_takes_that_of_the_model_and_overrides_it(given, exponents):
    # λ_k of one exponent is λ_1; of the spectrum of three it is the last.
    model = carrier()
    logs = model.floss(X[:1], 1, verbose=0, **given).history
    warmup, window = (1, 6) if not given else (2, 5)
    spectrum = model.lyapunov_spectrum(X[:1], k=exponents[0], warmup=warmup, window=window)
    (values,) = spectrum.values()
    np.testing.assert_allclose(logs["lambda_k"], values[:, -1], rtol=1e-4)


def test_the_monitor_keeps_its_own_number_of_sequences():
    x = np.tile(X, (6, 1, 1))
    assert len(LyapunovMonitor(x, flossing=Flossing(batch_size=2)).data[0]) == 16


def test_it_is_saved_with_the_model(tmp_path):
    model = carrier(strength=0.5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.flossing == CARRIED
    assert float(loaded.strength) == 0.5
    carrier().save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").strength is None


def test_a_model_saved_with_an_automatic_warmup_in_the_first_version_has_it():
    config = carrier().get_config()
    del config["flossing"]
    config |= {"strength": 0.1, "joint": {"k": 2, "warmup": None}}
    flossing = FlossingModel.from_config(config).flossing
    assert (flossing.k, flossing.warmup, flossing.window) == (2, "auto", None)


# ---- What is no `flossing=` is told so. ----

TAKERS = {
    "PeriodicFlossing": lambda **kw: PeriodicFlossing(X, **kw),
    "AdaptiveFlossing": lambda **kw: AdaptiveFlossing(X, **kw),
    "LyapunovMonitor": lambda **kw: LyapunovMonitor(X, **kw),
    "LyapunovRegularizer": lambda **kw: LyapunovRegularizer(
        keras.layers.SimpleRNN(3), **kw
    ),
    "FlossingModel": lambda **kw: FlossingModel(*network(), **kw),
}


@pytest.mark.parametrize("name", TAKERS)
def test_a_field_as_a_keyword_is_an_error_that_says_where_it_belongs(name):
    with pytest.raises(TypeError, match=rf"`{name}`.*Flossing\(window=\.\.\., k=\.\.\.\)"):
        TAKERS[name](k=2, window=5)
    with pytest.raises(TypeError, match=r"`flossing` must be .*Received: \{'k': 2\}"):
        TAKERS[name](flossing={"k": 2})


@pytest.mark.parametrize("joint", [{"window": 55}, None])
def test_so_is_what_joint_flossing_was_told_by(joint):
    with pytest.raises(TypeError, match=r"flossing=keras_floss\.Flossing\("):
        FlossingModel(*network(), strength=1.0, joint=joint)


@pytest.mark.parametrize("make", [*CALLBACKS[1:], LyapunovRegularizer, FlossingModel])
def test_signatures_are_those_that_are_written(make):
    parameters = inspect.signature(make.__init__).parameters
    assert "flossing" in parameters
    assert not {"args", "k", "window", "joint"} & set(parameters)
