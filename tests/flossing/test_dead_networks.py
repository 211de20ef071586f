"""A network of which no direction is left is not taken for a flossed one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells

import keras_floss
from keras_floss import Flossing, FlossingModel
from keras_floss.callbacks import AdaptiveFlossing, LyapunovMonitor

TIME = 12
X = np.random.default_rng(0).normal(size=(4, TIME, 2)).astype("float32")
Y = np.zeros((4, 1), "float32")
SETTINGS = {"flossing": Flossing(k=3, warmup=2, input_drive=0.0), "verbose": 0}


def make(activation="tanh", units=4, jit_compile=False, **settings):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((TIME, 2))
    rnn = keras.layers.SimpleRNN(units, activation=activation, name="rnn")
    outputs = keras.layers.Dense(1)(rnn(inputs))
    model = FlossingModel(inputs, outputs, **settings)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    return model


def large(model):
    model.set_weights([300.0 * w for w in model.get_weights()])


def zero(model):
    model.set_weights([0.0 * w for w in model.get_weights()])


def off(model):
    kernel, recurrent, bias, *rest = model.get_weights()
    model.set_weights([kernel, recurrent, bias - 1e3, *rest])


DEATHS = {"large": ("tanh", large), "zero": ("tanh", zero), "off": ("relu", off)}


def dead(how, **settings):
    activation, kill = DEATHS[how]
    model = make(activation, **settings)
    kill(model)
    return model


@pytest.mark.parametrize(
    ("how", "jit_compile"), cells([*DEATHS], MODES, always=["*-graph", "zero-xla"])
)
def test_ten_steps_without_a_direction_are_an_error_that_says_so(how, jit_compile):
    model = dead(how, jit_compile=jit_compile)
    before = model.get_weights()
    with pytest.raises(FloatingPointError, match=r"10 .*no direction is left.* rnn:.*−∞"):
        model.floss(X, 50, **SETTINGS)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_dead_network_is_skipped_and_counted():
    history = dead("large").floss(1e3 * X, 3, **SETTINGS).history
    assert history["flossing_skipped"] == [1, 2, 3]
    assert history["lost_directions"] == [3, 3, 3]
    assert np.isposinf(history["flossing_loss"]).all()


def test_inputs_that_saturate_every_unit():
    history = make().floss(np.full_like(X, 1e38), 2, **SETTINGS).history
    assert history["flossing_skipped"] == [1, 2]


def test_how_many_directions_are_lost_is_in_the_logs():
    model = make("relu")
    kernel, recurrent, bias, *rest = model.get_weights()
    bias = bias + [40.0, 40.0, -1e3, -1e3]
    model.set_weights([0.1 * kernel, 0.1 * recurrent, bias, *rest])
    history = model.floss(X, 2, batch_size=4, **SETTINGS).history
    assert history["lost_directions"] == [1, 1]  # of three, two units are on
    assert history["flossing_skipped"] == [0, 0]
    assert np.isfinite(history["flossing_loss"]).all()
    assert make().floss(X, 1, **SETTINGS).history["lost_directions"] == [0]


def test_lost_directions_are_the_mean_over_the_sequences():
    x = X.copy()
    x[0] = 1e38  # saturates every unit
    history = make().floss(x, 1, batch_size=4, **SETTINGS).history
    assert history["lost_directions"] == [0.75]  # 3, 0, 0, 0
    assert history["flossing_skipped"] == [0]


def two_layers():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((TIME, 2))
    x = keras.layers.SimpleRNN(3, return_sequences=True, name="lower")(inputs)
    x = keras.layers.SimpleRNN(3, name="upper")(x)
    model = FlossingModel(inputs, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    return model


@pytest.mark.slow
def test_of_two_layers_the_dead_one_is_named():
    model = two_layers()
    layer = model.model.get_layer("upper")
    layer.set_weights([0.0 * w for w in layer.get_weights()])
    with pytest.raises(FloatingPointError, match=r"no direction is left in .* upper:"):
        model.floss(X, 20, **SETTINGS)
    history = model.floss(X, 1, **SETTINGS).history
    assert history["upper/lost_directions"] == [3]
    assert history["lower/lost_directions"] == [0]
    assert history["flossing_skipped"] == [1]


@pytest.mark.slow
def test_a_shared_layer_of_which_one_call_is_dead():
    inputs = keras.Input((TIME, 2))
    rnn = keras.layers.SimpleRNN(3, name="rnn")
    model = FlossingModel(inputs, rnn(inputs) + rnn(1e30 * inputs))
    model.compile("sgd", "mse")
    history = model.floss(X, 1, **SETTINGS).history
    assert history["flossing_skipped"] == [1]
    assert history["lost_directions"] == [1.5]


@pytest.mark.slow
def test_adaptive_flossing_does_not_rest_on_a_dead_network():
    model = dead("zero")
    adaptive = AdaptiveFlossing(X, every=1, **SETTINGS)
    with pytest.raises(FloatingPointError, match="no direction is left"):
        model.fit(X, Y, batch_size=1, verbose=0, callbacks=[adaptive])


def test_the_monitor_does_not_show_zero():
    monitor = LyapunovMonitor(X, flossing=Flossing(k=3, warmup=2))
    dead("large").fit(X, Y, verbose=0, callbacks=[monitor])
    assert np.isposinf(monitor.history["flossing_loss"]).all()
    assert monitor.history["lost_directions"] == [3, 3]


def test_joint_flossing_counts_it_and_leaves_the_task_alone():
    joint, plain = dead("off", strength=1.0, flossing=SETTINGS["flossing"]), dead("off")
    for model in (joint, plain):
        logs = model.fit(X, Y, batch_size=2, shuffle=False, verbose=0).history
        if model is joint:
            assert logs["flossing_skipped"] == [2]
            assert np.isnan(logs["flossing_loss"]).all()
            assert np.isfinite(logs["loss"]).all()
    for ours, theirs in zip(joint.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("strength", [0.5, 0.0])
def test_the_term_of_a_regularizer_is_infinite_and_has_no_gradient(strength):
    rnn = keras.layers.SimpleRNN(3)
    layer = keras_floss.LyapunovRegularizer(rnn, strength=strength)
    layer.build((None, TIME, 2))
    rnn.set_weights([0.0 * w for w in rnn.get_weights()])
    with tf.GradientTape() as tape:
        layer(X, training=True)
        loss = sum(layer.losses)
    assert float(loss) == (np.inf if strength else 0.0)
    for g in tape.gradient(loss, rnn.trainable_variables):
        np.testing.assert_array_equal(g, 0)
