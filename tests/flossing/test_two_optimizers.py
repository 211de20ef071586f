"""The task's optimiser and the flossing optimiser have nothing to do with each other."""

import keras
import numpy as np
import pytest

from keras_floss import Flossing, FlossingModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6, 2)).astype("float32")
Y = RNG.normal(size=(4, 1)).astype("float32")
SETTINGS = {"k": 2, "warmup": 0, "verbose": 0}


def make(layer=keras.layers.SimpleRNN):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 2))
    x = layer(3)(inputs)
    return FlossingModel(inputs, keras.layers.Dense(1)(x))


def values(optimizer):
    return [v.numpy() for v in optimizer.variables]


def changed(before, after):
    return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]


def test_each_has_a_state_of_its_own():
    model = make()
    model.compile("adam", "mse")
    task, flossing = values(model.optimizer), values(model.flossing_optimizer)

    model.floss(X, 2, **SETTINGS)
    flossed = values(model.flossing_optimizer)
    assert int(model.flossing_optimizer.iterations) == 2
    assert any(changed(flossing, flossed))
    assert not any(changed(task, values(model.optimizer)))

    model.fit(X, Y, epochs=3, verbose=0)
    assert int(model.optimizer.iterations) == 3
    assert not any(changed(flossed, values(model.flossing_optimizer)))

    # The flossing state is kept from one pass to the next.
    model.floss(X, 2, **SETTINGS)
    assert int(model.flossing_optimizer.iterations) == 4
    assert int(model.optimizer.iterations) == 3


class Rates(keras.callbacks.Callback):
    """Notes the learning rate of each flossing step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def rates_of(model, steps, **options):
    rates, flossing = Rates(), Flossing(k=2, tolerance=0, seed=0)
    callbacks = {"callbacks": [rates], "verbose": 0}
    model.flosser.floss(X, steps, flossing, **callbacks, **options)
    return rates.rates


def test_the_default_settles_in_each_pass_and_is_gentle_during_training():
    model = make(keras.layers.GRU)
    model.compile("sgd", "mse")
    assert type(model.flossing_optimizer) is keras.optimizers.Lamb
    assert model.flossing_optimizer.global_clipnorm == pytest.approx(0.1)
    whole = rates_of(model, 8, total=8)
    falls = 0.5 * (1 + np.cos(np.pi * np.arange(8) / 8))
    np.testing.assert_allclose(whole, 0.03 * (0.98 * falls + 0.02), rtol=1e-5)
    assert rates_of(model, 8, total=8) == whole
    # The rest of a pass that was interrupted after five steps.
    assert rates_of(model, 3, total=8) == whole[5:]
    np.testing.assert_allclose(rates_of(model, 3), 0.0006, rtol=1e-5)


def test_the_default_is_saved_as_the_default(tmp_path):
    model = make()
    model.compile("sgd", "mse")
    model.floss(X, 5, **SETTINGS)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert rates_of(loaded, 4, total=4) == rates_of(model, 4, total=4)
    for ours, theirs in zip(
        values(loaded.flossing_optimizer), values(model.flossing_optimizer), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_flossing_step_is_a_step_of_the_flossing_optimizer():
    rate = 0.01
    model = make()
    model.compile("adam", "mse", flossing_optimizer=keras.optimizers.SGD(rate))
    before = model.get_weights()[1]
    losses = model.floss(X, 2, batch_size=4, **SETTINGS).history["flossing_loss"]
    step = model.get_weights()[1] - before
    assert np.linalg.norm(step) > 0
    # A gradient step lowers the loss by about rate · |gradient|² = |step|² / rate; the
    # other weights lower it too, and curvature counts for less than half.
    assert losses[0] - losses[1] > 0.5 * np.sum((step / 2) ** 2) / rate


def test_by_name_and_as_an_object():
    model = make()
    model.compile("adam", "mse", flossing_optimizer="rmsprop")
    assert type(model.flossing_optimizer) is keras.optimizers.RMSprop
    optimizer = keras.optimizers.SGD(0.5)
    model.compile("adam", "mse", flossing_optimizer=optimizer)
    assert model.flossing_optimizer is optimizer
    with pytest.raises(ValueError, match="no_such"):
        model.compile("adam", "mse", flossing_optimizer="no_such")


def test_a_learning_rate_set_later_is_obeyed():
    model = make()
    model.compile("adam", "mse", flossing_optimizer="adam")
    model.floss(X, 1, **SETTINGS)
    before = model.get_weights()
    model.flossing_optimizer.learning_rate = 0.0
    model.floss(X, 1, **SETTINGS)
    assert not any(changed(before, model.get_weights()))
