"""A setting that makes no sense is answered with its name and what was received."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import FlossingModel

X = np.random.default_rng(0).normal(size=(3, 6, 2)).astype("float32")


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((6, 2))
    model = FlossingModel(inputs, keras.layers.SimpleRNN(4, name="rnn")(inputs))
    model.compile("adam", "mse")
    return model


def refused(model, x=X, *, match, steps=1, **settings):
    before = model.get_weights()
    with pytest.raises(ValueError, match=match):
        model.floss(x, steps, verbose=0, **settings)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("steps", [0, -1, 2.0, None, "many"])
def test_steps(model, steps):
    refused(model, steps=steps, match=rf"`steps`.*{steps}")


@pytest.mark.parametrize("name", ["batch_size", "window", "k", "qr_interval"])
@pytest.mark.parametrize("value", [0, -2, 1.5, "all"])
def test_what_counts_is_a_whole_number_of_at_least_one(model, name, value):
    refused(model, **{name: value}, match=rf"`{name}`.*{value}")


@pytest.mark.parametrize("value", [-1, 0.5, "none"])
def test_warmup_is_a_whole_number(model, value):
    refused(model, warmup=value, match=rf"`warmup`.*{value}")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        # The sequences have 6 steps, the layer 4 state variables.
        ({"window": 7}, r"`window`.*6.*7"),
        ({"k": 5}, r"`k`.*4.*5"),
        ({"k": {"rnn": 5}}, r"`k`.*4.*5"),
        ({"k": {"rnn": 0}}, r"`k`.*0"),
        ({"k": [2]}, r"`k`.*2"),
        ({"k": (1, 2)}, r"`k`.*1, 2"),
        ({"warmup": 6}, r"`warmup`.*6"),
        ({"warmup": 4, "window": 4}, r"`warmup`.*4"),
        ({"qr_interval": 5, "window": 4}, r"`qr_interval`.*4.*5"),
        ({"target": np.nan}, r"`target`.*nan"),
        ({"target": np.inf}, r"`target`.*inf"),
        ({"target": "zero"}, r"`target`.*zero"),
        ({"target": [0.0, 0.1], "k": 3}, r"`target`.*3.*0\.1"),
        ({"target": [0.0, 0.1]}, r"`target`.*4.*0\.1"),
        ({"target": [0.0, np.nan], "k": 2}, r"`target`.*nan"),
        ({"layers": "lstm_7"}, r"`layers`.*lstm_7.*rnn"),
        ({"layers": ["rnn", "lstm_7"]}, r"`layers`.*lstm_7.*rnn"),
        ({"layers": keras.layers.SimpleRNN(4, name="other")}, r"`layers`.*other.*rnn"),
        ({"layers": ""}, "`layers`"),
        ({"layers": []}, "`layers`"),
        ({"k": {"lstm_7": 2}}, r"`k`.*lstm_7.*rnn"),
    ],
    ids=str,
)
def test_settings(model, settings, match):
    refused(model, **{"warmup": 0} | settings, match=match)


@pytest.mark.parametrize(
    "settings", [{"k": 5}, {"window": 7}, {"layers": "lstm_7"}], ids=str
)
def test_spectra_refuse_the_same(model, settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        model.lyapunov_spectrum(X, **settings)


def test_numpy_integers_are_whole_numbers(model):
    two = np.int64(2)
    history = model.floss(X, two, batch_size=two, window=np.int64(6), k=two, verbose=0)
    assert len(history.history["flossing_loss"]) == 2


@pytest.mark.parametrize("length", [0, 2], ids=["empty", "shorter"])
def test_arrays_of_other_lengths(length):
    a, b = keras.Input((6, 2), name="a"), keras.Input((6, 2), name="b")
    outputs = keras.layers.SimpleRNN(2)(keras.layers.Add()([a, b]))
    model = FlossingModel(inputs=[a, b], outputs=outputs)
    model.compile("adam", "mse")
    refused(model, {"a": X, "b": X[:length]}, match=rf"number.*{length}.*3")


@pytest.mark.parametrize("x", [X[:0], (X[:0], X[:0])], ids=["array", "(x, y)"])
def test_empty_arrays(model, x):
    refused(model, x, match=r"one sequence or more.*0")


class NoBatches(keras.utils.PyDataset):
    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError


def test_empty_datasets(model):
    empty = tf.data.Dataset.from_tensor_slices(X[:0]).batch(1)
    refused(model, empty, match="empty")
    filtered = tf.data.Dataset.from_tensor_slices(X).filter(lambda _: False).batch(1)
    refused(model, filtered, match="empty")
    refused(model, NoBatches(), match=r"num_batches.*0")
