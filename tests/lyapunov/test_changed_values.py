"""A Python value that was changed between two calls is answered for in the second."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells
from reference import make_inputs, make_layer

from keras_floss import (
    condition_number,
    jacobian_singular_values,
    lstm_jacobian_paths,
    lyapunov_exponents,
    lyapunov_statistics,
)

RATE = 3.2
PARAMETERS = types.SimpleNamespace(rate=3.2)
# ½ log|4 + 2r − r²| on the cycle of two; published; published; log 2.
LOGISTIC = {3.2: -0.916, 3.5: -0.873, 3.9: 0.495, 4.0: 0.693}


def exponent_of(step):
    start = np.array([[0.3]])
    return float(lyapunov_exponents(step, 2000, initial_state=start, warmup=100)[0, 0])


def of_a_global(s):
    return RATE * s * (1 - s)


def of_an_attribute(s):
    return PARAMETERS.rate * s * (1 - s)


class OfItself:
    def __call__(self, s):
        return self.rate * s * (1 - s)


@pytest.mark.parametrize(
    "where",
    cells(
        ["closure", "global", "attribute", "self", "generator"],
        always=["closure", "attribute"],
    ),
)
def test_the_logistic_map_of_several_rates(where, monkeypatch):
    rate = None
    itself, rates = OfItself(), iter(LOGISTIC)
    drawn = [None]

    def of_a_closure(s):
        return rate * s * (1 - s)

    def of_a_generator(s):
        return drawn[0] * s * (1 - s)

    step = {
        "closure": of_a_closure,
        "global": of_a_global,
        "attribute": of_an_attribute,
        "self": itself,
        "generator": of_a_generator,
    }[where]
    for rate, expected in LOGISTIC.items():
        monkeypatch.setitem(globals(), "RATE", rate)
        PARAMETERS.rate = itself.rate = rate
        drawn[0] = next(rates)
        # Five standard errors of 2000 steps at r = 3.9.
        assert exponent_of(step) == pytest.approx(expected, abs=0.05)


def fresh(look, change):
    """What a layer answers that was never looked at before it was changed."""
    layer = make_layer("LSTM")
    change(layer)
    return look(layer)


X = make_inputs(1, 12)
LOOKS = {
    "exponents": lambda layer: lyapunov_exponents(layer, X, 3),
    "statistics": lambda layer: lyapunov_statistics(layer, X, 3).running,
    "singular values": lambda layer: jacobian_singular_values(layer, X, k=3),
    "condition": lambda layer: condition_number(layer, X, k=3),
    "paths": lambda layer: lstm_jacobian_paths(layer, X).rest,
}


def quieter(x):
    return 0.5 * keras.ops.tanh(x)


CHANGES = {
    "activation": lambda layer: setattr(layer.cell, "activation", quieter),
    "direction": lambda layer: setattr(layer, "go_backwards", True),
    "recurrent activation": lambda layer: setattr(
        layer.cell, "recurrent_activation", quieter
    ),
}


@pytest.mark.parametrize(
    ("look", "change"),
    cells(
        [*LOOKS],
        [*CHANGES],
        always=[
            "exponents-activation",
            "statistics-direction",
            "singular values-recurrent activation",
            "paths-activation",
        ],
    ),
)
def test_a_changed_layer(look, change):
    look, change = LOOKS[look], CHANGES[change]
    layer = make_layer("LSTM")
    before = np.array(look(layer))
    change(layer)
    after = np.array(look(layer))
    np.testing.assert_array_equal(after, fresh(look, change))
    assert not np.allclose(before, after)


class Options:
    __slots__ = ("gain",)

    def __init__(self, gain):
        self.gain = gain


GAIN = 1.0


class Cell(keras.layers.SimpleRNNCell):
    """A cell that reads its gain from all over the place."""

    of_the_class = 1.0

    def __init__(self, units, outer=None, **kwargs):
        super().__init__(units, **kwargs)
        self.of_its_own = 1.0
        self.table = {"gains": [1.0, 1.0]}
        self.array = np.ones(units)
        self.options = Options(1.0)
        self.space = types.SimpleNamespace(gain=1.0)
        self.function = lambda x: outer[0] * x
        self.inner = keras.layers.Dense(units, use_bias=False)

    def call(self, x, states, training=False):
        gain = GAIN * self.of_the_class * self.of_its_own * self.table["gains"][1]
        gain = gain * self.options.gain * self.space.gain * self.array
        new = self.function(self.inner(super().call(x, states)[0])) * gain
        return new, [new]


class PlainCell:
    """A cell that is no Keras layer."""

    state_size, gain = 2, 1.0

    def __call__(self, x, states):
        new = self.gain * keras.ops.tanh(states[0] + x[:, :1])
        return new, [new]


def _double_array(cell, _):
    cell.array *= 2  # in place


DOUBLE = {
    "attribute": lambda cell, _: setattr(cell, "of_its_own", 2.0),
    "list in a dict": lambda cell, _: cell.table["gains"].__setitem__(1, 2.0),
    "array": _double_array,
    "slot": lambda cell, _: setattr(cell.options, "gain", 2.0),
    "namespace": lambda cell, _: setattr(cell.space, "gain", 2.0),
    "class": lambda cell, patch: patch.setattr(Cell, "of_the_class", 2.0),
    "global": lambda cell, patch: patch.setitem(globals(), "GAIN", 2.0),
    "closure": lambda cell, _: cell.function.__closure__[0].cell_contents.__setitem__(0, 2),
    "function": lambda cell, _: setattr(cell, "function", lambda x: 2 * x),
    "sublayer": lambda cell, _: setattr(cell.inner, "activation", lambda x: 2 * x),
}


@pytest.mark.parametrize(
    "where",
    cells([*DOUBLE], always=["attribute", "array", "global", "closure", "sublayer"]),
)
def test_a_gain_that_is_doubled_anywhere(where, monkeypatch):
    # A linear layer: a doubled gain doubles every tangent at each step.
    cell = Cell(3, outer=[1.0], activation="linear", dtype="float64")
    layer = keras.layers.RNN(cell, dtype="float64")
    before = lyapunov_exponents(layer, X)
    DOUBLE[where](cell, monkeypatch)
    after = lyapunov_exponents(layer, X)
    np.testing.assert_allclose(after - before, np.log(2), atol=1e-9)


@pytest.mark.parametrize("set_it", [setattr, lambda c, n, v: setattr(type(c), n, v)])
def test_a_cell_that_is_no_layer(set_it, monkeypatch):
    monkeypatch.setattr(PlainCell, "gain", 1.0)
    cell = PlainCell()
    zero = np.zeros((1, 9, 1), "float32")  # where tanh' is 1
    np.testing.assert_allclose(lyapunov_exponents(cell, zero), 0, atol=1e-6)
    set_it(cell, "gain", 0.5)
    np.testing.assert_allclose(lyapunov_exponents(cell, zero), np.log(0.5), atol=1e-6)


def test_a_method_of_ones_own():
    layer = make_layer("SimpleRNN")
    lyapunov_exponents(layer, X)
    layer.cell.call = lambda x, states, training=False: (states[0], [2 * states[0]])
    np.testing.assert_allclose(lyapunov_exponents(layer, X), np.log(2))


def test_a_state_that_a_stateful_layer_has_since():
    layer = keras.layers.SimpleRNN(5, stateful=True, dtype="float64")
    layer.build(X.shape)
    before = lyapunov_exponents(layer, X)
    layer(X)
    after = lyapunov_exponents(layer, X)
    layer.reset_state()
    np.testing.assert_array_equal(lyapunov_exponents(layer, X), before)
    assert not np.allclose(before, after)


def test_a_variable_goes_through_a_trace_and_has_a_gradient():
    layer, gain = make_layer("SimpleRNN"), tf.Variable(1.0, dtype="float64")
    layer.cell.activation = lambda x: gain * x
    before = lyapunov_exponents(layer, X)
    gain.assign(2.0)
    with tf.GradientTape() as tape:
        after = lyapunov_exponents(layer, X)
    np.testing.assert_allclose(after - before, np.log(2), atol=1e-9)
    assert float(tape.gradient(after, gain)) == pytest.approx(5 / 2)  # Σ dλ/dg = D / g


def test_eagerly_run_functions_answer_too():
    layer = make_layer("SimpleRNN")
    expected = lyapunov_exponents(layer, X)
    try:
        tf.config.run_functions_eagerly(True)
        np.testing.assert_allclose(lyapunov_exponents(layer, X), expected, rtol=1e-9)
        layer.cell.activation = lambda x: 2 * x
        eager = lyapunov_exponents(layer, X)
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_allclose(lyapunov_exponents(layer, X), eager, rtol=1e-9)
