"""When flossing ends, and what its History says of it."""

import re
import warnings

import keras
import numpy as np
import pytest

from keras_floss import FlossingModel, layers, tasks
from keras_floss.callbacks import Preflossing
from keras_floss.flossing.ending import Ending
from keras_floss.flossing.history import StepHistory
from keras_floss.flossing.snapshot import Snapshot

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 20, 1)).astype("float32")


class Program:
    """What `StepHistory` and `Ending` see of the model that takes the flossing steps."""

    stop_training = False
    steps_per_execution = 1


def endings(losses, tolerances=None, arrives=None, variables=()):
    """Feeds losses (or dicts of them, by layer) to an `Ending` until it stops.

    Returns its history.
    """
    tolerances = tolerances or {"rnn": 0.003}
    history, program = StepHistory(tolerances), Program()
    ending = Ending(history, tolerances, Snapshot(variables), arrives)
    for callback in (history, ending):
        callback.set_model(program)
        callback.set_params({"steps": len(losses)})
        callback.on_train_begin()
    for loss in losses:
        logs = {"flossing_loss": loss, "flossing_skipped": 0}
        if isinstance(loss, dict):
            logs = {f"{name}/flossing_loss": value for name, value in loss.items()}
            logs |= {"flossing_loss": np.mean(list(loss.values())), "flossing_skipped": 0}
        for callback in (history, ending):
            callback.on_train_batch_end(0, logs)
        if program.stop_training:
            break
    ending.on_train_end()
    return history


def steps_of(history):
    return history.epoch[-1]


def test_three_losses_in_a_row_are_flossed_in_the_mean():
    history = endings([1.0, 0.002, 0.002, 0.0049, 0.002, 0.002, 0.002])
    assert (history.ended, steps_of(history)) == ("flossed", 4)
    assert history.message == "Flossed in 4 steps: the flossing loss is 0.003."


def test_every_layer_has_to_be_flossed():
    good, bad = {"a": 0.001, "b": 0.001}, {"a": 0.0, "b": 0.02}
    assert endings([bad] * 9, {"a": 0.003, "b": 0.01}).ended == "steps"
    history = endings([bad] * 2 + [good] * 9, {"a": 0.003, "b": 0.01})
    assert (history.ended, steps_of(history)) == ("flossed", 4)


def test_what_is_not_a_number_is_not_flossed():
    assert endings([float("nan")] * 5).ended == "steps"


def test_a_tolerance_of_0_is_never_reached():
    assert steps_of(endings([0.001] * 9, {"rnn": 0.0})) == 9


def relu_network():
    """A layer that loses directions while it is flossed: units fall silent."""
    keras.utils.set_random_seed(0)
    he = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
    rnn = layers.RateRNN(32, "relu", recurrent_initializer=he, return_sequences=True)
    inputs = keras.Input((60, 1))
    model = FlossingModel(inputs, keras.layers.Dense(1)(rnn(inputs)))
    model.compile("adam", "mse")
    return model


def test_flossing_that_loses_directions_is_undone():
    model = relu_network()
    x = np.random.default_rng(0).normal(size=(8, 60, 1)).astype("float32")
    before = model.get_weights()
    with pytest.warns(UserWarning, match="directions were lost on the way"):
        history = model.floss(x, seed=0, verbose=0)
    assert history.ended == "directions lost"
    assert history.history["lost_directions"][-1] > history.history["lost_directions"][0]
    assert history.scaled == {}
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_goes_on_after_an_interruption_is_not_undone():
    weight = keras.Variable(1.0)
    logs = {"flossing_skipped": 0.0, "flossing_loss": 0.5}
    for whole, value in ((True, 1.0), (False, 2.0)):
        history, program = StepHistory(["rnn"]), Program()
        weight.assign(1.0)
        ending = Ending(history, {"rnn": 0.003}, Snapshot([weight]))
        ending.whole = whole
        for callback in (history, ending):
            callback.set_model(program)
            callback.set_params({"steps": 100})
            callback.on_train_begin()
        weight.assign(2.0)
        for lost in [0.0] * 50 + [3.0] * 50:
            for callback in (history, ending):
                callback.on_train_batch_end(0, {**logs, "lost_directions": lost})
        with pytest.warns(UserWarning, match="lost" if whole else "did not converge"):
            ending.on_train_end()
        assert float(weight) == value


def test_what_does_not_converge_is_said_after_as_many_steps_as_the_default():
    with pytest.warns(UserWarning, match="did not converge"):
        history = endings([0.5] * 100)
    assert history.ended == "steps"
    assert "the flossing loss is 0.5" in history.message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        endings([0.5] * 99)
        endings([0.5] * 97 + [0.008] * 3)


@pytest.mark.parametrize(("arrives", "ended"), [(0.05, "not needed"), (0.04, "flossed")])
def test_what_arrives_at_the_first_step_is_not_flossed(arrives, ended):
    weight = keras.Variable(1.0)
    seen = []

    def look():
        seen.append(float(weight.numpy()))
        return arrives

    tolerances = {"rnn": 0.003}
    history, program = StepHistory(tolerances), Program()
    ending = Ending(history, tolerances, Snapshot([weight]), look)
    for callback in (history, ending):
        callback.set_model(program)
        callback.set_params({"steps": 100})
        callback.on_train_begin()
    weight.assign(2.0)  # the first flossing step
    for callback in (history, ending):
        callback.on_train_batch_end(0, {"flossing_loss": 0.019, "flossing_skipped": 0})
    assert seen == [1.0]
    stays = ended == "not needed"
    assert program.stop_training == stays
    assert float(weight.numpy()) == (1.0 if stays else 2.0)
    assert history.ended == (ended if stays else None)


def test_a_high_loss_is_flossed_whatever_arrives():
    assert endings([0.021, *[0.01] * 8], arrives=lambda: 9.0).ended == "steps"


def test_where_the_gradient_arrives_soon_flossing_stops():
    arrives = iter([0.01, 3.9, 4.1])
    losses = [0.01, 0.006, 0.004, 0.006, 0.0039, 0.002]
    history = endings(losses, arrives=lambda: next(arrives))
    assert (history.ended, steps_of(history)) == ("gradient arrives", 5)
    assert "4.1 times" in history.message
    assert "0.0039" in history.message


def test_after_the_first_steps_only_the_loss_counts():
    history = endings([1.0] * 10 + [0.004] * 5, arrives=lambda: 9.0)
    assert history.ended == "steps"


def simple_rnn(loss="mse", layer=keras.layers.SimpleRNN, **options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 1))
    rnn = layer(16, return_sequences=True)(inputs)
    model = FlossingModel(inputs, keras.layers.Dense(1)(rnn))
    model.compile("adam", loss, **options)
    return model


def test_a_network_that_needs_nothing_keeps_its_weights():
    # A delay of one step: the gradient of the steps between is all there.
    model, data = simple_rnn(), tasks.delayed_copy(1, length=20, batch_size=8, seed=0)
    before = model.get_weights()
    history = model.floss(data, k=1, verbose=0)
    assert history.ended == "not needed"
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ((X, X), {"brake": False}),
        pytest.param(X, {}, marks=pytest.mark.slow),
        ((X,), {}),
    ],
    ids=["off", "inputs", "a tuple of inputs"],
)
def test_without_targets_or_with_brake_off_the_task_is_not_looked_at(data, options):
    model = simple_rnn()
    history = model.floss(data, k=4, window=10, verbose=0, **options)
    assert history.ended in ("flossed", "steps")


def test_a_model_without_a_loss_is_flossed_without_a_look():
    assert simple_rnn(loss=None).floss((X, X), 3, k=4, verbose=0).ended == "steps"


def test_gated_layers_are_flossed_without_a_look():
    model = simple_rnn(layer=keras.layers.GRU)
    assert model.floss((X, X), 4, tolerance=1.0, verbose=0).ended == "flossed"


@pytest.mark.slow
def test_it_is_printed_unless_verbose_is_0(capsys):
    model = simple_rnn()
    history = model.floss(X, 20, tolerance=9.0, verbose=2)
    bar, message = capsys.readouterr().out.splitlines()
    assert message == history.message
    # It counts what is done, and says that this is flossing.
    assert re.match(r" 3/20 - .*s/flossing step - flossing_loss: .* - lambda_1: ", bar)
    model.floss(X, 3, verbose=0)
    assert not capsys.readouterr().out


def test_preflossing_says_it_too():
    model = simple_rnn()
    preflossing = Preflossing((X, X), 3, tolerance=9.0)
    model.fit(X, X, verbose=0, callbacks=[preflossing])
    assert preflossing.history.ended == "flossed"
    assert "Flossed in 3 steps" in preflossing.history.message
