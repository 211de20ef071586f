"""Cells that a user writes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import central_difference, compiled, make_inputs

from keras_floss import lyapunov_exponents


class Leaky(keras.layers.Layer):
    """h' = (1 − a) h + a tanh(hU + x), with nothing that Keras does not ask for."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.state_size = units
        self.calls = 0

    def build(self, input_shape):
        self.u = self.add_weight(
            shape=(self.state_size, self.state_size), initializer="orthogonal"
        )
        self.unused = self.add_weight(shape=(2,), name="unused")

    def call(self, inputs, states):
        self.calls += 1
        h = states[0]
        drive = keras.ops.matmul(h, self.u) + keras.ops.sum(inputs, -1, keepdims=True)
        h = 0.7 * h + 0.3 * keras.ops.tanh(drive)
        return h, [h]


def leaky_exponents(u, inputs):
    """By the definition: all exponents of the first sequence, from h = 0."""
    from keras_floss.flow.frame import initial_frame

    n = len(u)
    h, frame, total = np.zeros(n), initial_frame(n, n).T, 0.0
    for x in inputs[0]:
        y = np.tanh(h @ u + x.sum())
        h = 0.7 * h + 0.3 * y
        frame, r = np.linalg.qr((0.7 * np.eye(n) + 0.3 * (1 - y**2)[:, None] * u.T) @ frame)
        total += np.log(np.abs(np.diag(r)))
    return total / len(inputs[0])


@pytest.mark.parametrize("wrapped", [False, True], ids=["cell", "layer"])
def test_a_cell_without_initial_state_starts_from_zeros(wrapped):
    cell = Leaky(4, dtype="float64")
    rnn = keras.layers.RNN(cell, dtype="float64") if wrapped else cell
    inputs = make_inputs(1, 8)
    exponents = lyapunov_exponents(rnn, inputs)
    expected = leaky_exponents(cell.u.numpy(), inputs)
    np.testing.assert_allclose(exponents[0], expected, atol=1e-10)


def test_a_weight_that_is_not_used_has_no_gradient():
    cell, inputs = Leaky(4, dtype="float64"), make_inputs(1, 5)
    lyapunov_exponents(cell, inputs)

    def gradients(x):
        with tf.GradientTape() as tape:
            exponents = lyapunov_exponents(cell, x)
        return tape.gradient(exponents, [cell.u, cell.unused])

    used, unused = compiled(gradients, False)(inputs)
    assert np.abs(used).max() > 1e-4
    assert unused is None


def test_an_eager_call_reuses_its_trace():
    cell = Leaky(3)
    inputs = make_inputs(2, 6).astype("float32")
    lyapunov_exponents(cell, inputs, k=2)
    first = cell.calls
    assert first > 0
    for x in (inputs, 2 * inputs):
        lyapunov_exponents(cell, x, k=2)
    assert cell.calls == first  # the same layer, shape and options
    lyapunov_exponents(cell, inputs, k=1)
    assert cell.calls > first  # other options


def test_nested_states_are_all_in_the_state():
    class Pair(keras.layers.Layer):
        """Two uncoupled linear states, with stretches 2 and 0.5."""

        state_size = (1, 1)

        def call(self, inputs, states):
            a, b = states
            return a, [2.0 * a + inputs, 0.5 * b + inputs]

    exponents = lyapunov_exponents(Pair(dtype="float64"), np.ones((1, 200, 1)), warmup=100)
    # (0.5/2)^100 of misalignment.
    np.testing.assert_allclose(exponents[0], np.log([2, 0.5]), atol=1e-12)


class Tokens(keras.layers.Layer):
    """tanh(hU + e) with a row e of a table that the input names."""

    def __init__(self, take, **kwargs):
        super().__init__(**kwargs)
        self.state_size = 3
        self.take = take

    def build(self, input_shape):
        self.table = self.add_weight(shape=(4, 3), name="table")
        self.u = self.add_weight(shape=(3, 3), name="u")

    def call(self, inputs, states):
        token = keras.ops.cast(keras.ops.abs(inputs[:, 0]) * 2, "int32") % 4
        row = self.take(self.table, token)
        h = keras.ops.tanh(states[0] @ self.u + row)
        return h, [h]


TAKES = {
    "take": lambda table, token: keras.ops.take(table, token, axis=0),
    "gather": lambda table, token: tf.gather(tf.convert_to_tensor(table), token),
    "gather_nd": lambda table, token: tf.gather_nd(table.value, token[:, None]),
    "and dense": lambda table, token: keras.ops.take(table, token, axis=0) * table[1],
    "embedding_lookup": lambda table, token: tf.nn.embedding_lookup(table.value, token),
}


def check_difference(run, variable):
    """A gradient along a direction against a central difference, in float64."""
    _, gradient = run()
    direction = np.random.default_rng(3).normal(size=variable.shape)
    expected = central_difference(lambda: run()[0], variable, direction)
    assert abs(expected) > 1e-2
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("take", "xla"), cells([*TAKES], MODES, always=["*-graph", "take-xla"])
)
def test_rows_of_a_weight_that_a_cell_looks_up_have_a_gradient(take, xla):
    cell, inputs = Tokens(TAKES[take], dtype="float64"), make_inputs(2, 8)
    rnn = keras.layers.RNN(cell, dtype="float64")
    keras.utils.set_random_seed(1)
    rnn.build(inputs.shape)

    def run():
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(lyapunov_exponents(rnn, inputs, 2))
        return value, tape.gradient(value, cell.table.value)

    check_difference(compiled(run, xla), cell.table)


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_rows_of_a_variable_that_a_function_looks_up_have_a_gradient(xla):
    table = tf.Variable(np.random.default_rng(0).standard_normal((4, 2)))

    def step(state, x):
        token = tf.cast(tf.abs(x[:, 0]) * 2, tf.int32) % 4
        return tf.tanh(state * tf.gather(table, token) + tf.gather(table, 0))

    def run():
        with tf.GradientTape() as tape:
            start = np.ones((2, 2))
            exponents = lyapunov_exponents(step, make_inputs(2, 8), initial_state=start)
            value = tf.reduce_sum(exponents * [1.0, 0.5])
        return value, tf.convert_to_tensor(tape.gradient(value, table))

    check_difference(compiled(run, xla), table)
