"""The spectrum of each recurrent layer is that on the inputs that it really gets.

The inputs are reached while the model is traced; here they are computed by hand from the
layers before, and the public function says what the exponents on them are.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW

from keras_floss import FlossingModel, LyapunovRegularizer, lyapunov_exponents

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 2)).astype("float32")
TOKENS = RNG.integers(0, 5, size=(3, 6))
RNN, LSTM = keras.layers.SimpleRNN, keras.layers.LSTM


def exponents(rnn, x, **kwargs):
    return np.asarray(lyapunov_exponents(rnn, x, 2, **kwargs))


# Each returns a model, its data, and what the exponents by layer must be.


def embedding_mask():
    inputs = keras.Input((6,), dtype="int32")
    embedding = keras.layers.Embedding(5, 2, mask_zero=True)
    rnn = LSTM(2, name="rnn")
    net = keras.Model(inputs, rnn(embedding(inputs)))
    expected = exponents(rnn, embedding(TOKENS), mask=TOKENS != 0)
    assert not np.allclose(expected, exponents(rnn, embedding(TOKENS)), atol=1e-3)
    return net, TOKENS, {"rnn": expected}


def encoder_decoder():
    inputs = keras.Input((6, 2))
    encoder = LSTM(2, return_state=True, name="encoder")
    decoder = LSTM(2, name="decoder")
    shown = keras.layers.Rescaling(3.0)
    _, *states = encoder(inputs)
    net = keras.Model(inputs, decoder(shown(inputs), initial_state=states))
    _, *states = encoder(X)
    expected = exponents(decoder, shown(X), initial_state=states)
    assert not np.allclose(expected, exponents(decoder, shown(X)), atol=1e-3)
    return net, X, {"encoder": exponents(encoder, X), "decoder": expected}


def shared():
    inputs = keras.Input((6, 2))
    rnn, other = RNN(3, name="rnn"), keras.layers.Rescaling(-2.0, offset=1.0)
    net = keras.Model(inputs, keras.layers.Add()([rnn(inputs), rnn(other(inputs))]))
    return net, X, {"rnn": (exponents(rnn, X) + exponents(rnn, other(X))) / 2}


def nested_functional():
    inner, rnn = keras.Input((6, 4)), RNN(3, name="rnn")
    inner = keras.Model(inner, rnn(inner))
    inputs, dense = keras.Input((6, 2)), keras.layers.Dense(4)
    net = keras.Model(inputs, inner(dense(inputs)))
    return net, X, {"rnn": exponents(rnn, dense(X))}


def nested_sequential():
    dense, low = keras.layers.Dense(4), RNN(3, return_sequences=True, name="low")
    high = RNN(2, name="high")
    net = keras.Sequential([keras.Input((6, 2)), keras.Sequential([dense, low]), high])
    x = dense(X)
    return net, X, {"low": exponents(low, x), "high": exponents(high, low(x))}


def bidirectional():
    inputs = keras.Input((6, 2))
    both = keras.layers.Bidirectional(LSTM(2), name="both")
    net = keras.Model(inputs, both(inputs))
    return (
        net,
        X,
        {
            "both/forward": exponents(both.forward_layer, X),
            # Of the same inputs: it turns them round itself.
            "both/backward": exponents(both.backward_layer, X),
        },
    )


def time_distributed():
    inputs, rnn = keras.Input((2, 6, 2)), LSTM(2, name="rnn")
    net = keras.Model(inputs, keras.layers.TimeDistributed(rnn)(inputs))
    x = np.stack([X, -X], axis=1)
    return net, x, {"rnn": (exponents(rnn, X) + exponents(rnn, -X)) / 2}


def subclassed():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(4)
            self.rnn = RNN(3, name="rnn")

        def call(self, x):
            return self.rnn(self.dense(x))

    net = Own()
    net(X)
    return net, X, {"rnn": exponents(net.rnn, net.dense(X))}


def regularized():
    inputs, rnn = keras.Input((6, 2)), RNN(3, name="rnn")
    net = keras.Model(inputs, LyapunovRegularizer(rnn)(inputs))
    return net, X, {"rnn": exponents(rnn, X)}


CASES = [
    embedding_mask,
    encoder_decoder,
    shared,
    pytest.param(nested_functional, marks=SLOW),
    pytest.param(nested_sequential, marks=SLOW),
    pytest.param(bidirectional, marks=SLOW),
    pytest.param(time_distributed, marks=SLOW),
    subclassed,
    regularized,
]


def compiled(net):
    model = FlossingModel(net)
    model.compile("adam", "mse")
    return model


def recurrent(model):
    return [x for x in model._flatten_layers() if isinstance(x, keras.layers.RNN)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_spectra_are_those_on_the_inputs_of_the_layers(case):
    keras.utils.set_random_seed(1)
    net, x, expected = case()
    model = compiled(net)
    found = model.lyapunov_spectrum(x, k=2)
    assert set(found) == set(expected)
    for name, values in expected.items():
        # Two float32 traces of six steps.
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-5)
        assert found[name].shape == (3, 2)


@pytest.mark.slow
def test_the_layers_are_left_as_they_were():
    net, x, _ = embedding_mask()
    model, layers = compiled(net), recurrent(net)
    layers[0].use_cudnn = True
    kept = [layer.use_cudnn for layer in layers]
    model.lyapunov_spectrum(x, k=1)
    model.floss(x, 1, k=1, verbose=0)
    for layer, use_cudnn in zip(layers, kept, strict=True):
        assert "call" not in layer.__dict__
        assert layer.call.__func__ is type(layer).call
        assert layer.use_cudnn is use_cudnn


def test_the_layers_are_left_as_they_were_after_an_error():
    net, x, _ = nested_functional()
    model = compiled(net)
    with pytest.raises(ValueError, match="window"):
        model.floss(x, 1, window=7, warmup=0, verbose=0)
    assert all("call" not in layer.__dict__ for layer in recurrent(net))


def test_the_flossing_loss_of_a_shared_layer_is_the_mean_over_its_calls():
    net, x, _ = shared()
    rnn = recurrent(net)[0]
    both = [exponents(rnn, x), exponents(rnn, 1.0 - 2.0 * x)]
    model = compiled(net)
    settings = {"batch_size": 3, "k": 2, "target": 0.0, "warmup": 0, "input_drive": 0.0}
    history = model.floss(x, 1, **settings, verbose=0).history
    expected = np.mean([np.mean(e**2) for e in both])
    np.testing.assert_allclose(history["flossing_loss"], [expected], rtol=1e-3)
    first = np.mean([e[:, 0].mean() for e in both])
    np.testing.assert_allclose(history["lambda_1"], [first], rtol=1e-3)


def test_spectra_of_a_dataset():
    net, x, expected = nested_functional()
    model = compiled(net)
    batches = tf.data.Dataset.from_tensor_slices((x, x[:, 0])).batch(1)
    for data, steps, number in ((batches, None, 3), (batches.repeat(), 2, 2)):
        found = model.lyapunov_spectrum(data, k=2, steps=steps)["rnn"]
        np.testing.assert_allclose(found, expected["rnn"][:number], rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="`steps`"):
        model.lyapunov_spectrum(batches.repeat(), k=2)
    with pytest.raises(ValueError, match="`steps`"):
        model.lyapunov_spectrum(x, k=2, steps=2)
