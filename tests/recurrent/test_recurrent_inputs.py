"""What a recurrent layer behind others runs over, as the looks at a layer take it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_floss

WORDS = np.array([[1, 2, 3, 4, 0, 0], [4, 3, 2, 1, 2, 3]])


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(5, 4, mask_zero=True)(inputs)
    x = keras.layers.LSTM(3, return_sequences=True, name="memory")(x)
    x = keras.layers.Bidirectional(keras.layers.GRU(2), name="both")(x)
    return keras.Model(inputs, keras.layers.Dense(1)(x))


@pytest.mark.slow
def test_the_looks_at_it_are_those_of_the_model():
    net = network()
    found = keras_floss.recurrent_inputs(net, WORDS)
    assert {name: run.states for name, run in found.items()} == {
        "memory": 6,
        "both/forward": 2,
        "both/backward": 2,
    }
    assert found["memory"].rnn is net.get_layer("memory")
    np.testing.assert_array_equal(found["memory"].mask, WORDS != 0)
    model = keras_floss.FlossingModel(net)
    model.compile("sgd", "mse")
    spectra = model.lyapunov_spectrum(WORDS)
    for name, run in found.items():
        exponents = keras_floss.lyapunov_exponents(**run._asdict())
        # Float32, in two traces; a direction may be lost (−∞) in both.
        np.testing.assert_allclose(exponents, spectra[name], rtol=1e-3, atol=1e-4)


def test_some_layers_of_a_model_that_is_not_built():
    net = keras.Sequential([keras.layers.SimpleRNN(3, stateful=True, name="rnn")])
    x = np.ones((2, 5, 1), "float32")
    assert list(keras_floss.recurrent_inputs(net, x, layers="rnn")) == ["rnn"]
    # A call that looks on leaves no trace in the states that are kept.
    np.testing.assert_array_equal(net.layers[0].states[0], np.zeros((2, 3)))
    with pytest.raises(ValueError, match="'magic'.*There are: rnn"):
        keras_floss.recurrent_inputs(net, x, layers="magic")


def test_in_a_graph_it_says_that_it_is_for_eager_code():
    net = network()
    with pytest.raises(ValueError, match="call it eagerly"):
        tf.function(lambda: keras_floss.recurrent_inputs(net, WORDS))()
