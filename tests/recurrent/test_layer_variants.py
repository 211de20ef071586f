"""Every recurrent layer there is, with every setting, has the exponents it should have.

The expected values are those of the definition in NumPy, and the expected gradients are
finite differences of those: of the package there is nothing in them but the first frame.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import Dual, compiled, definition, dual_step, make_inputs

import keras_floss
from keras_floss import lyapunov_exponents

layers = keras.layers
WIDE = {"dtype": "float64"}
TIME = 8
SEED = 0  # of weights with which no stretch comes near zero
MASK = np.ones((3, TIME), bool)
MASK[1, 5:] = False  # padding on the right
MASK[2, [0, 3]] = False  # padding on the left, and a gap


class Nested(keras.layers.Layer):
    """States a, (b, c): a' = tanh(aU + Σb + x₀), b' = a'V + b/2, c' = c sin(a₀') + x₁."""

    state_size = (3, [2, 1])
    output_size = 3

    def build(self, input_shape):
        self.u = self.add_weight(shape=(3, 3), name="u")
        self.v = self.add_weight(shape=(3, 2), name="v")

    def get_initial_state(self, batch_size=None):
        def zeros(size):
            return keras.ops.zeros((batch_size, size), self.compute_dtype)

        return (zeros(3), [zeros(2), zeros(1)])

    def call(self, inputs, states):
        a, (b, c) = states
        drive = keras.ops.sum(b, -1, keepdims=True) + inputs[:, :1]
        a = keras.ops.tanh(keras.ops.matmul(a, self.u) + drive)
        b = keras.ops.matmul(a, self.v) + b / 2
        c = c * keras.ops.sin(a[:, :1]) + inputs[:, 1:2]
        return a, (a, [b, c])

    def dual_step(self):
        u, v = self.u.numpy(), self.v.numpy()

        def step(x, states):
            a, b, c = states
            a = (a @ u + b @ np.ones((2, 3)) + x[0]).apply("tanh")
            first = a.split([1])[0]
            sine = np.cos(first.value)[:, None] * first.slope
            return [a, a @ v + b * 0.5, c * Dual(np.sin(first.value), sine) + x[1]]

        return step


def stacked():
    cells = [layers.LSTMCell(3, **WIDE), layers.GRUCell(2, reset_after=False, **WIDE)]
    return layers.RNN(layers.StackedRNNCells(cells, **WIDE), **WIDE)


def bidirectional():
    forward = layers.SimpleRNN(4, use_bias=False, **WIDE)
    backward = layers.LSTM(3, go_backwards=True, **WIDE)
    return layers.Bidirectional(forward, backward_layer=backward, **WIDE)


VARIANTS = {
    "simple": lambda: layers.SimpleRNN(5, **WIDE),
    "simple-relu": lambda: layers.SimpleRNN(5, activation="relu", **WIDE),
    "rate": lambda: keras_floss.layers.RateRNN(5, **WIDE),
    "gru": lambda: layers.GRU(4, **WIDE),
    "gru-reset-before": lambda: layers.GRU(4, reset_after=False, **WIDE),
    "lstm": lambda: layers.LSTM(3, **WIDE),
    "nested-initial-state": lambda: layers.RNN(Nested(**WIDE), **WIDE),
    "stacked": stacked,
    "forward": lambda: bidirectional().forward_layer,
    "backward": lambda: bidirectional().backward_layer,
    "stateful-unroll-backwards": lambda: layers.SimpleRNN(
        4, stateful=True, unroll=True, go_backwards=True, **WIDE
    ),
    "return-everything": lambda: layers.GRU(
        3, return_sequences=True, return_state=True, **WIDE
    ),
}
# Of a rank-deficient map only the first exponents are finite.
SOME = {"simple-relu": 2}


def problem(name):
    """Layer, inputs, and the states that it starts from."""
    layer = VARIANTS[name]()
    layer.build((len(MASK), TIME, 3))
    rng = np.random.default_rng(SEED)
    for v in layer.trainable_weights:
        v.assign(0.6 * rng.standard_normal(v.shape))
    sizes = keras.tree.flatten(layer.cell.state_size)
    states = [0.5 * rng.standard_normal((len(MASK), d)) for d in sizes]
    if layer.stateful:
        for v, s in zip(layer.states, states, strict=True):
            v.assign(s)
    elif name != "nested-initial-state":
        states = [np.zeros_like(s) for s in states]
    return layer, make_inputs(*MASK.shape), states


def packed(layer, states):
    """A flat list of states as the layer takes them."""
    return keras.tree.pack_sequence_as(layer.cell.state_size, states)


def expected_exponents(layer, inputs, states, mask, **options):
    step = dual_step(layer.cell)
    if layer.go_backwards:
        inputs, mask = inputs[:, ::-1], mask[:, ::-1]
    rows = [
        definition(step, x, [s[b] for s in states], mask[b], **options).exponents
        for b, x in enumerate(inputs)
    ]
    return np.array(rows)


def loss_weights(shape):
    return np.random.default_rng(7).standard_normal(shape)


def expected_derivatives(layer, value):
    """For each weight a direction, and the derivative of `value()` along it."""
    rng = np.random.default_rng(11)
    for v in layer.trainable_weights:
        old, direction = v.numpy(), rng.standard_normal(v.shape)
        direction /= np.linalg.norm(direction)

        def central(h, v=v, old=old, direction=direction):
            v.assign(old + h * direction)
            up = value()
            v.assign(old - h * direction)
            return (up - value()) / (2 * h)

        # (4·C(h) − C(2h)) / 3 has an error of h⁴ ~ 1e-16 times a fifth derivative, and
        # rounding of 1e-15 / h ~ 1e-11, or 1e-8 with the largest condition numbers, of
        # 1e3, where the derivatives are some 100.
        yield direction, (4 * central(1e-4) - central(2e-4)) / 3
        v.assign(old)


# XLA compiles for seconds: one variant of it always, the others with the slow tests.
SLOW = pytest.mark.slow
CASES = [pytest.param(name, False, id=f"{name}-graph") for name in VARIANTS] + [
    pytest.param(name, True, id=f"{name}-xla", marks=() if name == "lstm" else SLOW)
    for name in VARIANTS
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "xla"), CASES)
def test_a_variant_has_the_exponents_and_the_gradients_of_its_definition(name, xla):
    layer, inputs, states = problem(name)
    given = packed(layer, states) if name == "nested-initial-state" else None
    dim = sum(keras.tree.flatten(layer.cell.state_size))
    k, order = SOME.get(name, dim), [2, 0, 1]
    few = {"k": k // 2, "warmup": 1, "qr_interval": 2}

    def everything(inputs, mask):
        """In one function, for tracing is what takes the time."""
        options = {"initial_state": given, "mask": mask}
        with tf.GradientTape() as tape:
            exponents = lyapunov_exponents(layer, inputs, k, warmup=1, **options)
            loss = tf.reduce_sum(loss_weights(exponents.shape) * exponents)
        gradients = tape.gradient(loss, layer.trainable_weights)
        inputs_moved, mask_moved = tf.gather(inputs, order), tf.gather(mask, order)
        options = {"initial_state": packed(layer, [s[order] for s in states])}
        moved = lyapunov_exponents(layer, inputs_moved, mask=mask_moved, **few, **options)
        dense = None if xla else lyapunov_exponents(layer, inputs, k, initial_state=given)
        return exponents, gradients, moved, dense

    exponents, gradients, moved, dense = compiled(everything, xla)(inputs, MASK)

    # Rounding times the condition number between two QRs, of 1e4 or less.
    expected = expected_exponents(layer, inputs, states, MASK, k=k, warmup=1)
    np.testing.assert_allclose(exponents, expected, rtol=0, atol=1e-9)
    if dense is not None:
        no_mask = expected_exponents(layer, inputs, states, np.ones_like(MASK), k=k)
        np.testing.assert_allclose(dense, no_mask, rtol=0, atol=1e-9)
    # Half as many, with half as many QRs, in another order: the same numbers.
    assert np.abs(expected - expected[order]).max() > 1e-3
    half = expected[order, : few["k"]]
    np.testing.assert_allclose(moved, half, rtol=0, atol=1e-9)

    def value():
        actual = expected_exponents(layer, inputs, states, MASK, k=k, warmup=1)
        return np.sum(loss_weights(actual.shape) * actual)

    derivatives = list(expected_derivatives(layer, value))
    scales = []
    for gradient, (direction, derivative) in zip(gradients, derivatives, strict=True):
        scales.append(np.linalg.norm(gradient))
        error = abs(np.sum(gradient * direction) - derivative)
        assert error < 1e-6 * scales[-1] + 1e-9
    # No zeros are compared: but the slopes of a ReLU know nothing of kernel and bias.
    assert np.sort(scales)[0 if name != "simple-relu" else -1] > 1e-3
