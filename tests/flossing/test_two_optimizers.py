"""The task's optimiser and the flossing optimiser have nothing to do with each other."""

import keras
import numpy as np
import pytest

from keras_floss import FlossingModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6, 2)).astype("float32")
Y = RNG.normal(size=(4, 1)).astype("float32")
SETTINGS = {"k": 2, "warmup": 0, "verbose": 0}


def make():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 2))
    x = keras.layers.SimpleRNN(3)(inputs)
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


def test_the_default_is_adam_without_clipping():
    model = make()
    model.compile("sgd", "mse")
    optimizer = model.flossing_optimizer
    assert type(optimizer) is keras.optimizers.Adam
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)
    clipping = (optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue)
    assert clipping == (None, None, None)


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
    model.compile("adam", "mse")
    model.floss(X, 1, **SETTINGS)
    before = model.get_weights()
    model.flossing_optimizer.learning_rate = 0.0
    model.floss(X, 1, **SETTINGS)
    assert not any(changed(before, model.get_weights()))
