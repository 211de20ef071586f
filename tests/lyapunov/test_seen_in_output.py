"""Exponents as a read-out sees them: the last step goes to the output of the cell.

The reference is NumPy from the definition: QR along the Jacobians of the steps, and at the
last valid one that of the output.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW
from reference import (
    FEATURES,
    central_difference,
    compiled,
    lstm_step,
    make_inputs,
    make_layer,
    numpy_step,
)

import keras_floss
from keras_floss import lyapunov_exponents
from keras_floss.flow.frame import initial_frame

UNITS = 5


class Projected(keras.layers.Layer):
    """h' = tanh(xW + hU), and out comes tanh(h'P) x₀: no state, and of another size."""

    def __init__(self, units, output_size, **kwargs):
        super().__init__(**kwargs)
        self.state_size, self.output_size = units, output_size

    def build(self, input_shape):
        n = self.state_size
        self.w = self.add_weight(shape=(input_shape[-1], n))
        self.u = self.add_weight(shape=(n, n))
        self.p = self.add_weight(shape=(n, self.output_size))

    def call(self, inputs, states):
        h = keras.ops.tanh(inputs @ self.w + states[0] @ self.u)
        return keras.ops.tanh(h @ self.p) * inputs[:, :1], [h]


def projected_step(cell):
    """`step(x, s) -> (s', J, J of the output)`."""
    w, u, p = (v.numpy() for v in cell.weights)

    def step(x, s):
        new = np.tanh(x @ w + s @ u)
        jacobian = (1 - new**2)[:, None] * u.T
        return new, jacobian, x[0] * (1 - np.tanh(new @ p) ** 2)[:, None] * p.T @ jacobian

    return step


def selected(step, rows):
    """Likewise, of an output that is a part of the state."""

    def one(x, s):
        new, jacobian, _ = step(x, s)
        return new, jacobian, jacobian[rows]

    return one


def make(kind):
    """A built layer, and its step in NumPy."""
    if kind == "HDetachLSTM":
        layer = keras_floss.layers.HDetachLSTM(UNITS, dtype="float64")
    elif kind == "projected":
        layer = keras.layers.RNN(Projected(UNITS, 3, dtype="float64"), dtype="float64")
    else:
        layer = make_layer(kind)
        rows = {"LSTM": slice(4), "stacked": slice(6, 10)}.get(kind, slice(None))
        return layer, selected(numpy_step(layer.cell), rows)
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(0)
    for v in layer.weights:
        v.assign(0.6 * rng.standard_normal(v.shape))
    if kind == "projected":
        return layer, projected_step(layer.cell)
    return layer, selected(lstm_step(layer.cell), slice(UNITS))


def by_definition(step, dim, inputs, k, mask=None, warmup=0):
    """`(batch, k)` exponents from zero states."""
    mask = np.ones(inputs.shape[:2], bool) if mask is None else mask
    result = []
    for sequence, valid in zip(inputs, mask, strict=True):
        state, frame, total = np.zeros(dim), initial_frame(k, dim).T, 0.0
        for t, x in enumerate(sequence[valid], start=1):
            state, jacobian, of_output = step(x, state)
            last = t == valid.sum()
            frame, r = np.linalg.qr((of_output if last else jacobian) @ frame)
            if t > warmup:
                total += np.log(np.abs(np.diag(r)))
        counted = valid.sum() - warmup
        result.append(total / counted if counted > 0 else np.full(k, np.nan))
    return np.array(result)


def dim_of(layer):
    return sum(keras.tree.flatten(layer.cell.state_size))


MASK = np.ones((3, 9), bool)
MASK[0, :2] = MASK[1, 6:] = MASK[1, 3] = MASK[2] = False


@pytest.mark.parametrize(
    ("kind", "xla"),
    [
        ("LSTM", True),
        ("HDetachLSTM", False),
        pytest.param("stacked", True, marks=SLOW),
        pytest.param("projected", False, marks=SLOW),
        pytest.param("projected", True, marks=SLOW),
    ],
)
def test_against_numpy_from_the_definition(kind, xla):
    layer, step = make(kind)
    x, k = make_inputs(3, 9), 3
    expected = by_definition(step, dim_of(layer), x, k, MASK, warmup=2)
    assert np.isnan(expected[2]).all()  # a sequence without a valid step

    def exponents(x):
        looks = [{}, {"qr_interval": 5}, {"memory_limit": 1.0, "qr_interval": 2}]
        return [
            lyapunov_exponents(layer, x, k, of="output", mask=MASK, warmup=2, **look)
            for look in looks
        ]

    for ours in compiled(exponents, xla)(tf.constant(x)):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "xla", "memory_limit"),
    [
        pytest.param("LSTM", False, 1.0, marks=SLOW),
        ("projected", False, None),
        ("projected", True, 1.0),
    ],
)
def test_gradient_against_finite_differences(kind, xla, memory_limit):
    layer, _ = make(kind)
    x = tf.Variable(make_inputs(2, 7))
    sizes = keras.tree.flatten(layer.cell.state_size)
    states = [tf.Variable(tf.zeros((2, d), tf.float64)) for d in sizes]
    weights = tf.constant(np.random.default_rng(3).standard_normal((2, 3)))
    mask = np.ones((2, 7), bool)
    mask[0, 4:] = False

    def loss():
        exponents = lyapunov_exponents(
            layer,
            tf.convert_to_tensor(x),
            3,
            of="output",
            initial_state=[tf.convert_to_tensor(s) for s in states],
            mask=mask,
            warmup=1,
            qr_interval=3,
            memory_limit=memory_limit,
        )
        return tf.reduce_sum(weights * exponents)

    variables = [*(v.value for v in layer.trainable_variables), x, *states]

    def gradients():
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, variables)

    value = tf.function(loss, autograph=False)
    rng = np.random.default_rng(4)
    found = compiled(gradients, xla)()
    for variable, gradient in zip(variables, found, strict=True):
        direction = rng.standard_normal(variable.shape)
        slope = central_difference(lambda: value().numpy(), variable, direction)
        assert abs(slope) > 1e-4
        assert np.sum(direction * gradient) == pytest.approx(slope, abs=1e-6)


def test_of_a_layer_that_puts_out_its_state_they_are_those_of_the_state():
    layer, _ = make("GRU")
    x = make_inputs(2, 6)
    by_state, by_output = (
        lyapunov_exponents(layer, x, of=of) for of in ("state", "output")
    )
    np.testing.assert_array_equal(by_state, by_output)


class Other(keras.layers.LSTMCell):
    """An LSTM that puts out something else."""

    def __init__(self, units, put_out, **kwargs):
        super().__init__(units, **kwargs)
        self.put_out = put_out

    def call(self, inputs, states, training=False):
        h, new = super().call(inputs, states)
        return self.put_out(h, new[1]), new


def exponents_of(put_out, **options):
    layer = keras.layers.RNN(Other(4, put_out, dtype="float64"), dtype="float64")
    layer.build((None, None, FEATURES))
    layer.set_weights(make_layer("LSTM").get_weights())
    return lyapunov_exponents(layer, make_inputs(2, 6), **options)


def test_an_output_that_is_all_states_in_another_order_has_their_spectrum():
    def both(h, c):
        return keras.ops.concatenate([c, h], axis=-1)

    expected = exponents_of(both, k=8)
    # Rounding times the condition of R.
    np.testing.assert_allclose(exponents_of(both, of="output"), expected, atol=1e-9)


def test_an_output_may_be_a_structure_of_any_shapes_and_types():
    def structure(h, c):
        square = keras.ops.reshape(c, (-1, 2, 2))
        return {"a": square, "b": [h[:, :1], keras.ops.cast(h > 0, "int32")]}

    def vector(h, c):
        return keras.ops.concatenate([c, h[:, :1]], axis=-1)

    found, expected = (exponents_of(put, k=5, of="output") for put in (structure, vector))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_directions_that_the_output_does_not_see_are_lost():
    def blind(h, c):
        return keras.ops.concatenate([h[:, :2], 2 * h[:, :2]], axis=-1)

    found = exponents_of(blind, of="output").numpy()
    assert found.shape == (2, 4)  # the size of the output
    assert np.isfinite(found[:, :2]).all()
    assert np.isneginf(found[:, 2:]).all()


@pytest.mark.slow
def test_the_noise_of_an_output_is_that_of_the_seed():
    def noisy(h, c):
        return h * tf.random.normal(tf.shape(h), dtype=h.dtype)

    one, again, other = (exponents_of(noisy, k=4, of="output", seed=s) for s in (0, 0, 1))
    clean = exponents_of(noisy, k=4)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01
    np.testing.assert_array_equal(clean, exponents_of(lambda h, c: h, k=4))


def test_a_function_puts_out_its_first_state():
    def step(states):
        a, b = states
        return [a[:, :1] + 0.1 * b[:, :1], 0.5 * b]

    start = [np.array([[1.0]]), np.array([[2.0, 3.0]])]
    found = lyapunov_exponents(step, 1, of="output", initial_state=start)
    # The row of the Jacobian that is the output's, times the first tangent.
    expected = np.log(np.abs([1, 0.1, 0] @ initial_frame(1, 3)[0]))
    np.testing.assert_allclose(found, [[expected]], atol=1e-12)


def test_batch_and_time_may_be_unknown_and_a_layer_run_backwards():
    layer, step = make("projected")
    layer.go_backwards = True
    x = make_inputs(3, 9)

    @tf.function(input_signature=[tf.TensorSpec((None, None, d)) for d in (FEATURES, 1)])
    def exponents(x, mask):
        return lyapunov_exponents(layer, x, 2, of="output", mask=mask[..., 0] > 0, warmup=1)

    found = exponents(x, MASK[..., None].astype("float32"))
    x = x.astype("float32").astype("float64")[:, ::-1]
    expected = by_definition(step, UNITS, x, 2, MASK[:, ::-1], warmup=1)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("kind", "most"), [("LSTM", 4), ("projected", 3)])
def test_there_are_no_more_exponents_than_output_variables(kind, most):
    layer, _ = make(kind)
    message = (
        f"from 1 to {most}, the number of output variables of `{layer.name}`.*: {most + 1}"
    )
    with pytest.raises(ValueError, match=message):
        lyapunov_exponents(layer, make_inputs(1, 4), most + 1, of="output")


def test_what_else_they_could_be_of():
    layer, _ = make("GRU")
    with pytest.raises(ValueError, match="one of 'state', 'output'. Received: 'h'"):
        lyapunov_exponents(layer, make_inputs(1, 4), of="h")
