"""Cells that a user writes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import compiled, make_inputs

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
    from keras_floss.lyapunov.frame import initial_frame

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
