"""One step of a frame of tangents: the two ways agree, and each cell gets the right one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import compiled, make_inputs, make_layer, make_states

import keras_floss
from keras_floss.flow.push import pull, push
from keras_floss.recurrent.cells import CellMap

ACTIVATIONS = [
    *("celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh"),
    *("leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6"),
    *("selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "sparsemax"),
    *("squareplus", "tanh", "tanh_shrink"),
]


def pushed(cell, vectorizes, xla):
    """State and tangents, and cotangents of weights, inputs, state and tangents."""
    layer = keras.layers.RNN(cell, dtype="float64")
    states = [tf.constant(s) for s in make_states(layer, 2)]
    inputs = tf.constant(make_inputs(2))
    dim = sum(s.shape[-1] for s in states)
    frame = tf.constant(np.random.default_rng(3).standard_normal((2, 4, dim)))
    step = CellMap(cell).trace(inputs)
    assert step.vectorizes
    step.vectorizes = vectorizes

    def run():
        sources = step.values(), inputs, states, frame
        new, tangents = push(step, *sources)
        gradient = pull(step, *sources, [tf.cos(s) for s in new], tf.cos(tangents))
        return new, tangents, gradient

    return [x.numpy() for x in tf.nest.flatten(compiled(run, xla)())]


def check(cell, xla):
    for a, b in zip(pushed(cell, True, xla), pushed(cell, False, False), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "xla"),
    cells(
        ["SimpleRNN", "GRU", "LSTM", "stacked"],
        MODES,
        always=["*-graph", "SimpleRNN-xla"],
    ),
)
def test_vectorised_tangents_are_those_of_repeated_states(kind, xla):
    check(make_layer(kind).cell, xla)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_of_keras_is_vectorised_rightly(activation):
    check(make_layer("GRU", activation=activation).cell, False)


def test_softsign_has_a_spectrum():
    # TensorFlow has no second derivative of its softsign.
    layer = make_layer("SimpleRNN", activation="softsign")
    own = make_layer("SimpleRNN", activation=lambda x: x / (1 + tf.abs(x)))
    x = make_inputs(2, 6)
    found, expected = (keras_floss.lyapunov_exponents(rnn, x) for rnn in (layer, own))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_an_activation_of_ones_own_is_not_vectorised(xla):
    # tf.vectorized_map rolls over the tangents where the axis is given as -1.
    layer, other = (
        make_layer(
            "SimpleRNN", activation=lambda x, axis=axis: tf.roll(tf.tanh(x), 1, axis)
        )
        for axis in (-1, 1)
    )
    x = make_inputs(2, 6)
    found, expected = (
        compiled(lambda rnn=rnn: keras_floss.lyapunov_exponents(rnn, x), xla)()
        for rnn in (layer, other)
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


class Vectorised(keras.layers.SimpleRNNCell):
    vectorize_tangents = True


class Inherited(Vectorised):
    pass


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (keras.layers.LSTMCell(3), True),
        (keras.layers.StackedRNNCells([keras.layers.GRUCell(2), Vectorised(2)]), True),
        (keras.layers.StackedRNNCells([keras.layers.GRUCell(2), Inherited(2)]), False),
        (keras_floss.layers.RateRNNCell(3), True),
        (keras_floss.layers.HDetachLSTMCell(3), True),
        (Vectorised(3), True),
        (Vectorised(3, activation=lambda x: x), False),
        (Inherited(3), False),
        (keras.layers.LSTMCell(3, recurrent_activation=lambda x: x), False),
    ],
    ids=str,
)
def test_cells_that_are_known_to_vectorise(cell, expected):
    assert CellMap(cell).vectorizes is expected


@pytest.mark.parametrize(("kind", "alone"), [("SimpleRNN", True), ("LSTM", False)])
def test_xla_runs_the_push_of_a_small_cell_by_itself(kind, alone, monkeypatch):
    calls = []

    def record(function, number, *tensors):
        calls.append(number)
        return function(*tensors)

    monkeypatch.setattr("keras_floss.flow.push.by_itself", record)
    layer, inputs = make_layer(kind), make_inputs(1, 4)
    for xla in (False, True):
        run = compiled(
            lambda: keras_floss.lyapunov_exponents(layer, inputs, 2, qr_interval=1), xla
        )
        run.get_concrete_function()
        assert bool(calls) == (alone and xla)
