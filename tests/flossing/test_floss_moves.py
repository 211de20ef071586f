"""Which weights flossing moves, and which layers it can be told to leave."""

import keras
import numpy as np
import pytest

from keras_floss import FlossingModel
from keras_floss.layers import RateRNN

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 8, 2)).astype("float32")
TOKENS = RNG.integers(1, 6, size=(4, 8))
SETTINGS = {"k": 2, "warmup": 0, "verbose": 0}


def compiled(net):
    model = FlossingModel(net)
    model.compile("adam", "mse")
    return model


def two_layers():
    inputs = keras.Input((8, 2))
    x = keras.layers.SimpleRNN(3, return_sequences=True, name="first")(inputs)
    x = keras.layers.SimpleRNN(3, name="second")(x)
    return compiled(keras.Model(inputs, keras.layers.Dense(1, name="readout")(x)))


def bidirectional():
    inputs = keras.Input((8, 2))
    x = keras.layers.Bidirectional(keras.layers.SimpleRNN(3), name="both")(inputs)
    return compiled(keras.Model(inputs, keras.layers.Dense(1, name="readout")(x)))


def moved(model, x, **settings):
    """The paths of the weights that two flossing steps change."""
    before = {v.path: v.numpy() for v in model.weights}
    model.floss(x, 2, **SETTINGS | settings)
    return {v.path for v in model.weights if np.any(v.numpy() != before[v.path])}


def paths(*layers):
    return {v.path for layer in layers for v in layer.weights}


def test_only_the_map_of_the_recurrent_layer_moves():
    inputs = keras.Input((8,), dtype="int32")
    x = keras.layers.Embedding(6, 2)(inputs)
    rnn = RateRNN(4, trainable_initial_state=True, initial_state_initializer="normal")
    outputs = keras.layers.Dense(1)(rnn(x))
    model = compiled(keras.Model(inputs, outputs))
    assert len(model.trainable_variables) == 7
    cell = rnn.cell
    expected = {v.path for v in (cell.kernel, cell.recurrent_kernel, cell.bias)}
    assert moved(model, TOKENS) == expected


def test_weight_decay_does_not_reach_the_initial_state():
    inputs = keras.Input((8, 2))
    rnn = RateRNN(4, trainable_initial_state=True, initial_state_initializer="ones")
    model = FlossingModel(keras.Model(inputs, rnn(inputs)))
    model.compile(flossing_optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.1))
    model.floss(X, 2, **SETTINGS)
    np.testing.assert_array_equal(rnn.cell.initial_state, np.ones(4))


def chosen(model, layers):
    """The names of the layers that `layers` stands for."""
    return set(model.lyapunov_spectrum(X[:1], k=1, window=2, layers=layers))


def test_all_recurrent_layers_move_unless_named():
    model = two_layers()
    first, second = model.model.layers[1:3]
    assert moved(model, X) == paths(first, second)
    assert moved(model, X, layers="second") == paths(second)
    assert chosen(model, ["first"]) == {"first"}
    assert chosen(model, first) == {"first"}
    assert chosen(model, [second, "first"]) == {"first", "second"}


@pytest.mark.slow
def test_the_directions_of_a_bidirectional_have_names():
    model = bidirectional()
    both = model.model.get_layer("both")
    directions = {"both/forward", "both/backward"}
    assert chosen(model, None) == directions
    assert chosen(model, "both") == directions
    assert chosen(model, [both]) == directions
    assert chosen(model, both.forward_layer) == {"both/forward"}
    assert moved(model, X, layers="both/backward") == paths(both.backward_layer)


class Block(keras.layers.Layer):
    def __init__(self, name):
        super().__init__(name=name)
        self.rnn = keras.layers.SimpleRNN(3, return_sequences=True, name="rnn")

    def call(self, x):
        return self.rnn(x)


@pytest.mark.slow
def test_repeated_names_are_told_apart_by_their_paths():
    inputs = keras.Input((8, 2))
    low, high = Block("low"), Block("high")
    x = keras.layers.SimpleRNN(3, name="top")(high(low(inputs)))
    model = compiled(keras.Model(inputs, x))
    assert low.rnn.path != high.rnn.path
    assert chosen(model, None) == {low.rnn.path, high.rnn.path, "top"}
    assert moved(model, X, layers=high.rnn.path) == paths(high.rnn)


def test_repeated_names_with_the_same_path_are_told_apart():
    # A layer that is built outside of its model has no more than its name as a path.
    inputs = keras.Input((8, 2))
    x = inputs
    for name in ("low", "high"):
        inner = keras.Input((8, x.shape[-1]))
        rnn = keras.layers.SimpleRNN(3, return_sequences=True, name="rnn")
        x = keras.Model(inner, rnn(inner), name=name)(x)
    model = compiled(keras.Model(inputs, x))
    assert len(model.lyapunov_spectrum(X, k=1)) == 2
    before = model.get_weights()
    model.floss(X, 1, **SETTINGS)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert not np.array_equal(old, new)


def test_frozen_layers_stay():
    model = two_layers()
    first, second = model.model.layers[1:3]
    first.trainable = False
    model.compile("adam", "mse")
    assert moved(model, X) == paths(second)


@pytest.mark.slow
def test_freezing_after_flossing_needs_no_new_compile():
    model = two_layers()
    first, second = model.model.layers[1:3]
    model.floss(X, 1, **SETTINGS)
    first.trainable = False
    assert moved(model, X) == paths(second)


@pytest.mark.slow
def test_a_frozen_kernel_stays():
    model = two_layers()
    cell = model.model.get_layer("first").cell
    cell.kernel.trainable = False
    model.compile("adam", "mse")
    expected = {cell.recurrent_kernel.path, cell.bias.path}
    assert moved(model, X, layers="first") == expected


def test_all_frozen_is_an_error():
    model = two_layers()
    for layer in model.model.layers[1:3]:
        layer.trainable = False
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="frozen") as error:
        model.floss(X, 1, **SETTINGS)
    assert "first" in str(error.value)
    assert "second" in str(error.value)
    # There is still a spectrum to be seen.
    assert set(model.lyapunov_spectrum(X, k=1)) == {"first", "second"}


def test_a_chosen_frozen_layer_is_an_error():
    model = two_layers()
    model.model.layers[1].trainable = False
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"first.*frozen"):
        model.floss(X, 1, layers="first", **SETTINGS)
