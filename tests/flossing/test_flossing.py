"""`Flossing`: the settings as one object."""

import copy
import dataclasses
import pickle

import keras
import pytest

from keras_floss import Flossing
from keras_floss.flossing.flossing import UNSET, override

EVERYTHING = Flossing(
    batch_size=None,
    window=20,
    k={"first": 3, "second": 2},
    target=-0.1,
    warmup=4,
    qr_interval="auto",
    layers=["first", "second"],
    seed=3,
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
    "flossing", [Flossing(), EVERYTHING, Flossing(k=2, target=[0.0, -1.0])]
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
