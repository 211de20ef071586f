"""The network of the flossing paper: s_t = φ(s_{t-1}) U + x_t W + b."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import make_inputs, numpy_exponents

from keras_floss import lyapunov_exponents
from keras_floss.layers import RateRNN, RateRNNCell


def trajectory(layer, inputs, state=None):
    """The definition in NumPy: `(batch, time, units)`."""
    weights = {v.name: v.numpy() for v in layer.weights}
    s = np.zeros((len(inputs), layer.units)) if state is None else state
    states = []
    for x in inputs.swapaxes(0, 1):
        s = np.tanh(s) @ weights["recurrent_kernel"] + x @ weights["kernel"]
        s = s + weights.get("bias", 0)
        states.append(s)
    return np.stack(states, axis=1)


def make(**options):
    keras.utils.set_random_seed(3)
    layer = RateRNN(6, dtype="float64", **options)
    layer.build((2, None, 3))
    return layer


@pytest.mark.parametrize("use_bias", [True, False])
def test_one_step_is_the_formula(use_bias):
    keras.utils.set_random_seed(0)
    cell = RateRNNCell(5, use_bias=use_bias, dtype="float64")
    rng = np.random.default_rng(0)
    x, s = rng.standard_normal((2, 3)), rng.standard_normal((2, 5))
    output, (state,) = cell(x, [s])
    w, u = cell.kernel.numpy(), cell.recurrent_kernel.numpy()
    expected = np.tanh(s) @ u + x @ w + (cell.bias.numpy() if use_bias else 0)
    np.testing.assert_allclose(state, expected, atol=1e-14)
    np.testing.assert_array_equal(output, state)  # read out before the nonlinearity
    assert len(cell.weights) == 2 + use_bias


def test_the_initialisers_are_those_of_the_paper():
    keras.utils.set_random_seed(1)
    units, features = 200, 30
    layer = RateRNN(units)
    layer.build((None, None, features))
    kernel, recurrent, bias = layer.get_weights()
    # The standard deviation of n normal numbers is known to 1/sqrt(2n): five of them.
    for weights, std in [(recurrent, units**-0.5), (kernel, 1.0)]:
        n = weights.size
        assert abs(weights.std() / std - 1) < 5 / np.sqrt(2 * n)
        assert abs(weights.mean()) < 5 * std / np.sqrt(n)
        # A truncated normal would end at two standard deviations.
        assert np.abs(weights).max() > 3 * std
    assert bias.min() >= 0
    assert bias.max() <= 0.1
    assert abs(bias.mean() - 0.05) < 5 * (0.1 / np.sqrt(12)) / np.sqrt(units)


def test_initialisers_of_the_user():
    layer = RateRNN(
        4,
        kernel_initializer="ones",
        recurrent_initializer="identity",
        bias_initializer="zeros",
        trainable_initial_state=True,
        initial_state_initializer=keras.initializers.Constant(0.5),
        activation="relu",
    )
    outputs = layer(np.ones((1, 1, 2), "float32"))
    np.testing.assert_allclose(outputs, np.full((1, 4), 0.5 + 2.0))


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
def test_options_of_keras(go_backwards, unroll):
    options = {"go_backwards": go_backwards, "unroll": unroll}
    layer = make(return_sequences=True, return_state=True, **options)
    inputs = make_inputs(2, 7)
    outputs, state = layer(inputs)
    expected = trajectory(layer, inputs[:, ::-1] if go_backwards else inputs)
    np.testing.assert_allclose(outputs, expected, atol=1e-12)
    np.testing.assert_allclose(state, expected[:, -1], atol=1e-12)
    last = make(**options)
    last.set_weights(layer.get_weights())
    np.testing.assert_allclose(last(inputs), expected[:, -1], atol=1e-12)


def test_masks_and_initial_states():
    layer, inputs = make(), make_inputs(2, 7)
    mask = np.array([[True] * 7, [True] * 4 + [False] * 3])
    start = np.random.default_rng(0).standard_normal((2, 6))
    expected = trajectory(layer, inputs, start)
    outputs = layer(inputs, mask=tf.constant(mask), initial_state=[start])
    np.testing.assert_allclose(outputs[0], expected[0, 6], atol=1e-12)
    np.testing.assert_allclose(outputs[1], expected[1, 3], atol=1e-12)


def test_a_stateful_layer_goes_on_where_it_stopped():
    layer = make(stateful=True)
    inputs = make_inputs(2, 8)
    layer(inputs[:, :5])
    expected = trajectory(layer, inputs)[:, -1]
    np.testing.assert_allclose(layer(inputs[:, 5:]), expected, atol=1e-12)


def test_its_exponents_are_those_of_the_definition():
    layer, inputs = make(), make_inputs(2, 9)
    np.testing.assert_allclose(
        lyapunov_exponents(layer, inputs, warmup=2),
        numpy_exponents(layer.cell, inputs, warmup=2),
        atol=1e-9,
    )


def test_a_learned_initial_state_is_where_it_starts():
    layer = make(trainable_initial_state=True, return_sequences=True)
    start = np.random.default_rng(0).standard_normal(6)
    layer.cell.initial_state.assign(start)
    inputs = make_inputs(2, 5)
    states = np.tile(start, (2, 1))
    expected = trajectory(layer, inputs, states)
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-12)
    np.testing.assert_allclose(
        lyapunov_exponents(layer, inputs),
        numpy_exponents(layer.cell, inputs, [states]),
        atol=1e-9,
    )
    with tf.GradientTape() as tape:
        exponents = lyapunov_exponents(layer, inputs, k=2)
    gradient = tape.gradient(exponents, layer.cell.initial_state.value)
    assert np.abs(gradient).max() > 1e-4


def test_a_learned_initial_state_is_trained():
    keras.utils.set_random_seed(0)
    rnn = RateRNN(4, trainable_initial_state=True)
    model = keras.Sequential([keras.Input((3, 2)), rnn])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    assert any(v is rnn.cell.initial_state for v in model.trainable_variables)
    x, y = np.zeros((8, 3, 2), "float32"), np.ones((8, 4), "float32")
    model.fit(x, y, verbose=0)
    assert np.abs(rnn.cell.initial_state.numpy()).max() > 1e-4


def test_config_goes_round():
    options = {
        "units": 4,
        "activation": "relu",
        "use_bias": False,
        "kernel_initializer": keras.initializers.RandomNormal(stddev=0.3),
        "recurrent_initializer": "orthogonal",
        "bias_initializer": "ones",
        "trainable_initial_state": True,
        "initial_state_initializer": keras.initializers.Constant(0.2),
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "dtype": "mixed_float16",
        "trainable": False,
        "name": "mine",
    }
    layer = RateRNN(**options)
    config = layer.get_config()
    copy = RateRNN.from_config(config)
    assert copy.get_config() == config
    assert set(options) <= set(config)
    # Each option reached the layer, and differs from its default.
    default = RateRNN(4).get_config()
    assert not [key for key in options if key != "units" and config[key] == default[key]]
    cell = RateRNNCell.from_config(layer.cell.get_config())
    assert cell.get_config() == layer.cell.get_config()


def test_a_model_is_loaded_without_custom_objects(tmp_path):
    inputs = keras.Input((None, 3))
    outputs = RateRNN(5, trainable_initial_state=True, return_sequences=True)(inputs)
    outputs = keras.layers.RNN(RateRNNCell(4))(outputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([w + 0.1 for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = make_inputs(2, 6).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("units", [0, -1, 2.5, "8", None])
def test_units_must_be_a_positive_integer(units):
    with pytest.raises(ValueError, match="`units`.*Received: ") as error:
        RateRNN(units)
    assert str(error.value).endswith(repr(units))
