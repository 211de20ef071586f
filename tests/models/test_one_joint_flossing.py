"""LyapunovRegularizer and a FlossingModel with a strength train on the same term."""

import keras
import numpy as np
import pytest
from cells import cells

from keras_floss import Flossing, FlossingModel, LyapunovRegularizer

FLOSSING = Flossing(batch_size=2, window=7, k=3, target=-0.2, warmup=1, seed=3)
LENGTHS = 8, 4, 6
X = np.random.default_rng(0).normal(size=(3, 8, 2))
X *= np.arange(8)[:, None] < np.reshape(LENGTHS, (3, 1, 1))
layers = keras.layers


def lstm():
    return layers.LSTM(3)


def once(rnn):
    # What stands before the layer has no gradient of its exponents.
    inputs = keras.Input((8, 2))
    return inputs, rnn(layers.Dense(2)(inputs))


def masked(rnn):
    inputs = keras.Input((8, 2))
    return inputs, rnn(layers.Masking()(inputs))


def twice(rnn):
    inputs = keras.Input((8, 2))
    return inputs, rnn(inputs) + rnn(2.0 * inputs)


NETWORKS = {
    "LSTM": (lstm, once),
    "Bidirectional": (lambda: layers.Bidirectional(lstm()), once),
    "masked": (lstm, masked),
    "called twice": (lstm, twice),
}


@pytest.fixture
def dtype(request):
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(request.param)
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def step(model, jit_compile):
    """The loss of a training step without a task, and its gradients."""

    def nothing(y, outputs):
        return 0.0 * outputs

    model.compile(keras.optimizers.SGD(1.0), nothing, jit_compile=jit_compile)
    before = model.get_weights()
    loss = model.train_on_batch(X, np.zeros((3, 1)), return_dict=True)["loss"]
    pairs = zip(before, model.get_weights(), strict=True)
    return [loss, *(old - new for old, new in pairs)]


@pytest.mark.parametrize(
    ("dtype", "jit_compile"),
    [
        ("float64", False),
        pytest.param("float64", True, marks=pytest.mark.slow),
        pytest.param("float32", False, marks=pytest.mark.slow),
    ],
    indirect=["dtype"],
)
@pytest.mark.parametrize("network", cells([*NETWORKS], always=["LSTM"]))
def test_the_term_and_its_gradients_are_the_same(network, dtype, jit_compile):
    keras.utils.set_random_seed(0)
    make, build = NETWORKS[network]
    carrier = FlossingModel(*build(make()), flossing=FLOSSING, strength=0.5)
    wrapped = keras.Model(*build(LyapunovRegularizer(make(), 0.5, FLOSSING)))
    wrapped.set_weights(carrier.get_weights())
    ours, theirs = step(wrapped, jit_compile), step(carrier, jit_compile)
    assert ours[0] > 1e-3
    assert max(np.abs(change).max() for change in ours[1:]) > 1e-3
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
