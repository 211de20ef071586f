"""PeriodicFlossing flosses after the updates that it names, and no others."""

import keras
import numpy as np
import pytest

import keras_floss
from keras_floss import Flossing
from keras_floss.callbacks import PeriodicFlossing

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 8, 2)).astype("float32")
Y = RNG.standard_normal((10, 1)).astype("float32")


def make_model(wrapped=True, **compiled):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(3)(inputs))
    if wrapped:
        model = keras_floss.FlossingModel(inputs, outputs)
    else:
        model = keras.Model(inputs, outputs)
    model.compile("adam", "mse", **compiled)
    return model


class Updates(PeriodicFlossing):
    """Notes after how many updates it flossed."""

    def __init__(self, *args, **kwargs):
        super().__init__(X, *args, steps=2, flossing=Flossing(seed=0), **kwargs)
        self.at = []

    def floss(self):
        self.at.append(int(self.model.optimizer.iterations))
        return super().floss()


def fit(model, callback, epochs=3, **kwargs):
    """Five updates an epoch."""
    data = {"batch_size": 2, "shuffle": False, "verbose": 0, "epochs": epochs}
    model.fit(X, Y, callbacks=[callback], **data, **kwargs)
    return callback.at


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({"every": 4}, [4, 8, 12]),
        ({"every": 4, "times": 2}, [4, 8]),
        ({"every": 15}, []),
        ({"every": 16}, []),
        ({"every": "epoch"}, [5, 10]),
        ({"every": "epoch", "times": 1}, [5]),
    ],
)
def test_when(settings, at):
    model = make_model()
    callback = Updates(**settings)
    assert fit(model, callback) == at
    assert len(callback.history) == len(at)
    assert int(model.flossing_optimizer.iterations) == 2 * len(at)


def test_steps_per_execution_pass_a_multiple():
    # Executions end after updates 2, 4, 5 and 7, 9, 10: they pass 3, 6, 9.
    model = make_model(steps_per_execution=2)
    assert fit(model, Updates(every=3), epochs=2) == [4, 7, 9]


def test_the_weights_move_at_these_updates_only():
    # The default one has other steps in training.
    by_hand, flossed = (make_model(flossing_optimizer="adam") for _ in range(2))
    fit(flossed, Updates(every=5), epochs=2)
    fit(by_hand, Updates(every=100), epochs=1)
    by_hand.floss(X, steps=2, seed=0, verbose=0)
    fit(by_hand, Updates(every=100), epochs=1)
    for a, b in zip(by_hand.get_weights(), flossed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_later_epoch_goes_on_counting():
    whole = make_model()
    assert fit(whole, Updates(every=4, times=2)) == [4, 8]
    parts = make_model()
    assert fit(parts, Updates(every=4, times=2), epochs=1) == [4]
    assert fit(parts, Updates(every=4, times=2), epochs=3, initial_epoch=1) == [8]
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_second_fit_goes_on_counting_and_a_new_callback_counts_anew():
    model = make_model()
    callback = Updates(every=4)
    assert fit(model, callback, epochs=1) == [4]
    assert fit(model, callback, epochs=1) == [4, 8]
    assert fit(model, Updates(every=4), epochs=1) == [14]


def test_a_plain_model_keeps_its_flossing_optimizer():
    model = make_model(wrapped=False)
    optimizer = keras.optimizers.SGD(0.1)
    assert fit(model, Updates(every=4, optimizer=optimizer)) == [4, 8, 12]
    assert int(optimizer.iterations) == 6


@pytest.mark.parametrize(
    "wrong",
    [{"every": 0}, {"every": "batch"}, {"every": 2.5}, {"times": 0}, {"steps": 0}],
)
def test_bad_settings_are_named(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {value!r}"):
        PeriodicFlossing(X, **wrong)
