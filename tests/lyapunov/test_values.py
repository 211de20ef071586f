"""The exponents are those of the definition, computed in NumPy."""

import numpy as np
import pytest
from cells import MODES, cells
from reference import (
    DIMS,
    KINDS,
    compiled,
    jacobians,
    make_inputs,
    make_layer,
    make_states,
    numpy_exponents,
)

from keras_floss import lyapunov_exponents

kinds = pytest.mark.parametrize("kind", KINDS)

# Two QRs by different routes agree to rounding times the condition number of what is
# between two QRs: about 1e-15 · 1e4 with a short frame or a QR at every step.
TOLERANCE = 1e-9


def exponents(layer, inputs, xla, **options):
    return compiled(lambda x: lyapunov_exponents(layer, x, **options), xla)(inputs).numpy()


@pytest.mark.parametrize(
    ("kind", "xla"), cells(KINDS, MODES, always=["*-graph", "SimpleRNN-xla"])
)
def test_all_exponents_equal_the_definition(kind, xla):
    layer, inputs = make_layer(kind), make_inputs(2, 9)
    expected = numpy_exponents(layer.cell, inputs)
    assert expected.shape == (2, DIMS[kind])
    np.testing.assert_allclose(exponents(layer, inputs, xla), expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "xla"), cells(KINDS, MODES, always=["*-graph", "GRU-xla"])
)
def test_options_equal_the_definition(kind, xla):
    layer, inputs = make_layer(kind), make_inputs(2, 11)
    # 11 − 3 steps are no multiple of 3: the last block is a short one.
    options = {"k": DIMS[kind] // 2, "warmup": 3, "qr_interval": 3, "seed": 5}
    states = make_states(layer, 2)
    actual = exponents(layer, inputs, xla, initial_state=states, **options)
    expected = numpy_exponents(layer.cell, inputs, states, **options)
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE)
    # What does not leave the value as it is cannot have been ignored.
    for other in [{**options, "warmup": 0}, {**options, "seed": 0}]:
        without = numpy_exponents(layer.cell, inputs, states, **other)
        assert np.abs(actual - without).max() > 1e-3
    without = numpy_exponents(layer.cell, inputs, None, **options)
    assert np.abs(actual - without).max() > 1e-3


@pytest.mark.parametrize(("warmup", "qr_interval"), [(0, 3), (4, 1)])
def test_warmup_and_interval_do_not_depend_on_each_other(warmup, qr_interval):
    options = {"k": 3, "warmup": warmup, "qr_interval": qr_interval}
    layer, inputs = make_layer("GRU"), make_inputs(2, 11)
    actual = lyapunov_exponents(layer, inputs, **options)
    expected = numpy_exponents(layer.cell, inputs, **options)
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE)


def test_go_backwards_runs_over_the_reversed_sequence():
    layer, inputs = make_layer("LSTM", go_backwards=True), make_inputs(2, 9)
    actual = lyapunov_exponents(layer, inputs, warmup=2)
    expected = numpy_exponents(layer.cell, inputs[:, ::-1], warmup=2)
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE)
    forward = numpy_exponents(layer.cell, inputs, warmup=2)
    assert np.abs(actual - forward).max() > 1e-3


def test_a_cell_has_the_exponents_of_its_layer():
    layer, inputs = make_layer("stacked"), make_inputs(2, 9)
    cell = lyapunov_exponents(layer.cell, inputs, k=3)
    np.testing.assert_array_equal(cell, lyapunov_exponents(layer, inputs, k=3))


@kinds
def test_the_sum_of_all_exponents_is_the_mean_log_determinant(kind):
    layer, inputs, warmup = make_layer(kind), make_inputs(2, 10), 3
    states = make_states(layer, 2)
    total = lyapunov_exponents(layer, inputs, initial_state=states, warmup=warmup)
    for b, state in enumerate(np.hstack(states)):
        steps = jacobians(layer.cell, inputs[b], state)[warmup:]
        expected = np.mean([np.linalg.slogdet(j)[1] for j in steps])
        # Exact for every length; LAPACK's LU and QR differ by rounding · condition.
        assert abs(np.sum(total[b]) - expected) < 1e-8
