"""AdaptiveFlossing looks at certain updates, and flosses where it sees drift."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells

import keras_floss
from keras_floss import Flossing
from keras_floss.callbacks import AdaptiveFlossing, PeriodicFlossing, Preflossing
from keras_floss.flossing import task_watch

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 8, 2)).astype("float32")
Y = RNG.standard_normal((10, 1)).astype("float32")
# Of one exponent of so small a network, the loss is far from both.
ALWAYS, NEVER = 1e-9, 1e9


def make_model(wrapped=True, flossing_optimizer="adam", **compiled):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(3, name="rnn")(inputs))
    compiled["jit_compile"] = False  # which saves half of the time
    if not wrapped:
        model = keras.Model(inputs, outputs)
        model.compile("adam", "mse", **compiled)
        return model
    model = keras_floss.FlossingModel(inputs, outputs)
    model.compile("adam", "mse", flossing_optimizer=flossing_optimizer, **compiled)
    return model


def adaptive(x=X, **settings):
    settings = {"steps": 2, "flossing": Flossing(k=1, seed=0)} | settings
    return AdaptiveFlossing(x, **settings)


def fit(model, *callbacks, epochs=2, **kwargs):
    """Five updates an epoch."""
    data = {"batch_size": 2, "shuffle": False, "verbose": 0, "epochs": epochs}
    model.fit(X, Y, callbacks=list(callbacks), **data, **kwargs)


def values(model):
    variables = (
        model.weights + model.optimizer.variables + model.flossing_optimizer.variables
    )
    return [v.numpy() for v in variables]


class Weights(keras.callbacks.Callback):
    """The recurrent kernel before each batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(self.model.trainable_variables[1].numpy())


class Snapshots(keras.callbacks.Callback):
    """The weights before each batch; put before a flossing callback or after it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(values(self.model))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "times"),
    [
        ({"every": 4}, [4, 8]),
        ({"every": 5}, [5]),
        ({"every": 3, "until": 6}, [3, 6]),
        ({"every": 3, "until": 5}, [3]),
        ({"every": 10}, []),
        ({"every": "epoch"}, [1]),
    ],
    ids=str,
)
def test_it_looks_at_these_updates_only(settings, times):
    model, callback = make_model(), adaptive(tolerance=NEVER, **settings)
    fit(model, callback)
    assert callback.looks["time"] == times
    assert callback.looks["steps"] == [0] * len(times)
    assert len(callback.looks["flossing_loss"]) == len(times)


@pytest.mark.slow
def test_until_counts_epochs_where_looks_do():
    callback = adaptive(every="epoch", tolerance=NEVER, until=2)
    fit(make_model(), callback, epochs=4)
    assert callback.looks["time"] == [1, 2]


@pytest.mark.slow
def test_steps_per_execution_pass_a_multiple():
    # Executions end after updates 2, 4, 5 and 7, 9, 10: they pass 3, 6, 9.
    model, callback = make_model(steps_per_execution=2), adaptive(every=3, tolerance=ALWAYS)
    fit(model, callback)
    assert callback.looks["time"] == [3, 6, 9]
    assert callback.looks["steps"] == [2, 2, 2]


@pytest.mark.slow
def test_a_look_takes_one_batch_whatever_an_execution_is():
    # The loss of batch 1, the first look being one on from where flossing stopped.
    of = Ladder(steps_per_execution=4)
    callback = AdaptiveFlossing(of.data, every=4, tolerance=NEVER, **of.settings)
    fit(of.model, callback, epochs=1)
    assert of.batches(callback.looks["flossing_loss"]) == [1]


@pytest.mark.slow
def test_looks_move_nothing():
    model, before, after = make_model(), Snapshots(), Snapshots()
    callback = adaptive(every=2, tolerance=NEVER)
    fit(model, before, callback, after, epochs=1)
    assert callback.looks["time"] == [2, 4]
    assert callback.history == []
    assert int(model.flossing_optimizer.iterations) == 0
    for earlier, later in zip(before.seen, after.seen, strict=True):
        for a, b in zip(earlier, later, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_look_sees_what_a_flossing_step_would_log():
    still = make_model(flossing_optimizer=keras.optimizers.SGD(0.0))
    # One sequence, so that all data are alike.
    flossing = Flossing(k=2, window=6, warmup=1, target=-0.1)
    callback = adaptive(X[:1], flossing=flossing, every=2, tolerance=ALWAYS, steps=1)
    fit(still, callback, epochs=1)
    logged = [h.history["flossing_loss"][0] for h in callback.history]
    assert len(logged) == 2
    # Two traces of the same float32 operations.
    np.testing.assert_allclose(callback.looks["flossing_loss"], logged, rtol=1e-4)


def test_it_flosses_only_past_the_tolerance():
    losses = adaptive(every=3, tolerance=NEVER)
    fit(make_model(), losses)
    low, high = sorted(losses.looks["flossing_loss"])[::2]
    assert low < high
    callback = adaptive(every=3, tolerance=(low + high) / 2, steps=1)
    # Flossing that moves nothing leaves the later looks as they were, but for their data.
    fit(make_model(flossing_optimizer=keras.optimizers.SGD(0.0)), callback)
    past = np.greater(callback.looks["flossing_loss"], callback.tolerance)
    assert 0 < sum(past) < 3
    np.testing.assert_array_equal(callback.looks["steps"], past)
    assert len(callback.history) == sum(past)


def test_it_stops_once_three_losses_are_below_a_tenth_of_the_tolerance():
    optimizer = keras.optimizers.Adam(0.01)
    model = make_model(flossing_optimizer=optimizer)
    callback = adaptive(X[:1], every=3, tolerance=0.01, steps=500)
    fit(model, callback, epochs=1)
    losses = callback.history[0].history["flossing_loss"]
    assert callback.looks["flossing_loss"][0] > 0.01
    assert 1 < len(losses) < 500
    means = np.convolve(losses, np.ones(3) / 3, "valid")
    assert means[-1] < 0.001 <= min(means[:-1])
    assert callback.looks["steps"] == [len(losses)]
    assert int(optimizer.iterations) == len(losses)


def test_it_stops_after_steps_otherwise():
    model = make_model()
    callback = adaptive(every=4, tolerance=ALWAYS, steps=3)
    fit(model, callback)
    assert callback.looks["steps"] == [3, 3]
    assert [len(h.history["flossing_loss"]) for h in callback.history] == [3, 3]
    assert int(model.flossing_optimizer.iterations) == 6


@pytest.mark.parametrize(
    "wrapped", cells({"FlossingModel": True, "plain": False}, always=["plain"])
)
def test_harm_to_the_task_is_undone(wrapped, monkeypatch):
    before, after = Weights(), Weights()
    settings = {"every": 2, "tolerance": ALWAYS}
    monkeypatch.setattr(task_watch, "HARM", -2.0)  # all is harm
    callback = adaptive((X, Y), **settings)
    fit(make_model(wrapped), before, callback, after, epochs=1)
    assert callback.looks["undone"] == [1, 1]
    assert callback.looks["steps"] == [2, 2]  # at a loss that is past −1 times what it was
    same = [np.array_equal(a, b) for a, b in zip(before.seen, after.seen, strict=True)]
    assert all(same)
    monkeypatch.setattr(task_watch, "HARM", np.inf)  # nothing is
    before, after, callback = Weights(), Weights(), adaptive((X, Y), **settings)
    fit(make_model(wrapped), before, callback, after, epochs=1)
    assert callback.looks["undone"] == [0, 0]
    same = [np.array_equal(a, b) for a, b in zip(before.seen, after.seen, strict=True)]
    assert same == [True, True, False, True, False]


def test_it_rests_while_the_loss_of_the_task_falls(monkeypatch):
    monkeypatch.setattr(task_watch, "FALLING", 2.0)  # it always does
    callback = adaptive((X, Y), every=1, tolerance=ALWAYS)
    fit(make_model(), callback, epochs=1)
    # At the first look it cannot be told.
    assert callback.looks["steps"] == [2, 0, 0, 0]
    # Without targets there is nothing to look at.
    callback = adaptive(every=1, tolerance=ALWAYS)
    fit(make_model(), callback, epochs=1)
    assert callback.looks["steps"] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    "make", [AdaptiveFlossing, pytest.param(PeriodicFlossing, marks=pytest.mark.slow)]
)
def test_the_steps_in_a_plain_model_are_small(make):
    model = make_model(wrapped=False)
    model.optimizer.learning_rate = 0.0
    kernel = model.get_layer("rnn").cell.recurrent_kernel
    before = kernel.numpy()
    fit(model, make(X, every=4, steps=3, verbose=0), epochs=1)
    moved = np.linalg.norm(kernel.numpy() - before) / np.linalg.norm(before)
    # Three steps of 0.0006 of the norm, which they change, too.
    assert 0.0006 < moved < 0.00181


class Ladder:
    """Weights that stay, and data whose losses tell batch 0, 1, 2, ... apart."""

    def __init__(self, wrapped=True, **compiled):
        self.optimizer = keras.optimizers.SGD(0.0)
        self.model = make_model(wrapped, self.optimizer, **compiled)
        self.model.optimizer.learning_rate = 0.0
        rnn = (self.model.model if wrapped else self.model).get_layer("rnn")
        levels = np.linspace(1, 3, 12, dtype="float32")
        x = np.tile(levels[:, None, None], (1, 8, 2))
        self.data = tf.data.Dataset.from_tensor_slices(x).batch(1)
        self.losses = keras_floss.lyapunov_exponents(rnn, x, 1).numpy()[:, 0] ** 2
        self.settings = {
            "flossing": Flossing(k=1, target=0.0, warmup=0, input_drive=0.0),
            "verbose": 0,
        }
        if not wrapped:
            self.settings["optimizer"] = self.optimizer

    def batches(self, losses):
        """The numbers of the batches that have these losses."""
        away = np.abs(np.log(np.divide.outer(losses, self.losses)))
        # Two float32 traces are nearer than 1e-3, two batches are not.
        assert np.all(np.sum(away < 1e-3, axis=1) == 1)
        return np.argmin(away, axis=1).tolist()


@pytest.mark.parametrize(
    "wrapped", cells({"FlossingModel": True, "plain": False}, always=["FlossingModel"])
)
def test_flossing_goes_on_in_the_data_where_it_stopped(wrapped):
    of = Ladder(wrapped)
    before = Preflossing(of.data, steps=3, **of.settings)
    periodic = PeriodicFlossing(of.data, every=4, steps=2, **of.settings)
    fit(of.model, before, periodic)
    assert of.batches(before.history.history["flossing_loss"]) == [0, 1, 2]
    found = [of.batches(h.history["flossing_loss"]) for h in periodic.history]
    assert found == [[3, 4], [5, 6]]
    assert int(of.optimizer.iterations) == 7


@pytest.mark.slow
def test_looks_and_flossing_go_on_in_the_data():
    of = Ladder()
    callback = AdaptiveFlossing(of.data, every=2, tolerance=NEVER, **of.settings)
    fit(of.model, callback, epochs=1)
    looks = of.batches(callback.looks["flossing_loss"])
    assert len(set(looks)) == 2
    callback = AdaptiveFlossing(of.data, every=2, steps=3, tolerance=1e-9, **of.settings)
    fit(of.model, callback, epochs=1)
    found = [of.batches(h.history["flossing_loss"]) for h in callback.history]
    assert found == [[0, 1, 2], [3, 4, 5]]
    # The second look is past what was flossed on before it.
    assert of.batches(callback.looks["flossing_loss"])[1] > 2


@pytest.mark.slow
def test_a_resumed_run_goes_on_counting():
    whole, parts = make_model(), make_model()
    settings = {"every": 4, "tolerance": ALWAYS, "until": 8}
    callback = adaptive(**settings)
    fit(whole, callback, epochs=3)
    first, second = adaptive(**settings), adaptive(**settings)
    fit(parts, first, epochs=1)
    fit(parts, second, epochs=3, initial_epoch=1)
    assert first.looks["time"] + second.looks["time"] == callback.looks["time"] == [4, 8]
    # The same float32 operations in two traces.
    together = first.looks["flossing_loss"] + second.looks["flossing_loss"]
    np.testing.assert_allclose(together, callback.looks["flossing_loss"], rtol=1e-4)
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_plain_model_with_a_shared_optimizer():
    model, optimizer = make_model(wrapped=False), keras.optimizers.SGD(0.01)
    settings = {"flossing": Flossing(k=1, seed=0), "optimizer": optimizer}
    before = Preflossing(X, steps=3, **settings)
    callback = AdaptiveFlossing(X, every=4, tolerance=ALWAYS, steps=2, **settings)
    fit(model, before, callback)
    assert len(before.history.history["flossing_loss"]) == 3
    assert callback.looks["steps"] == [2, 2]
    assert int(optimizer.iterations) == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"every": 0},
        {"every": "batch"},
        {"tolerance": 0},
        {"tolerance": -1},
        {"tolerance": np.nan},
        {"tolerance": "small"},
        {"steps": 0},
        {"until": 0},
        {"until": 1.5},
    ],
    ids=str,
)
def test_bad_settings_are_named(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {value!r}"):
        AdaptiveFlossing(X, **wrong)


def test_a_nan_in_the_data_is_an_error_that_names_the_layer():
    callback = adaptive(np.full_like(X, np.nan), every=2, steps=20)
    with pytest.raises(FloatingPointError, match=r"10 flossing steps.*rnn"):
        fit(make_model(), callback)
