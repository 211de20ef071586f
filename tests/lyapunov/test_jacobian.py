"""Step Jacobians along a sequence, and the two paths of the LSTM."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import (
    DIMS,
    FEATURES,
    KINDS,
    Dual,
    compiled,
    concatenate,
    dual_step,
    jacobians,
    make_inputs,
    make_layer,
    make_states,
    sigmoid,
)

import keras_floss
from keras_floss.flow.frame import initial_frame
from keras_floss.lyapunov.jacobian import lstm_jacobian_paths, step_jacobians
from keras_floss.recurrent.trajectory import as_trajectory

MASK = np.ones((3, 9), bool)
MASK[1, 6:] = False  # padding on the right
MASK[2, [0, 3, 4]] = False  # padding on the left, and a gap


def along(rnn, inputs, initial_state=None, mask=None, xla=False):
    """`step_jacobians` in graph mode or under XLA, as NumPy."""
    function = compiled(lambda: step_jacobians(as_trajectory(rnn, *arguments)), xla)
    arguments = inputs, initial_state, mask
    return function().numpy()


def expected_along(layer, inputs, states):
    flat = np.hstack(states)
    return np.array([jacobians(layer.cell, *one) for one in zip(inputs, flat, strict=True)])


# Step Jacobians


SLOW = pytest.mark.slow  # to compile


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=SLOW)])
@pytest.mark.parametrize("kind", KINDS)
def test_closed_form(kind, xla):
    layer, inputs = make_layer(kind), make_inputs(2, 7)
    states = make_states(layer, 2)
    actual = along(layer, inputs, states, xla=xla)
    assert actual.shape == (2, 7, DIMS[kind], DIMS[kind])
    # Numbers of order 1, by the chain rule on both sides.
    np.testing.assert_allclose(
        actual, expected_along(layer, inputs, states), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize(
    "layer",
    [
        keras_floss.layers.RateRNN(5, dtype="float64"),
        keras.layers.GRU(4, reset_after=False, dtype="float64"),
        keras.layers.LSTM(3, activation="relu", dtype="float64"),
    ],
    ids=["rate", "gru-reset-before", "lstm-relu"],
)
def test_other_cells_by_their_formula(layer):
    inputs = make_inputs(1, 6)
    layer.build(inputs.shape)
    states = [s[0] for s in make_states(layer, 1)]
    actual = along(layer, inputs, [s[None] for s in states])[0]
    step, ends = dual_step(layer.cell), np.cumsum([len(s) for s in states])
    for x, jacobian in zip(inputs[0], actual, strict=True):
        identity = Dual(np.concatenate(states), np.eye(ends[-1]))
        new = step(x, identity.split(ends[:-1]))
        np.testing.assert_allclose(jacobian, concatenate(new).slope, rtol=0, atol=1e-13)
        states = [s.value for s in new]


@pytest.mark.parametrize(
    ("kind", "xla"),
    [("SimpleRNN", False), ("GRU", False), ("LSTM", False), ("SimpleRNN", True)],
)
def test_a_masked_step_is_the_identity_and_changes_nothing(kind, xla):
    layer, inputs = make_layer(kind), make_inputs(3, 9)
    states = make_states(layer, 3)
    actual = along(layer, inputs, states, MASK, xla)
    identity = np.eye(DIMS[kind])
    np.testing.assert_array_equal(actual[~MASK], np.stack([identity] * np.sum(~MASK)))
    for one in range(3):
        valid = expected_along(
            layer, inputs[one, MASK[one]][None], [s[one : one + 1] for s in states]
        )
        np.testing.assert_allclose(actual[one, MASK[one]], valid[0], rtol=0, atol=1e-13)


def test_what_stands_in_padding_does_not_matter():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(3, 9)
    expected = along(layer, inputs, None, MASK)
    inputs[~MASK] = np.nan
    np.testing.assert_array_equal(along(layer, inputs, None, MASK), expected)


def test_the_order_is_that_in_which_the_layer_runs():
    layer, inputs = make_layer("LSTM", go_backwards=True), make_inputs(2, 5)
    expected = expected_along(layer, inputs[:, ::-1], [np.zeros((2, 8))])
    np.testing.assert_allclose(along(layer, inputs), expected, rtol=0, atol=1e-13)


def test_shapes_known_only_at_run_time():
    layer, inputs = make_layer("stacked"), make_inputs(2, 5)
    signature = [tf.TensorSpec((None, None, FEATURES), tf.float64)]
    function = tf.function(
        lambda x: step_jacobians(as_trajectory(layer, x)),
        autograph=False,
        input_signature=signature,
    )
    expected = expected_along(layer, inputs, [np.zeros((2, 10))])
    np.testing.assert_allclose(function(inputs), expected, rtol=0, atol=1e-13)


def test_a_plain_function():
    def henon(state):
        x, y = tf.unstack(state, axis=-1)
        return tf.stack([1 - 1.4 * x**2 + y, 0.3 * x], axis=-1)

    start = np.array([[0.1, 0.2], [-0.3, 0.1]])
    actual, (x, y) = along(henon, 4, start), start.T
    for t in range(4):
        zero, one = np.zeros(2), np.ones(2)
        expected = np.array([[-2.8 * x, one], [0.3 * one, zero]]).transpose(2, 0, 1)
        np.testing.assert_allclose(actual[:, t], expected, rtol=0, atol=1e-14)
        x, y = 1 - 1.4 * x**2 + y, 0.3 * x


def test_a_function_of_inputs_and_of_several_states():
    def step(state, x):
        return {
            "a": state["a"] * x,
            "b": state["b"] + tf.reduce_sum(state["a"], 1)[:, None],
        }

    start = {"a": np.ones((1, 2)), "b": np.ones((1, 1))}
    actual = along(step, np.array([[[2.0], [3.0]]]), start)[0]
    for x, jacobian in zip([2, 3], actual, strict=True):
        np.testing.assert_array_equal(jacobian, [[x, 0, 0], [0, x, 0], [1, 1, 1]])


def test_the_dtype_is_that_of_the_layer():
    for dtype in ("float32", "float64"):
        layer = keras.layers.SimpleRNN(3, dtype=dtype)
        assert along(layer, make_inputs(1, 2)).dtype == dtype


# The two paths of the LSTM


def paper_paths(cell, inputs, h, c):
    """A_t and B_t of one sequence from the blocks in the paper, whose order is (c, h)."""
    kernel, recurrent, bias = (v.numpy() for v in cell.weights)
    wi, wf, wg, wo = np.split(recurrent.T, 4)  # Keras's order
    order = np.roll(np.arange(2 * len(h)), len(h))  # (h, c) out of (c, h)
    nothing, paths = np.zeros((len(h), len(h))), []
    for x in inputs:
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        old, c = c, f * c + i * g
        h = o * np.tanh(c)
        by_c = np.diag(o * (1 - np.tanh(c) ** 2))
        by_f, by_i = np.diag(old * f * (1 - f)), np.diag(g * i * (1 - i))
        by_g, by_o = np.diag(i * (1 - g**2)), np.diag(np.tanh(c) * o * (1 - o))
        psi = by_f @ wf + by_i @ wi + by_g @ wg
        a = np.block([[np.diag(f), nothing], [by_c @ np.diag(f), nothing]])
        b = np.block([[nothing, psi], [nothing, by_o @ wo + by_c @ psi]])
        paths.append([path[order][:, order] for path in (a, b)])
    return np.swapaxes(paths, 0, 1)


def test_the_paths_are_those_of_the_paper():
    layer, inputs = make_layer("LSTM"), make_inputs(2, 6)
    h, c = make_states(layer, 2)
    paths = lstm_jacobian_paths(layer, inputs, initial_state=[h, c])
    for one in range(2):
        cell, rest = paper_paths(layer.cell, inputs[one], h[one], c[one])
        np.testing.assert_allclose(paths.cell[one], cell, rtol=0, atol=1e-13)
        np.testing.assert_allclose(paths.rest[one], rest, rtol=0, atol=1e-13)


def test_both_paths_together_are_the_step_jacobian():
    layer, inputs = make_layer("LSTM"), make_inputs(3, 9)
    states = make_states(layer, 3)
    paths = lstm_jacobian_paths(layer, inputs, initial_state=states, mask=MASK)
    total = paths.cell + paths.rest
    np.testing.assert_array_equal(total, along(layer, inputs, states, MASK))
    assert [type(path) for path in paths] == [np.ndarray] * 2
    # Each is something: neither of the two is J itself.
    for path in paths:
        assert np.abs(path[MASK]).max(axis=(1, 2)).min() > 0.1


def test_the_product_of_both_paths_together_has_the_spectrum_of_the_lstm():
    layer, inputs = make_layer("LSTM"), make_inputs(1, 40)
    frame, total = initial_frame(8, 8).T, 0.0
    for jacobian in sum(lstm_jacobian_paths(layer, inputs))[0]:
        frame, r = np.linalg.qr(jacobian @ frame)
        total += np.log(np.abs(np.diag(r)))
    exponents = keras_floss.lyapunov_exponents(layer, inputs)[0]
    # Two QRs by different routes: 1e-15 times a condition of 1e4.
    np.testing.assert_allclose(exponents, total / 40, rtol=0, atol=1e-10)


class MyLSTM(keras.layers.LSTM):
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda cell: MyLSTM(4, dtype="float64"),
        lambda cell: keras_floss.layers.HDetachLSTM(4, 1.0, dtype="float64"),
        lambda cell: keras.layers.RNN(cell, dtype="float64"),
        lambda cell: cell,
    ],
    ids=["subclass", "h-detach", "RNN", "cell"],
)
def test_whatever_is_an_lstm(make):
    plain, inputs = make_layer("LSTM"), make_inputs(1, 5)
    layer = make(keras.layers.LSTMCell(4, dtype="float64"))
    shape = inputs.shape if isinstance(layer, keras.layers.RNN) else (1, FEATURES)
    layer.build(shape)
    layer.set_weights(plain.get_weights())
    for path, expected in zip(
        lstm_jacobian_paths(layer, inputs), lstm_jacobian_paths(plain, inputs), strict=True
    ):
        np.testing.assert_allclose(path, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "rnn",
    [
        keras.layers.GRU(4),
        keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.LSTMCell(2)]),
        keras.layers.Bidirectional(keras.layers.LSTM(3)),
        keras.layers.Dense(3),
        lambda state, x: state,
    ],
    ids=["GRU", "stacked", "Bidirectional", "Dense", "function"],
)
def test_whatever_is_not(rnn):
    with pytest.raises(ValueError, match="`keras.layers.LSTM`.*Received: <"):
        lstm_jacobian_paths(rnn, make_inputs(1, 5))


def test_inside_a_graph():
    layer = make_layer("LSTM")
    function = tf.function(lambda x: lstm_jacobian_paths(layer, x), autograph=False)
    with pytest.raises(ValueError, match="`lstm_jacobian_paths`.*eagerly"):
        function(make_inputs(1, 5))
