"""`Flossing`: the settings as one object."""

import copy
import dataclasses
import pickle

import keras
import numpy as np
import pytest

from keras_floss import Flossing
from keras_floss.flossing.engine import Flosser
from keras_floss.flossing.flossing import UNSET, override
from keras_floss.flow import checkpoints
from keras_floss.flow.frame import ALGORITHMS

EVERYTHING = Flossing(
    batch_size=None,
    window=20,
    k={"first": 3, "second": 2},
    target=-0.1,
    warmup=4,
    qr_interval="auto",
    layers=["first", "second"],
    seed=3,
    memory_limit=1000,
    orthonormalization="householder",
)


def serialized(flossing):
    config = keras.saving.serialize_keras_object(flossing)
    return keras.saving.deserialize_keras_object(config)


def pickled(flossing):
    return pickle.loads(pickle.dumps(flossing))


@pytest.mark.parametrize(
    "again",
    [
        serialized,
        copy.deepcopy,
        lambda f: pickle.loads(pickle.dumps(f)),
        dataclasses.replace,
    ],
)
@pytest.mark.parametrize(
    "flossing",
    [Flossing(), EVERYTHING, Flossing(k=2, target=[0.0, -1.0]), Flossing(layers="one")],
)
def test_what_is_saved_or_copied_is_equal_and_serves_as_the_same_key(flossing, again):
    assert again(flossing) == flossing
    assert hash(again(flossing)) == hash(flossing)


def test_it_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EVERYTHING.window = 10


@pytest.mark.parametrize(("time", "warmup"), [(300, 40), (55, 16), (20, 10), (1, 0)])
def test_the_automatic_warmup_is_that_of_the_released_code(time, warmup):
    assert Flossing().warmup_of(time) == warmup


def test_none_is_told_from_what_is_not_given():
    assert override(EVERYTHING, k=None, window=UNSET) == dataclasses.replace(
        EVERYTHING, k=None
    )
    assert override(None, window=7) == Flossing(window=7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        ({"window": 2.5}, "`window` must be an integer of at least 1"),
        ({"k": 0}, "`k` must be an integer of at least 1"),
        ({"k": {"first": 0}}, "`k` must be an integer of at least 1"),
        ({"target": float("nan")}, "`target` must be a finite number"),
        ({"target": [0.0, 0.0], "k": 3}, "`target` must be one number, or a list of 3"),
        ({"warmup": None}, '`warmup` must be an integer of at least 0, or "auto"'),
        ({"memory_limit": 0}, "`memory_limit` must be a finite number above 0"),
        ({"orthonormalization": "qr"}, "`orthonormalization` must be one of 'auto', 'ho"),
        ({"warmup": "no"}, '`warmup` must be an integer of at least 0, or "auto"'),
        ({"warmup": 20, "window": 20}, "less than the 20 steps of the window"),
        ({"qr_interval": "often"}, "`qr_interval` must be an integer of at least 1, or"),
        (
            {"qr_interval": 30, "window": 20},
            "`qr_interval` must be an integer from 1 to 20",
        ),
    ],
)
def test_nonsense_is_an_error_that_says_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        Flossing(**wrong)


def test_memory_and_algorithm_reach_the_steps(monkeypatch):
    seen = []

    def note(name, function):
        return lambda *args, **kwargs: [seen.append(name), function(*args, **kwargs)][1]

    for name, algorithm in list(ALGORITHMS.items()):
        monkeypatch.setitem(ALGORITHMS, name, note(name, algorithm))
    monkeypatch.setattr(checkpoints, "forward", note("blocks", checkpoints.forward))
    inputs = keras.Input((6, 2))
    model = keras.Model(inputs, keras.layers.SimpleRNN(3)(inputs))
    flosser, x = Flosser(model), np.ones((1, 6, 2), "float32")
    for memory_limit, name in [(1, "gram-schmidt"), (None, "householder")]:
        seen.clear()
        flosser.look(x, Flossing(memory_limit=memory_limit, orthonormalization=name))
        assert set(seen) == ({"blocks", name} if memory_limit else {name})
