"""Passes that recompute in blocks along time: the same exponents and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, SLOW, cells
from reference import compiled, make_inputs, make_layer

import keras_floss
from keras_floss import (
    FlossingModel,
    condition_number,
    lyapunov_exponents,
    lyapunov_statistics,
    memory_limit,
)
from keras_floss.flow import checkpoints


@pytest.fixture
def limit():
    """Sets the memory limit, and puts it back."""
    before = keras_floss.memory_limit()
    yield keras_floss.set_memory_limit
    keras_floss.set_memory_limit(before)


def exponents_and_gradients(layer, inputs, xla, **options):
    inputs = tf.constant(inputs)

    def run():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            exponents = lyapunov_exponents(layer, inputs, **options)
            total = tf.reduce_sum(tf.sin(exponents))
        weights = [w.value for w in layer.trainable_variables]
        return exponents, *tape.gradient(total, [inputs, *weights])

    return [x.numpy() for x in compiled(run, xla)()]


# 12 steps are three blocks of four; 10 are two and a half.
@pytest.mark.parametrize(
    ("kind", "xla", "steps", "options"),
    [
        pytest.param("SimpleRNN", False, 12, {}, marks=SLOW),
        ("SimpleRNN", True, 12, {}),
        ("GRU", False, 10, {"warmup": 3, "qr_interval": 2}),
        pytest.param("LSTM", True, 10, {"k": 3}, marks=SLOW),
        pytest.param("SimpleRNN", False, 1, {}, marks=SLOW),
    ],
)
def test_blocks_change_neither_exponents_nor_gradients(limit, kind, xla, steps, options):
    layer, inputs = make_layer(kind), make_inputs(2, steps)
    expected = exponents_and_gradients(layer, inputs, False, **options)
    limit(1)
    found = exponents_and_gradients(layer, inputs, xla, **options)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_masked_steps_in_blocks(limit, xla):
    layer, inputs = make_layer("SimpleRNN"), make_inputs(2, 11)
    mask = np.ones((2, 11), bool)
    mask[0, :2] = mask[1, 7:] = False
    expected = exponents_and_gradients(layer, inputs, False, mask=mask, warmup=1)
    limit(1)
    found = exponents_and_gradients(layer, inputs, xla, mask=mask, warmup=1)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_variables_of_a_function_in_blocks(limit):
    a = tf.Variable(1.3, dtype=tf.float64)

    def henon(state):
        x, y = state[:, :1], state[:, 1:]
        return tf.concat([1 - a * x**2 + y, 0.3 * x], axis=-1)

    def gradient():
        with tf.GradientTape() as tape:
            start = tf.constant([[0.1, 0.1]], tf.float64)
            first = lyapunov_exponents(henon, 30, initial_state=start)[0, 0]
        return float(first), float(tape.gradient(first, a))

    expected = gradient()
    limit(1)
    np.testing.assert_allclose(gradient(), expected, rtol=1e-9)


def test_statistics_in_blocks(limit):
    layer, inputs = make_layer("GRU"), make_inputs(1, 30)
    expected = lyapunov_statistics(layer, inputs)
    limit(1)
    found = lyapunov_statistics(layer, inputs)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_the_record_is_kept_up_to_the_limit(limit, monkeypatch):
    # 10 steps of 2 sequences: a state and a frame of 5, R 5 by 5, of 8 bytes.
    needed = 10 * 2 * (5 + 25 + 25) * 8
    calls = []
    forward = checkpoints.forward
    monkeypatch.setattr(checkpoints, "forward", lambda *a: calls.append(1) or forward(*a))
    layer, inputs = make_layer("SimpleRNN"), make_inputs(2, 10)
    limit(needed)
    lyapunov_exponents(layer, inputs)
    assert not calls
    limit(needed - 1)  # and what was traced before is traced anew
    lyapunov_exponents(layer, inputs)
    assert calls


def test_flossing_steps_obey_the_limit(limit):
    inputs = keras.Input((12, 3))
    layer = make_layer("SimpleRNN")
    model = FlossingModel(inputs, keras.layers.Dense(1)(layer(inputs)))
    model.compile("sgd", "mse", flossing_optimizer="sgd")
    x, start = make_inputs(2, 12), model.get_weights()
    ends = []
    for size in (keras_floss.memory_limit(), 1):
        limit(size)
        model.set_weights(start)
        model.floss(x, 2, seed=0, verbose=0)
        ends.append(model.get_weights())
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("size", [1, pytest.param(2**30, marks=SLOW)])
def test_a_limit_may_be_an_argument(monkeypatch, size):
    recomputed = []

    def forward(*args, forward=checkpoints.forward):
        recomputed.append(True)
        return forward(*args)

    monkeypatch.setattr(checkpoints, "forward", forward)
    layer, inputs, before = make_layer("SimpleRNN"), make_inputs(2, 10), memory_limit()
    expected = exponents_and_gradients(layer, inputs, False)
    found = exponents_and_gradients(layer, inputs, False, memory_limit=size)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    lyapunov_statistics(layer, inputs, memory_limit=size)
    condition_number(layer, inputs, memory_limit=size)
    assert len(recomputed) == (3 if size == 1 else 0)
    assert memory_limit() == before


@pytest.mark.parametrize("size", [0, -1, "1 GiB", np.inf])
def test_a_limit_as_an_argument_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="`memory_limit` must be a finite number above 0"):
        lyapunov_exponents(make_layer("SimpleRNN"), make_inputs(1, 4), memory_limit=size)


@pytest.mark.parametrize("size", [0, -1, "1 GiB", None, np.inf])
def test_a_limit_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="`size` must be a finite number above 0"):
        keras_floss.set_memory_limit(size)
