"""`qr_interval="auto"`: QRs where they are needed, exponents as with one at every step."""

import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import (
    KINDS,
    compiled,
    make_inputs,
    make_layer,
    make_states,
    numpy_exponents,
)

from keras_floss import lyapunov_exponents
from keras_floss.flow.as_needed import allowed, condition, sweep_as_needed
from keras_floss.flow.spectrum import flow_arguments
from keras_floss.recurrent.trajectory import as_trajectory

XLA = pytest.mark.parametrize("xla", MODES.values(), ids=MODES)


def turns(dim, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]


def intervals(step, time, state, k, **settings):
    """Between which steps there were QRs, in graph mode."""
    start = tf.constant(state)

    def record():
        trajectory = as_trajectory(step, time, start, None)
        arguments = flow_arguments(trajectory, k, qr_interval="auto", **settings)
        names = "step", "weights", "inputs", "states", "frame", "schedule"
        assert arguments["schedule"].as_needed
        return sweep_as_needed(*(arguments[name] for name in names)).qr

    qr = compiled(record, False)().numpy()
    assert qr.shape == (time, 1)
    assert qr[-1]
    return np.diff(np.flatnonzero(qr[:, 0]), prepend=-1)


def both(run, xla):
    """What it gives with QRs as they are needed, and with one at every step."""
    return [compiled(lambda q=q: run(q), xla)() for q in ("auto", 1)]


@pytest.mark.parametrize(
    ("kind", "xla"), cells(KINDS, MODES.values(), always=["LSTM-True"])
)
def test_exponents_equal_the_definition(kind, xla):
    layer, inputs = make_layer(kind), make_inputs(2, 30)
    states = make_states(layer, 2)

    def run():
        return lyapunov_exponents(layer, inputs, 2, initial_state=states, warmup=7)

    expected = numpy_exponents(layer.cell, inputs, states, k=2, warmup=7)
    np.testing.assert_allclose(compiled(run, xla)(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "xla"), cells(KINDS, MODES.values(), always=["GRU-False"])
)
def test_the_gradient_is_that_of_a_qr_at_every_step(kind, xla):
    layer, inputs = make_layer(kind), tf.constant(make_inputs(2, 25))

    def slopes(qr_interval):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            found = lyapunov_exponents(
                layer, inputs, 2, warmup=3, qr_interval=qr_interval, jit_compile=False
            )
            loss = tf.reduce_sum(found**2)
        return tape.gradient(loss, [inputs, *(v.value for v in layer.trainable_variables)])

    for actual, expected in zip(*both(slopes, xla), strict=True):
        size = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-9 * size)


@pytest.mark.slow
def test_slopes_of_slopes_are_those_of_a_qr_at_every_step():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(1, 9)
    kernel = layer.cell.recurrent_kernel.value

    def bends(qr_interval):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                found = lyapunov_exponents(layer, inputs, 2, qr_interval=qr_interval)
                loss = tf.reduce_sum(found**2)
            slope = tf.reduce_sum(inner.gradient(loss, kernel) ** 2)
        return outer.gradient(slope, kernel)

    actual, expected = both(bends, False)
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-9)


def test_rotations_need_next_to_no_qr():
    turn = turns(8)
    found = intervals(lambda s: s @ turn, 200, np.ones((1, 8)), 3)
    np.testing.assert_array_equal(found, [1, 2, 4, 8, 16, 32, 64, 73])


def test_the_last_step_of_the_warmup_has_a_qr():
    turn = turns(8)
    found = intervals(lambda s: s @ turn, 40, np.ones((1, 8)), 3, warmup=10)
    assert 10 in np.cumsum(found)


def test_exponents_that_are_far_apart_need_many():
    turn, slopes = turns(8), np.geomspace(1, 1e-9, 8)
    found = intervals(lambda s: (s @ turn) * slopes, 60, np.ones((1, 8)), 4)
    assert found.max() <= 3


@XLA
def test_steps_that_were_too_many_are_taken_again(xla):
    turn, shear = turns(6), np.eye(6) + np.triu(np.full((6, 6), 2.0), 1)

    def step(state):
        # A rotation for 40 steps, and a shear from then on.
        z, number = state[:, :6], state[:, 6:]
        new = tf.where(number < 40, z @ turn, z @ shear @ turn)
        return tf.concat([new, number + 1], axis=-1)

    start = np.append(np.ones(6), 0.0)[None]
    found = intervals(step, 90, start, 3)
    assert found.sum() == 90
    assert found[:5].tolist() == [1, 2, 4, 8, 16]
    # From step 31 on 32 were tried: the shears came in.
    assert found[5] < 32
    assert found[7:].max() <= 8
    actual, expected = both(
        lambda q: lyapunov_exponents(step, 90, 3, initial_state=start, qr_interval=q), xla
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-11)


@XLA
@pytest.mark.parametrize("slope", [1e-6, 1e6])
def test_tangents_stay_within_what_the_type_holds(slope, xla):
    turn = (turns(6) * slope).astype("float32")
    start = np.zeros((1, 6), "float32")

    def run():
        return lyapunov_exponents(lambda s: s @ turn, 50, 3, initial_state=start)

    np.testing.assert_allclose(compiled(run, xla)(), np.full((1, 3), np.log(slope)), 1e-5)


@XLA
def test_a_direction_that_is_lost_is_as_with_a_qr_at_every_step(xla):
    flat = turns(6) @ np.diag([1, 1, 0, 0, 0, 0.0])
    start = np.ones((1, 6))
    actual, expected = both(
        lambda q: lyapunov_exponents(
            lambda s: s @ flat, 20, 3, initial_state=start, qr_interval=q
        ),
        xla,
    )
    np.testing.assert_array_equal(actual[0, 2], -np.inf)
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


@XLA
def test_what_is_not_finite_ends_and_is_nan(xla):
    def step(state):
        return state**3 * 10.0

    def run():
        return lyapunov_exponents(step, 60, 2, initial_state=np.full((1, 5), 2.0))

    assert np.isnan(compiled(run, xla)()).all()


@XLA
def test_less_memory_gives_the_same(xla):
    layer, inputs = make_layer("GRU"), make_inputs(2, 20)
    small, large = (
        compiled(lambda m=m: lyapunov_exponents(layer, inputs, 2, memory_limit=m), xla)()
        for m in (1e3, 1e9)
    )
    np.testing.assert_allclose(small, large, rtol=1e-11)


def test_with_a_mask_and_with_many_exponents_there_is_a_qr_at_every_step():
    layer, inputs = make_layer("GRU"), make_inputs(1, 8)  # D = 5

    def schedule(k, mask=None):
        trajectory = as_trajectory(layer, inputs, None, mask)
        return flow_arguments(trajectory, k, qr_interval="auto")["schedule"]

    few, many = schedule(2), schedule(3)
    masked = schedule(2, tf.constant([[True] * 5 + [False] * 3]))
    assert (few.as_needed, many.as_needed, masked.as_needed) == (True, False, False)
    assert many.every_step
    np.testing.assert_array_equal(masked.qr[:, 0], [True] * 5 + [False] * 3)


@XLA
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_condition_is_about_that_of_tangents_of_one_length(dtype, xla):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((2, 4, 9)) * [[[1.0], [3.0], [0.2], [0.5]]]
    rows[1, 3] = rows[1, 2] + 0.01 * rows[1, 3]
    scaled = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    factors = np.stack([np.linalg.inv(np.linalg.qr(x.T)[1]).T for x in rows])
    arguments = (tf.constant(x, dtype) for x in (rows, factors))
    found = compiled(condition, xla)(*arguments).numpy()
    true = np.linalg.cond(scaled).max()
    assert true / 4 < found < true
    assert found > 0.5 * allowed(tf.float32).numpy()


def test_another_word_is_refused():
    with pytest.raises(ValueError, match='`qr_interval` must be "auto" or .*often'):
        lyapunov_exponents(make_layer("GRU"), make_inputs(1, 8), 2, qr_interval="often")
