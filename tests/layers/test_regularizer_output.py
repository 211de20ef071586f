"""LyapunovRegularizer changes nothing of what the wrapped layer gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import Flossing, LyapunovRegularizer

layers = keras.layers
X = np.random.default_rng(0).standard_normal((3, 6, 2)).astype("float32")
MASK = np.array([[True] * 6, [True] * 4 + [False] * 2, [True] * 1 + [False] * 5])


def pair(layer):
    """A layer and a regulariser around it: the same weights, for they share them."""
    layer.build((None, None, 2))
    return layer, LyapunovRegularizer(layer, flossing=Flossing(k=2))


def same(actual, expected):
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.GRU(4),
        lambda: layers.LSTM(3, return_sequences=True, return_state=True),
        lambda: layers.SimpleRNN(4, go_backwards=True, return_sequences=True),
        lambda: layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        lambda: layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], return_state=True),
    ],
    ids=["GRU", "LSTM with states", "backwards", "Bidirectional", "stacked"],
)
def test_the_output_is_that_of_the_layer(make, training):
    layer, wrapped = pair(make())
    mask = tf.constant(MASK)
    same(wrapped(X, mask=mask, training=training), layer(X, mask=mask))
    same(wrapped(X, training=training), layer(X))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("both_ways", [False, True])
def test_initial_states_are_passed_on(both_ways, training):
    layer = layers.LSTM(3)
    layer, wrapped = pair(layers.Bidirectional(layer) if both_ways else layer)
    rng = np.random.default_rng(1)
    states = rng.standard_normal((4 if both_ways else 2, 3, 3)).astype("float32")
    states = [tf.constant(s) for s in states]
    expected = layer(X, initial_state=states)
    assert np.abs(expected - layer(X)).max() > 1e-3
    same(wrapped(X, initial_state=states, training=training), expected)


def test_the_mask_of_an_embedding_goes_in_and_out():
    def model(wrap):
        keras.utils.set_random_seed(0)
        tokens = keras.Input((None,), dtype="int32")
        x = layers.Embedding(10, 2, mask_zero=True)(tokens)
        x = wrap(layers.GRU(3, return_sequences=True))(x)
        return keras.Model(tokens, layers.GRU(2)(x))  # sees the mask as well

    tokens = np.array([[3, 4, 5, 0, 0], [1, 2, 3, 4, 5]])
    plain = model(lambda x: x)(tokens)
    wrapped = model(lambda x: LyapunovRegularizer(x, flossing=Flossing(k=2)))(tokens)
    np.testing.assert_array_equal(wrapped, plain)
    # The padded row is the row cut short, so that the mask was not lost on the way.
    short = model(lambda x: LyapunovRegularizer(x, flossing=Flossing(k=2)))(tokens[:1, :3])
    np.testing.assert_allclose(wrapped[0], short[0], atol=1e-6)


@pytest.mark.parametrize("return_sequences", [False, True])
def test_a_symbolic_call_knows_its_shape(return_sequences):
    inputs = keras.Input((None, 2))
    rnn = layers.LSTM(3, return_sequences=return_sequences, return_state=True)
    outputs, h, c = LyapunovRegularizer(rnn)(inputs)
    assert outputs.shape == ((None, None, 3) if return_sequences else (None, 3))
    assert h.shape == c.shape == (None, 3)


def test_its_weights_are_those_of_the_layer():
    layer, wrapped = pair(layers.LSTM(3))
    wrapped(X)
    assert [id(v) for v in wrapped.weights] == [id(v) for v in layer.weights]


def test_a_model_is_loaded_without_custom_objects(tmp_path):
    inputs = keras.Input((None, 2))
    flossing = Flossing(k=2, target=[0.1, -0.2], warmup=1, qr_interval=2, seed=4)
    rnn = layers.LSTM(3, return_sequences=True)
    outputs = LyapunovRegularizer(rnn, 0.5, flossing, name="floss")(inputs)
    both = layers.Bidirectional(layers.GRU(3))
    outputs = LyapunovRegularizer(both)(outputs)
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X), model(X))
    assert loaded.get_layer("floss").flossing == flossing
    assert float(loaded.get_layer("floss").strength) == 0.5
    # The penalty is saved with it: the seed is the frame's, so that it is the same.
    losses = []
    for m in (model, loaded):
        m(X, training=True)
        losses.append([float(x) for x in m.losses])
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
