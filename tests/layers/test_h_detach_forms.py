"""HDetachLSTM as a part of models: settings, files, training, flossing."""

import contextlib
import inspect
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from h_detach_reference import backward, forward

from keras_floss import Flossing, FlossingModel, LyapunovRegularizer, lyapunov_exponents
from keras_floss.callbacks import AdaptiveFlossing, LyapunovMonitor, Preflossing
from keras_floss.layers import HDetachLSTM, HDetachLSTMCell
from keras_floss.layers.h_detach_lstm import LSTMKeywords

layers = keras.layers
TIME, FEATURES, UNITS, SEED = 6, 2, 3, 5
RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, TIME, FEATURES)).astype("float32")
Y = RNG.standard_normal((8, TIME, UNITS)).astype("float32")
WEIGHTS = [
    RNG.standard_normal(shape)
    for shape in [(FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)]
]


# Settings.


@pytest.mark.parametrize("kind", [HDetachLSTM, HDetachLSTMCell])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf"), "x", True, None])
def test_the_rate_must_be_a_probability(kind, value):
    with pytest.raises(ValueError, match="`detach_rate` must be .* 0 to 1") as error:
        kind(4, detach_rate=value)
    assert str(error.value).endswith(f"Received: {value!r}")


@pytest.mark.parametrize("kind", [HDetachLSTM, HDetachLSTMCell])
@pytest.mark.parametrize("value", ["x", "H", None, True])
def test_detach_is_h_or_c(kind, value):
    with pytest.raises(ValueError, match="`detach` must be 'h', or 'c'") as error:
        kind(4, detach=value)
    assert str(error.value).endswith(f"Received: {value!r}")


def test_there_is_no_cudnn():
    with pytest.raises(ValueError, match="`use_cudnn` must be 'auto' or False"):
        HDetachLSTM(4, use_cudnn=True)
    for value in (False, "auto"):
        HDetachLSTM(4, use_cudnn=value)


@pytest.mark.parametrize("kind", [HDetachLSTM, HDetachLSTMCell])
@pytest.mark.parametrize("units", [0, -1])
def test_units_must_be_positive(kind, units):
    with pytest.raises(ValueError, match=f"`units`.*{units}"):
        kind(units)


@pytest.mark.parametrize("kind", [HDetachLSTM, HDetachLSTMCell])
def test_an_argument_that_there_is_not(kind):
    with pytest.raises(ValueError, match="rate_of_detaching"):
        kind(4, rate_of_detaching=0.5)


def test_no_keyword_of_keras_is_missing():
    """What a type checker accepts is what `keras.layers.LSTM` takes, and `use_cudnn`."""
    keras_takes = {
        *inspect.signature(keras.layers.LSTM).parameters,
        *inspect.signature(keras.layers.RNN).parameters,
        *inspect.signature(keras.Layer).parameters,
    }
    ours = {*inspect.signature(HDetachLSTM).parameters, *LSTMKeywords.__annotations__}
    assert keras_takes - {"args", "cell"} <= ours


def test_config_goes_round():
    options = {
        "units": 4,
        "detach_rate": 0.75,
        "detach": "c",
        "activation": "relu",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": False,
        "kernel_initializer": keras.initializers.RandomNormal(stddev=0.3),
        "recurrent_initializer": "glorot_normal",
        "bias_initializer": "ones",
        "unit_forget_bias": False,
        "kernel_regularizer": "l1",
        "recurrent_regularizer": "l2",
        "bias_regularizer": keras.regularizers.L2(0.2),
        "kernel_constraint": "non_neg",
        "recurrent_constraint": "max_norm",
        "bias_constraint": "unit_norm",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "seed": 9,
    }
    of_the_layer = {
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "activity_regularizer": "l2",
        "dtype": "mixed_float16",
        "trainable": False,
        "name": "mine",
    }
    for kind, extra in ((HDetachLSTM, of_the_layer), (HDetachLSTMCell, {})):
        given = {**options, **extra}
        layer = kind(**given)
        config = layer.get_config()
        assert kind.from_config(dict(config)).get_config() == config
        # Each option reached the layer, and differs from its default.
        default = kind(4).get_config()
        rest = [k for k in given if k != "units" and config[k] == default.get(k)]
        assert not rest
    # The layer takes what the LSTM takes.
    theirs = layers.LSTM(4, activity_regularizer="l2").get_config()
    assert set(theirs) <= set(config := HDetachLSTM(**options, **of_the_layer).get_config())
    assert set(config) - set(theirs) == {"detach_rate", "detach"}


def test_the_rate_is_no_weight():
    layer = HDetachLSTM(UNITS, 0.25)
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    assert len(layer.weights) == len(model.weights) == 3
    assert len(layer.trainable_variables) == len(model.trainable_variables) == 3
    assert not [v for v in model.variables if v is layer.detach_rate]
    assert layer.detach_rate.numpy() == 0.25
    layer.detach_rate.assign(0.5)
    assert layer.get_config()["detach_rate"] == 0.5


def test_a_frozen_layer_has_nothing_to_train():
    layer = HDetachLSTM(UNITS, trainable=False)
    layer.build(X.shape)
    assert len(layer.weights) == 3
    assert layer.trainable_variables == layer.cell.trainable_variables == []


# Files.


def some_model():
    """Two layers, a Bidirectional, cells in a layer of their own."""
    inputs = keras.Input((None, FEATURES))
    x = HDetachLSTM(4, 0.3, seed=3, return_sequences=True, name="first")(inputs)
    both = HDetachLSTM(3, 0.75, "c", seed=4, return_sequences=True)
    x = layers.Bidirectional(both, name="both")(x)
    cells = [HDetachLSTMCell(3, 0.5), HDetachLSTMCell(2, 1.0, "c")]
    return keras.Model(inputs, layers.RNN(cells, name="cells")(x))


def settings(model):
    cells = [c for c in model._flatten_layers() if isinstance(c, HDetachLSTMCell)]
    return [(float(c.detach_rate.numpy()), c.detach, c.get_config()["seed"]) for c in cells]


@pytest.mark.parametrize("how", ["keras", "clone"])
def test_copies_are_equal(how, tmp_path):
    model = some_model()
    first = model.get_layer("first")
    first.detach_rate.assign(0.1)
    if how == "keras":
        model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras")
    else:
        copy = keras.models.clone_model(model)
        copy.save_weights(tmp_path / "other.weights.h5")
        model.load_weights(tmp_path / "other.weights.h5")
    np.testing.assert_array_equal(copy(X), model(X))
    assert settings(copy) == settings(model)
    assert len(settings(copy)) == 5
    np.testing.assert_allclose(copy.get_layer("first").detach_rate.numpy(), 0.1, rtol=1e-7)
    first.detach_rate.assign(0.9)  # of this model, not of the copy
    np.testing.assert_allclose(copy.get_layer("first").detach_rate.numpy(), 0.1, rtol=1e-7)


# Training.

scope = contextlib.nullcontext


def trained_model(**options):
    with scope():
        rnn = HDetachLSTM(UNITS, 0.5, return_sequences=True, seed=SEED)
        model = keras.Sequential([keras.Input((TIME, FEATURES)), rnn])
        model.set_weights(WEIGHTS)
        model.compile(keras.optimizers.SGD(1.0), "mse", **options)
    return model


def train(model):
    """Two epochs at one rate, one at another."""
    data = {"batch_size": 4, "shuffle": False, "verbose": 0}
    model.fit(X, Y, epochs=2, **data)
    model.layers[0].detach_rate.assign(1.0)
    model.fit(X, Y, **data)
    return model.get_weights()


def numpy_training(rates=(0.5, 0.5, 1.0)):
    """The same by the definition; the draws are those of a cell with the same seed."""
    twin = HDetachLSTMCell(UNITS, seed=SEED)
    weights, zeros = WEIGHTS, [np.zeros((4, UNITS))] * 2
    for rate in rates:
        twin.detach_rate.assign(rate)
        for start in (0, 4):
            outputs, steps = forward(weights, X[start : start + 4], zeros)
            by_outputs = 2 * (outputs - Y[start : start + 4]) / outputs.size
            blocked = twin.draw(TIME).numpy()
            gradients = backward(weights, steps, by_outputs, blocked)[3:]
            weights = [w - g for w, g in zip(weights, gradients, strict=True)]
    return weights


def assert_trained(weights):
    for ours, expected in zip(weights, numpy_training(), strict=True):
        # Six steps in float32, of weights of order 1.
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_the_rate_matters_to_training():
    """Else the tests below would show nothing."""
    result = numpy_training()
    for rates in [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)]:
        pairs = zip(result, numpy_training(rates), strict=True)
        assert max(np.abs(a - b).max() for a, b in pairs) > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"jit_compile": False},
        {"jit_compile": True},
        {"jit_compile": False, "steps_per_execution": 2},
        {"run_eagerly": True},
    ],
    ids=str,
)
def test_fit_takes_the_steps_of_the_definition(options):
    assert_trained(train(trained_model(**options)))


@pytest.mark.slow
def test_two_devices_draw_the_same_and_do_what_one_does(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, __file__, tmp_path], check=True, timeout=300, env=environment
    )
    with np.load(tmp_path / "weights.npz") as found:
        assert_trained([found[name] for name in found.files])


def main(folder):
    global scope
    device = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(device, two)
    scope = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope
    np.savez(folder / "weights.npz", *train(trained_model(jit_compile=False)))


# Flossing: that of an LSTM, since nothing is blocked in the exponents.


def two(detach_rate, wrap=lambda layer: layer, **options):
    """Models with an LSTM and an HDetachLSTM of the same weights."""
    models = []
    for rnn in (
        layers.LSTM(UNITS, use_cudnn=False, name="rnn"),
        HDetachLSTM(UNITS, detach_rate, seed=SEED, name="rnn"),
    ):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((TIME, FEATURES))
        model = FlossingModel(inputs, layers.Dense(1)(wrap(rnn)(inputs)), **options)
        models.append(model)
    models[1].set_weights(models[0].get_weights())
    return models


def assert_same_history(ours, theirs):
    assert set(ours) == set(theirs)
    for key in theirs:
        # Two traces of the same float32 operations.
        np.testing.assert_allclose(
            ours[key], theirs[key], rtol=1e-4, atol=1e-6, err_msg=key
        )


def assert_same_weights(ours, theirs):
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_its_exponents_are_those_of_the_lstm():
    plain, ours = layers.LSTM(UNITS), HDetachLSTM(UNITS, 1.0)
    for layer in (plain, ours):
        layer.build(X.shape)
        layer.set_weights(WEIGHTS)
    mask = np.arange(TIME) < np.arange(3, 11)[:, None]
    options = {"warmup": 1, "qr_interval": 2, "mask": mask}
    expected = lyapunov_exponents(plain, X, **options)
    np.testing.assert_array_equal(lyapunov_exponents(ours, X, **options), expected)


SETTINGS = {"flossing": Flossing(k=2, warmup=1), "verbose": 0}


def batches():
    return tf.data.Dataset.from_tensor_slices(X).batch(2)


def compile_still(model):
    """With a task whose steps have length 0: what moves is moved by flossing."""
    adam = keras.optimizers.Adam(0.01)
    task = keras.optimizers.SGD(0.0)
    model.compile(task, "mse", flossing_optimizer=adam, jit_compile=False)


@pytest.mark.slow
def test_it_is_flossed_like_the_lstm():
    models = two(0.5)
    before = models[0].get_weights()
    for model in models:
        compile_still(model)
    theirs, ours = (model.floss(batches(), 3, **SETTINGS).history for model in models)
    assert_same_history(ours, theirs)
    assert_same_weights(*models)
    assert np.abs(models[1].get_weights()[1] - before[1]).max() > 0.01


@pytest.mark.slow
def test_callbacks_floss_it_like_the_lstm():
    models, results = two(0.5), []
    for model in models:
        compile_still(model)
        preflossing = Preflossing(batches(), steps=2, **SETTINGS)
        adaptive = AdaptiveFlossing(batches(), every=1, tolerance=0.01, steps=2, **SETTINGS)
        monitor = LyapunovMonitor(X, every=1, flossing=Flossing(k=2, warmup=1))
        model.fit(
            X,
            Y[:, 0, :1],
            batch_size=2,
            shuffle=False,
            callbacks=[preflossing, adaptive, monitor],
            verbose=0,
        )
        logs = [preflossing.history.history, adaptive.looks, monitor.history]
        results.append([*logs, *(history.history for history in adaptive.history)])
    theirs, ours = results
    assert len(ours) == len(theirs) > 3  # AdaptiveFlossing flossed
    for a, b in zip(ours, theirs, strict=True):
        assert_same_history(a, b)
    assert_same_weights(*models)


def histories(models):
    """Of two epochs of training with SGD."""
    found = []
    for model in models:
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        data = {"batch_size": 4, "shuffle": False, "verbose": 0, "epochs": 2}
        found.append(model.fit(X, Y[:, 0, :1], **data).history)
    return found


@pytest.mark.slow
def test_joint_flossing_at_rate_0_is_that_of_the_lstm():
    models = two(0.0, strength=0.5, flossing=Flossing(k=2, warmup=1, batch_size=2))
    theirs, ours = histories(models)
    assert theirs["flossing_loss"][1] < theirs["flossing_loss"][0]
    assert_same_history(ours, theirs)
    assert_same_weights(*models)


@pytest.mark.slow
def test_the_regularizer_at_rate_0_trains_like_that_of_the_lstm():
    models = two(0.0, lambda rnn: LyapunovRegularizer(rnn, 0.5, SETTINGS["flossing"]))
    theirs, ours = histories(models)
    assert_same_history(ours, theirs)
    assert_same_weights(*models)


def test_the_penalty_of_the_regularizer_is_that_of_the_lstm():
    """Its gradient too: what h-detach blocks is the gradient of the task alone."""

    def penalty(rnn):
        wrapped = LyapunovRegularizer(rnn, flossing=Flossing(k=2, warmup=1))
        wrapped.build(X.shape)
        wrapped.set_weights(WEIGHTS)
        with tf.GradientTape() as tape:
            wrapped(X, training=True)
            loss = sum(wrapped.losses)
        return [loss, *tape.gradient(loss, [w.value for w in wrapped.weights])]

    theirs, ours = penalty(layers.LSTM(UNITS)), penalty(HDetachLSTM(UNITS, 1.0))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))


def test_inputs_whose_features_are_not_known_when_traced():
    layer = HDetachLSTM(UNITS, 1.0)
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype("float32")
    layer.build(x.shape)
    call = tf.function(
        lambda x: layer(x, training=True),
        input_signature=[tf.TensorSpec([None, None, None])],
        autograph=False,
    )
    np.testing.assert_allclose(call(x), layer(x), rtol=1e-6)


def test_the_rate_is_assigned_to_and_not_replaced():
    """A number in its place would be frozen in what is traced."""
    layer = HDetachLSTM(UNITS, 0.5)
    for owner in (layer, layer.cell):
        with pytest.raises(AttributeError):
            owner.detach_rate = 0.25
