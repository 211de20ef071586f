"""What is aimed at where no target is named, and the tolerance that goes with it."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW

from keras_floss import Flossing, FlossingModel, LyapunovRegularizer, lyapunov_exponents
from keras_floss.callbacks import Preflossing

UNITS, WINDOW = 8, 8
RULE = [
    (keras.layers.SimpleRNN, UNITS, 0.0),
    (keras.layers.SimpleRNN, UNITS + 1, 0.03),
    (keras.layers.SimpleRNN, 200, 0.015),
    (keras.layers.GRU, UNITS, -0.0625),
    (keras.layers.GRU, UNITS + 1, 0.0),
    # It has no tanh to hold growth back.
    (functools.partial(keras.layers.SimpleRNN, activation="relu"), 200, 0.0),
    # Of its units, not of the numbers in its two states.
    (keras.layers.LSTM, UNITS, -0.0625),
    (keras.layers.LSTM, UNITS + 1, 0.0),
]


def make(kind, time):
    """A layer, its model, and two sequences."""
    keras.utils.set_random_seed(1)
    inputs, rnn = keras.Input((time, 2)), kind(UNITS, name="rnn")
    x = np.random.default_rng(0).normal(size=(2, time or 200, 2)).astype("float32")
    return rnn, keras.Model(inputs, rnn(inputs)), 0.1 * x


def loss_about(target, rnn, x):
    """The flossing loss, from the exponents."""
    of = "output" if isinstance(rnn, keras.layers.LSTM) else "state"
    exponents = lyapunov_exponents(rnn, x[:, :WINDOW], 2, of=of, warmup=2)
    return np.mean((np.asarray(exponents) - target) ** 2)


def first_loss(model, x, jit_compile=False):
    model = FlossingModel(model)
    still = keras.optimizers.SGD(0.0)
    model.compile(flossing_optimizer=still, jit_compile=jit_compile)
    settings = {"window": WINDOW, "warmup": 2, "k": 2, "open_gates": 0.0, "verbose": 0}
    return model.floss(x, 1, batch_size=2, **settings).history["flossing_loss"][0]


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=SLOW)])
@pytest.mark.parametrize(("kind", "time", "target"), RULE)
def test_the_target_goes_by_the_steps_and_the_units(kind, time, target, jit_compile):
    rnn, model, x = make(kind, time)
    expected = loss_about(target, rnn, x)
    # Two float32 traces; the next target of the rule changes the loss by 1 % and more.
    assert first_loss(model, x, jit_compile) == pytest.approx(expected, rel=1e-3)


def test_where_the_number_of_steps_is_not_known_it_is_zero():
    rnn, model, x = make(keras.layers.SimpleRNN, None)
    batches = tf.data.Dataset.from_tensors(x)
    unknown = batches.map(lambda x: tf.py_function(lambda a: a, [x], tf.float32)).map(
        lambda x: tf.ensure_shape(x, (None, None, 2))
    )
    assert first_loss(model, batches) == pytest.approx(loss_about(0.015, rnn, x), rel=1e-3)
    assert first_loss(model, unknown) == pytest.approx(loss_about(0.0, rnn, x), rel=1e-3)


def test_a_regularizer_has_the_same_target():
    rnn, _, x = make(keras.layers.SimpleRNN, 200)
    flossing = Flossing(window=WINDOW, k=2, warmup=2)
    flossed = LyapunovRegularizer(rnn, strength=1.0, flossing=flossing)
    flossed(x, training=True)
    assert float(sum(flossed.losses)) == pytest.approx(loss_about(0.015, rnn, x), rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "tolerance"), [({}, 0.002), ({"target": 0.03}, 0.001)]
)
def test_a_network_that_is_to_grow_is_flossed_at_twice_the_loss(settings, tolerance):
    _, model, x = make(keras.layers.SimpleRNN, 40)
    model.compile("adam", "mse")
    preflossing = Preflossing(x, verbose=0, **settings)
    model.fit(x, np.zeros((2, UNITS)), verbose=0, callbacks=[preflossing])
    means = np.convolve(
        preflossing.history.history["flossing_loss"], np.ones(3) / 3, "valid"
    )
    assert preflossing.history.ended == "flossed"
    assert means[-1] <= tolerance < means[-2]
