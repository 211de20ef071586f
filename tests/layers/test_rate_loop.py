"""The time loop of RateRNN against Keras's loop over the same cell."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells

from keras_floss.layers import RateRNN, RateRNNCell, own_loop
from keras_floss.layers.equations import ELEMENTWISE
from keras_floss.layers.time_loop import LENGTHS as BLOCKS

OF_THE_CELL = {"activation", "use_bias", "trainable_initial_state"}
LENGTHS = (1, 2, BLOCKS[0], 2 * BLOCKS[0] + 1)
# The first step is masked, one in between, the end; one sequence is masked throughout.
MASK = np.array([[0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0], [1] * 11, [0] * 11], bool)


def make_pair(dtype="float64", **options):
    """A RateRNN, and a `keras.layers.RNN` over a cell of the same weights."""
    keras.utils.set_random_seed(2)
    ours = RateRNN(5, return_state=True, dtype=dtype, **options)
    cell_options = {k: v for k, v in options.items() if k in OF_THE_CELL}
    others = {k: v for k, v in options.items() if k not in OF_THE_CELL}
    cell = RateRNNCell(5, dtype=dtype, **cell_options)
    theirs = keras.layers.RNN(cell, return_state=True, dtype=dtype, **others)
    for layer in (ours, theirs):
        layer.build((3, None, 2))
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def random(*shape, dtype="float64"):
    return tf.constant(np.random.default_rng(len(shape)).standard_normal(shape), dtype)


def traced(layer, mask=None, jit_compile=False, training=True, **options):
    """`run(inputs, start)`: outputs, last state, and a loss's gradients in everything."""

    def run(inputs, start):
        with tf.GradientTape() as tape:
            tape.watch([inputs, start])
            initial = [start] if start.shape[-1] else None
            outputs, state = layer(inputs, initial, mask=mask, training=training)
            outputs, state = tf.cast(outputs, tf.float64), tf.cast(state, tf.float64)
            loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(tf.sin(state))
        weights = [v.value for v in layer.trainable_variables]
        zero = tf.UnconnectedGradients.ZERO
        return outputs, state, tape.gradient(loss, [inputs, *weights, start], None, zero)

    return tf.function(run, autograph=False, jit_compile=jit_compile, **options)


def assert_same(actual, expected, **tolerance):
    pairs = zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, **tolerance)


@pytest.mark.parametrize(
    ("time", "jit_compile"), cells(LENGTHS, MODES, always=["*-graph", "17-xla"])
)
def test_outputs_and_gradients_are_those_of_keras(time, jit_compile):
    ours, theirs = make_pair(return_sequences=True)
    arguments = random(3, time, 2), random(3, 5)
    expected = traced(theirs)(*arguments)
    assert_same(traced(ours, jit_compile=jit_compile)(*arguments), expected, atol=1e-12)
    assert all(np.abs(g).max() > 1e-3 for g in expected[2])


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_masks(return_sequences, zero_output_for_mask, go_backwards, jit_compile):
    ours, theirs = make_pair(
        return_sequences=return_sequences,
        zero_output_for_mask=zero_output_for_mask,
        go_backwards=go_backwards,
    )
    arguments = random(3, 11, 2), random(3, 5)
    expected = traced(theirs, tf.constant(MASK))(*arguments)
    for mask in (tf.constant(MASK), tf.constant(MASK[..., None])):
        actual = traced(ours, mask, jit_compile=jit_compile)(*arguments)
        assert_same(actual, expected, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"use_bias": False}, {"trainable_initial_state": True}]
)
def test_other_weights(options):
    ours, theirs = make_pair(return_sequences=True, **options)
    for layer in (ours, theirs):
        if "trainable_initial_state" in options:
            layer.cell.initial_state.assign(random(5))
    # A start without numbers: the layer's own.
    arguments = random(3, 9, 2), random(3, 0)
    expected = traced(theirs)(*arguments)
    assert_same(traced(ours)(*arguments), expected, atol=1e-12)
    assert len(ours.trainable_variables) == 2 + ("use_bias" not in options) * 2


@pytest.mark.slow
@pytest.mark.parametrize("activation", sorted(f.__name__ for f in ELEMENTWISE))
def test_elementwise_activations(activation):
    ours, theirs = make_pair(return_sequences=True, activation=activation)
    # Small enough that nothing explodes, and on both sides of every kink.
    for layer in (ours, theirs):
        layer.cell.recurrent_kernel.assign(0.3 * random(5, 5))
    arguments = random(3, 9, 2), random(3, 5)
    assert_same(traced(ours)(*arguments), traced(theirs)(*arguments), rtol=1e-10)


@pytest.mark.parametrize("activation", ["softmax", tf.math.softsign, lambda x: x[:, ::-1]])
def test_any_other_activation(activation):
    ours, theirs = make_pair(return_sequences=True, activation=activation)
    arguments = random(3, 9, 2), random(3, 5)
    assert_same(traced(ours)(*arguments), traced(theirs)(*arguments), atol=1e-12)


@pytest.mark.parametrize("jit_compile", cells(MODES, always=["graph"]))
def test_unknown_batch_and_time(jit_compile):
    ours, theirs = make_pair(return_sequences=True)
    signature = [
        tf.TensorSpec((None, None, 2), "float64"),
        tf.TensorSpec((None, 5), "float64"),
    ]
    options = {"jit_compile": jit_compile, "input_signature": signature}
    run = traced(ours, **options)
    for batch, time in [(3, 11), (1, 8), (2, 3)]:
        arguments = random(batch, time, 2), random(batch, 5)
        assert_same(run(*arguments), traced(theirs)(*arguments), atol=1e-12)
    # A known batch of 1 in one, an unknown batch in the other.
    signature[1] = tf.TensorSpec((1, 5), "float64")
    arguments = random(1, 11, 2), random(1, 5)
    expected = traced(theirs)(*arguments)
    assert_same(traced(ours, **options)(*arguments), expected, atol=1e-12)


def test_eagerly():
    ours, theirs = make_pair(return_sequences=True)
    arguments = random(3, 11, 2), random(3, 5)
    expected = traced(theirs)(*arguments)
    assert_same(traced(ours).python_function(*arguments), expected, atol=1e-12)


def test_inference():
    for return_sequences in (False, True):
        ours, theirs = make_pair(return_sequences=return_sequences)
        arguments = random(3, 11, 2), random(3, 5)
        expected = traced(theirs, training=False)(*arguments)
        assert_same(traced(ours, training=False)(*arguments), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(dtype):
    ours, theirs = make_pair(dtype, return_sequences=True)
    inputs = random(3, 11, 2, dtype="float32")
    assert ours(inputs)[0].dtype == theirs(inputs)[0].dtype == dtype.removeprefix("mixed_")
    start = random(3, 5, dtype="float32")
    actual, expected = traced(ours)(inputs, start), traced(theirs)(inputs, start)
    # bfloat16 has 8 bits, and 11 steps follow one another.
    tolerance = {"mixed_float16": 0.02, "mixed_bfloat16": 0.15}[dtype]
    for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        assert a.dtype == b.dtype
        assert np.linalg.norm(a - b) < tolerance * np.linalg.norm(b)


@pytest.mark.parametrize("masked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_second_derivatives(masked):
    mask = tf.constant(MASK) if masked else None

    @tf.function(autograph=False)
    def penalty(layer, inputs):
        weights = [v.value for v in layer.trainable_variables]
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                loss = tf.reduce_sum(layer(inputs, mask=mask, training=True)[0] ** 2)
            size = tf.reduce_sum(inner.gradient(loss, inputs) ** 2)
        return outer.gradient(size, weights)

    ours, theirs = make_pair(return_sequences=True)
    inputs = random(3, 11, 2)
    expected = penalty(theirs, inputs)
    assert_same(penalty(ours, inputs), expected, rtol=1e-9, atol=1e-9)
    assert all(np.abs(g).max() > 1e-3 for g in expected)


def test_jacobians_by_vectorisation():
    @tf.function(autograph=False)
    def jacobian(layer, inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)[0]
        return tape.batch_jacobian(outputs, inputs)

    ours, theirs = make_pair(return_sequences=True)
    inputs = random(3, 11, 2)
    assert_same(jacobian(ours, inputs), jacobian(theirs, inputs), atol=1e-12)


def test_which_loop_is_taken(monkeypatch):
    calls = []

    def spy(*arguments, **options):
        calls.append(arguments)
        return original(*arguments, **options)

    original = own_loop.time_loop
    monkeypatch.setattr(own_loop, "time_loop", spy)

    def is_own(training, **options):
        calls.clear()
        make_pair(**options)[0](random(3, 4, 2), training=training)
        return len(calls) == 1

    assert is_own(training=True)
    assert is_own(training=False, return_sequences=True)
    # Memory for all states would be for nothing.
    assert not is_own(training=False)
    assert not is_own(training=True, unroll=True)
    assert not is_own(training=True, activation="softmax")
