"""What preflossing does to networks that people train."""

import keras
import numpy as np
import pytest

from keras_floss import lyapunov_exponents
from keras_floss.callbacks import Preflossing

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, 10, size=(8, 12)) * (np.arange(12) >= RNG.integers(0, 6, (8, 1)))
LABELS = (TOKENS.max(axis=1) > 8).astype("float32")


def classifier():
    """A user's own model: left-padded tokens, an LSTM, a probability."""
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            keras.layers.Embedding(10, 3, mask_zero=True),
            keras.layers.LSTM(4, name="lstm"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def test_flossing_alone_changes_all_weights_of_the_lstm_and_no_others():
    model = classifier()
    # With a learning rate of 0 what moves is moved by flossing.
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    before = {v.path: v.numpy() for v in model.weights}
    preflossing = Preflossing(TOKENS, steps=2, batch_size=4, window=6, k=4)
    model.fit(TOKENS, LABELS, callbacks=[preflossing], verbose=0)

    lstm = {v.path for v in model.get_layer("lstm").weights}
    assert len(lstm) == 3
    moved = {v.path for v in model.weights if np.any(v.numpy() != before[v.path])}
    assert moved == lstm


@pytest.mark.slow
def test_a_classifier_trains_after_it():
    model = classifier()
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    preflossing = Preflossing(TOKENS, steps=5, window=6, k=2)
    losses = model.fit(
        TOKENS, LABELS, epochs=30, callbacks=[preflossing], verbose=0
    ).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    "gain", [0.4, pytest.param(3.0, marks=pytest.mark.slow)], ids=["vanishing", "chaotic"]
)
def test_the_largest_exponent_comes_nearer_to_zero(gain):
    keras.utils.set_random_seed(2)
    x = 0.1 * np.random.default_rng(0).normal(size=(8, 20, 1)).astype("float32")
    rnn = keras.layers.SimpleRNN(
        12,
        recurrent_initializer=keras.initializers.RandomNormal(stddev=gain / np.sqrt(12)),
    )
    model = keras.Sequential([keras.Input((20, 1)), rnn, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")

    def largest():
        return float(np.mean(lyapunov_exponents(rnn, x, 1, warmup=5)))

    before = largest()
    assert abs(before) > 0.1
    assert np.sign(before) == np.sign(gain - 1)
    # On all sequences and in small steps: a chaotic network is another one soon.
    adam = keras.optimizers.Adam(0.005)
    settings = {"batch_size": 8, "k": 1, "target": 0.0, "warmup": 5, "seed": 0}
    preflossing = Preflossing(x, 150, optimizer=adam, **settings)
    model.fit(x, x[:, -1], callbacks=[preflossing], verbose=0)
    assert abs(largest()) < 0.3 * abs(before)
