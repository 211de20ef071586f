"""What a layer may be and be given: dtypes, states, dropout, own cells, unknown shapes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW
from reference import (
    compiled,
    make_inputs,
    make_layer,
    make_states,
    numpy_exponents,
)

from keras_floss import lyapunov_exponents

layers = keras.layers


def test_batch_and_time_may_be_unknown():
    layer, inputs = make_layer("LSTM"), make_inputs(3, 8)
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.float64)])
    def gradient(inputs):
        traces.append(inputs.shape)
        with tf.GradientTape() as tape:
            exponents = lyapunov_exponents(layer, inputs, k=3, warmup=2, qr_interval=2)
            loss = tf.reduce_sum(exponents)
        return exponents, tape.gradient(loss, layer.trainable_variables)

    for x in (inputs, inputs[:2, :6]):
        exponents, gradients = gradient(x)
        expected = numpy_exponents(layer.cell, x, k=3, warmup=2, qr_interval=2)
        np.testing.assert_allclose(exponents, expected, atol=1e-9)
        assert all(np.abs(g).max() > 1e-4 for g in gradients)
    assert traces == [tf.TensorShape([None, None, 3])]


def test_unknown_batch_with_a_mask():
    layer, inputs = make_layer("GRU"), make_inputs(2, 6)
    mask = np.array([[True] * 6, [True] * 4 + [False] * 2])
    function = tf.function(
        lambda x, m: lyapunov_exponents(layer, x, mask=m),
        input_signature=[
            tf.TensorSpec([None, None, 3], tf.float64),
            tf.TensorSpec([None, None], tf.bool),
        ],
        autograph=False,
    )
    expected = numpy_exponents(layer.cell, inputs[1:, :4])
    np.testing.assert_allclose(function(inputs, mask)[1:], expected, atol=1e-9)


def twins(policy, other, kind="GRU"):
    """Two layers of one kind with equal weights and different dtype policies."""
    wide = make_layer(kind)
    result = []
    for dtype in (policy, other):
        layer = getattr(layers, kind)(wide.units, dtype=dtype)
        layer.build((None, None, 3))
        layer.set_weights(wide.get_weights())
        result.append(layer)
    return result


def test_a_float32_layer_computes_in_float32():
    narrow, wide = twins("float32", "float64")
    inputs = make_inputs(2, 10)
    exponents = lyapunov_exponents(narrow, inputs, k=3)
    assert exponents.dtype == tf.float32
    assert lyapunov_exponents(wide, inputs, k=3).dtype == tf.float64
    expected = lyapunov_exponents(wide, inputs, k=3)
    # float32 rounds to 6e-8; ten steps and the condition of R cost two digits or so.
    np.testing.assert_allclose(exponents, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("kind", "policy"),
    [("GRU", "mixed_float16"), pytest.param("LSTM", "mixed_bfloat16", marks=SLOW)],
)
def test_a_mixed_layer_is_not_rounded_to_half_precision(kind, policy):
    mixed, single = twins(policy, "float32", kind)
    inputs = make_inputs(2, 10)
    exponents = lyapunov_exponents(mixed, inputs, k=3)
    assert exponents.dtype == tf.float32
    # The same arithmetic; half precision would be 1e-3 away.
    np.testing.assert_allclose(exponents, lyapunov_exponents(single, inputs, 3), atol=1e-6)
    assert mixed(inputs).dtype == mixed.compute_dtype  # and the layer is as it was


def test_mixed_stacked_cells():
    def stacked(policy):
        cells = [layers.LSTMCell(3, dtype=policy), layers.GRUCell(4, dtype=policy)]
        layer = layers.RNN(layers.StackedRNNCells(cells, dtype=policy), dtype=policy)
        layer.build((None, None, 3))
        layer.set_weights(make_layer("stacked").get_weights())
        return layer

    inputs = make_inputs(2, 8)
    mixed = lyapunov_exponents(stacked("mixed_float16"), inputs, k=3)
    np.testing.assert_allclose(
        mixed, lyapunov_exponents(stacked("float32"), inputs, k=3), atol=1e-6
    )


def test_float64_cells_in_a_list():
    # Keras puts a list of cells into StackedRNNCells of the default policy, float32.
    cells = make_layer("stacked").cell.cells
    layer = layers.RNN(cells, dtype="float64")
    inputs = make_inputs(2, 8)
    assert layer(inputs).dtype == tf.float64
    exponents = lyapunov_exponents(layer, inputs, k=3)
    assert exponents.dtype == tf.float64
    np.testing.assert_allclose(exponents, numpy_exponents(layer.cell, inputs, k=3))


@pytest.mark.parametrize(
    "dtype",
    ["int32", *(pytest.param(d, marks=SLOW) for d in ("uint8", "float16")), "float64"],
)
def test_inputs_are_cast(dtype):
    layer = make_layer("GRU")
    inputs = np.random.default_rng(0).integers(0, 4, (2, 6, 3))
    exponents = lyapunov_exponents(layer, inputs.astype(dtype))
    expected = numpy_exponents(layer.cell, inputs.astype(float))
    np.testing.assert_allclose(exponents, expected, atol=1e-9)


@pytest.mark.parametrize("make", [pytest.param(layers.LSTM, marks=SLOW), layers.LSTMCell])
def test_what_is_not_built_is_built(make):
    keras.utils.set_random_seed(0)
    fresh, inputs = make(3, dtype="float64"), make_inputs(2, 6)
    exponents = lyapunov_exponents(fresh, inputs)
    assert fresh.built
    cell = getattr(fresh, "cell", fresh)
    np.testing.assert_allclose(exponents, numpy_exponents(cell, inputs), atol=1e-9)


def test_a_stateful_layer_starts_from_its_state_and_keeps_it():
    layer = layers.GRU(4, stateful=True, dtype="float64")
    layer.build((2, 5, 3))
    inputs = make_inputs(2, 5)
    layer(make_inputs(2, 5, seed=8))
    before = [s.numpy() for s in layer.states]
    assert np.abs(before[0]).max() > 1e-3
    for _ in range(2):  # the second time through a reused trace
        exponents = lyapunov_exponents(layer, inputs)
        expected = numpy_exponents(layer.cell, inputs, before)
        np.testing.assert_allclose(exponents, expected, atol=1e-9)
    np.testing.assert_array_equal(layer.states[0], before[0])
    layer(inputs)  # a trace must not freeze the state
    after = [s.numpy() for s in layer.states]
    np.testing.assert_allclose(
        lyapunov_exponents(layer, inputs),
        numpy_exponents(layer.cell, inputs, after),
        atol=1e-9,
    )


def test_a_frozen_layer_has_the_same_exponents_and_gradients_in_its_inputs():
    layer, inputs = make_layer("LSTM"), tf.constant(make_inputs(2, 6))

    def both(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            exponents = lyapunov_exponents(layer, inputs, k=3)
        return exponents, tape.gradient(exponents, inputs)

    expected = compiled(both, False)(inputs)
    layer.trainable = False
    for a, e in zip(compiled(both, False)(inputs), expected, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("kind", ["SimpleRNN", pytest.param("GRU", marks=SLOW), "LSTM"])
def test_dropout_is_off(kind):
    plain = make_layer(kind)
    dropped = make_layer(kind, dropout=0.5, recurrent_dropout=0.5)
    inputs = make_inputs(2, 6)
    dropped(inputs, training=True)  # may leave masks behind
    np.testing.assert_allclose(
        lyapunov_exponents(dropped, inputs), lyapunov_exponents(plain, inputs), atol=1e-12
    )


def test_weights_are_read_at_every_call():
    layer, inputs = make_layer("GRU"), make_inputs(2, 6)
    lyapunov_exponents(layer, inputs)
    layer.set_weights([0.5 * w for w in layer.get_weights()])
    np.testing.assert_allclose(
        lyapunov_exponents(layer, inputs), numpy_exponents(layer.cell, inputs), atol=1e-9
    )


def test_initial_state_is_what_the_layer_takes():
    layer, inputs = make_layer("GRU"), make_inputs(2, 6)
    (state,) = make_states(layer, 2)
    expected = numpy_exponents(layer.cell, inputs, [state])
    for given in (state, [state], (tf.constant(state, tf.float64),)):
        exponents = lyapunov_exponents(layer, inputs, initial_state=given)
        np.testing.assert_allclose(exponents, expected, atol=1e-9)
