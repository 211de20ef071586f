"""The race of what is flossed against what it was before."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import FlossingModel
from keras_floss.callbacks import AdaptiveFlossing, Preflossing
from keras_floss.callbacks.race import LEG, race
from keras_floss.callbacks.race_terms import MOST, batches_of, updates_of
from keras_floss.flossing.snapshot import Snapshot

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 12, 1)).astype("float32")
Y = X[:, -1]
FIT = {"epochs": 10, "steps": 16}
# Exponents of 1: chaos, in which nothing is learned.
HARM = {"steps": 20, "target": 1.0, "tolerance": 0.0, "input_drive": 0.0, "window": 4}
BRIEF = {**HARM, "steps": 1}


def make_model(jit_compile=False, steps_per_execution=1, kind=keras.Model):
    """What came last is asked for; dropout and momentum are what a race must put back."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 1))
    hidden = keras.layers.SimpleRNN(8, name="memory")(inputs)
    hidden = keras.layers.Dropout(0.2)(hidden)
    model = kind(inputs, keras.layers.Dense(1)(hidden))
    model.compile(
        keras.optimizers.Adam(0.01),
        "mse",
        metrics=["mae"],
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    model.make_train_function()
    return model


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


def data_of(kind):
    """The same task as each kind of data."""
    if kind == "arrays":
        return X, Y
    if kind == "PyDataset":
        return Batches()
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)


def kernel(model):
    return model.get_layer("memory").cell.recurrent_kernel


def run(model, x=(X, Y), harm=True, updates=50):
    """Races a recurrent kernel that is chaos against one that is not."""
    calm, chaos = kernel(model).numpy(), 20.0 * kernel(model).numpy()
    kernel(model).assign(calm if harm else chaos)
    before = Snapshot([kernel(model)])
    kernel(model).assign(chaos if harm else calm)
    return race(model, batches_of(x, FIT), before, updates), calm


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("harm", [True, False])
def test_the_better_weights_are_left(harm, jit_compile):
    model = make_model(jit_compile)
    found, calm = run(model, harm=harm)
    assert found.lost == harm
    assert (found.before < found.flossed) == harm
    np.testing.assert_array_equal(kernel(model), calm)


@pytest.mark.parametrize("kind", ["arrays", "PyDataset", "dataset"])
@pytest.mark.parametrize("steps_per_execution", [1, 5])
def test_all_else_is_as_it_was(kind, steps_per_execution):
    model = make_model(steps_per_execution=steps_per_execution)
    model.fit(X, Y, batch_size=4, verbose=0)  # so that there is momentum
    state = [*model.variables, *model.optimizer.variables]
    before = [v.numpy() for v in state if v is not kernel(model)]
    found, _ = run(model, data_of(kind))
    assert found.updates == 50
    after = [v.numpy() for v in state if v is not kernel(model)]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_scale_of_the_loss_is_put_back_too():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy(policy)
    model.fit(X, Y, batch_size=4, verbose=0)
    before = [v.numpy() for v in model.optimizer.variables]
    found, calm = run(model)
    assert found.lost
    np.testing.assert_array_equal(kernel(model), calm)
    for a, b in zip(before, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_ends_as_soon_as_the_flossed_one_is_clearly_better():
    assert run(make_model(), harm=False, updates=MOST)[0].updates < MOST


def test_who_gets_nowhere_is_not_raced_to_the_end():
    noise = RNG.standard_normal(Y.shape).astype("float32")
    model = make_model()
    model.optimizer.learning_rate = 0.0
    found = race(model, batches_of((X, noise), FIT), Snapshot([kernel(model)]), MOST)
    assert found.updates == 100
    assert not found.lost


def test_weights_that_explode_lose():
    model = make_model()
    before = Snapshot([kernel(model)])
    good = kernel(model).numpy()
    kernel(model).assign(np.nan * good)
    assert race(model, batches_of((X, Y), FIT), before, LEG).lost
    np.testing.assert_array_equal(kernel(model), good)


def test_an_error_in_the_race_leaves_the_model_as_it_was():
    model = make_model()
    before = Snapshot([kernel(model)])
    kernel(model).assign(2.0 * kernel(model))
    flossed = kernel(model).numpy()
    with pytest.raises(tf.errors.OutOfRangeError):
        race(model, data_of("dataset"), before, LEG)
    np.testing.assert_array_equal(kernel(model), flossed)


@pytest.mark.parametrize("kind", [keras.Model, FlossingModel])
def test_a_task_that_is_learned_later_flossed_is_trained_as_without(kind, capsys):
    def fit(*callbacks):
        model = make_model(kind=kind)
        fit = model.fit(X, Y, batch_size=4, epochs=16, verbose=0, callbacks=callbacks)
        return fit.history["loss"], model.get_weights()

    preflossing = Preflossing((X, Y), **HARM, verbose=2)
    losses, weights = fit(preflossing)
    history = preflossing.history
    assert history.ended == "slower"
    assert history.message.startswith("Not flossed: it would learn later. In 51 updates")
    assert history.message in capsys.readouterr().out
    plain, without = fit()
    assert losses == plain
    for a, b in zip(weights, without, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_was_worse_flossed_is_not_flossed_while_it_learns():
    model = make_model()
    adaptive = AdaptiveFlossing((X, Y), every=16, tolerance=1e-9)
    callbacks = [Preflossing((X, Y), **HARM), adaptive]
    model.fit(X, Y, batch_size=4, epochs=16, verbose=0, callbacks=callbacks)
    assert callbacks[0].history.ended == "slower"
    assert len(adaptive.looks["steps"]) == 15
    assert not any(adaptive.looks["steps"])

    # One that is told not to race is flossed.
    model = make_model()
    adaptive = AdaptiveFlossing((X, Y), every=16, tolerance=1e-9)
    callbacks = [Preflossing((X, Y), **BRIEF, race_updates=0), adaptive]
    model.fit(X, Y, batch_size=4, epochs=16, verbose=0, callbacks=callbacks)
    assert any(adaptive.looks["steps"])


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def joint(*arguments):
    return FlossingModel(*arguments, strength=0.1)


@pytest.mark.parametrize(
    ("settings", "kind", "epochs"),
    [
        ({"race_updates": 0}, keras.Model, 16),
        ({"brake": False}, keras.Model, 16),
        ({}, keras.Model, 7),
        ({}, OwnStep, 16),
        ({}, joint, 16),
    ],
    ids=["no updates", "no brake", "short fit", "train_step", "joint flossing"],
)
def test_where_there_is_no_race(settings, kind, epochs):
    model, preflossing = make_model(kind=kind), Preflossing((X, Y), **BRIEF, **settings)
    model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, callbacks=[preflossing])
    assert preflossing.history.ended == "steps"
    assert "updates each" not in preflossing.history.message


@pytest.mark.parametrize("x", [X, (X,), ((X[:4], Y[:4]) for _ in range(99))])
def test_data_without_targets_or_that_cannot_be_had_twice_are_not_raced(x):
    model, preflossing = make_model(), Preflossing(x, **BRIEF)
    model.fit(X, Y, batch_size=4, epochs=16, verbose=0, callbacks=[preflossing])
    assert preflossing.history.ended == "steps"


@pytest.mark.parametrize(
    ("epochs", "steps", "epoch", "updates"),
    [
        (10, 100, 0, 200),
        (5, 100, 0, 100),
        (5, 100, 3, 40),
        (1, 124, 0, 0),
        (9, None, 0, 200),
    ],
)
def test_a_race_is_a_fifth_of_the_updates_at_most_200(epochs, steps, epoch, updates):
    assert updates_of({"epochs": epochs, "steps": steps}, epoch) == updates


@pytest.mark.parametrize("updates", [-1, 2.5, "all", True])
def test_a_wrong_number_of_updates_is_refused(updates):
    with pytest.raises((ValueError, TypeError), match="race_updates"):
        Preflossing(X, race_updates=updates)
