"""Cells of other packages go through the same path, with nothing made for them."""

import keras
import numpy as np
import pytest
from reference import Dual, compiled, concatenate, definition, make_inputs

from keras_floss import lyapunov_exponents

pytestmark = pytest.mark.peers
modes = pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
SEQUENCES, TIME = 2, 6
# h⁴ and 1e-16 / h are 1e-12 or less in the Jacobians; the condition of R is some 100.
PRECISE = {"h": 1e-3, "tolerance": 1e-9}


@pytest.fixture
def float64():
    """Double precision everywhere: a CfCCell makes layers of the default precision."""
    old = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(old)


def difference_step(cell, h, dtype):
    """The step of a cell, with a Jacobian from central differences of its own call.

    Those of h and 2h, extrapolated to zero: an error of h⁴ and of rounding / h.
    """
    sizes = keras.tree.flatten(cell.state_size)
    ends = np.cumsum(sizes)

    def run(x, states):
        states = [s.astype(dtype) for s in np.split(states, ends[:-1], axis=1)]
        x = np.broadcast_to(x, (len(states[0]), len(x))).astype(dtype)
        new = keras.tree.flatten(cell(x, states)[1])
        return np.concatenate(new, axis=1).astype("float64")

    def step(x, states):
        state, unit = concatenate(states), h * np.eye(ends[-1])
        moves = np.vstack([0 * unit[:1], unit, -unit, 2 * unit, -2 * unit])
        cuts = 1 + ends[-1] * np.arange(4)
        new, up, down, far_up, far_down = np.split(run(x, state.value + moves), cuts)
        jacobian = (8 * (up - down) - (far_up - far_down)).T / (12 * h)
        return Dual(new[0], jacobian @ state.slope).split(ends[:-1])

    return step


def check(cell, xla, h, tolerance, k=None, dtype="float64"):
    inputs = make_inputs(SEQUENCES, TIME).astype(dtype)
    lyapunov_exponents(cell, inputs[:, :1])  # builds it
    rng = np.random.default_rng(5)
    sizes = keras.tree.flatten(cell.state_size)
    states = [0.5 * rng.standard_normal((SEQUENCES, d)).astype(dtype) for d in sizes]

    def function(inputs, states):
        return lyapunov_exponents(cell, inputs, k, initial_state=states)

    exponents = compiled(function, xla)(inputs, states)
    assert exponents.dtype == dtype
    assert np.isfinite(exponents).all()
    step, every = difference_step(cell, h, dtype), np.ones(TIME, bool)
    for b, actual in enumerate(exponents):
        start = [s[b].astype("float64") for s in states]
        expected = definition(step, inputs[b], start, every, k or sum(sizes))
        np.testing.assert_allclose(actual, expected.exponents, rtol=0, atol=tolerance)


@modes
@pytest.mark.parametrize("mode", ["default", "pure", "no_gate"])
def test_closed_form_continuous_time_cells_of_ncps(mode, xla, float64):
    ncps = pytest.importorskip("ncps.keras")
    keras.utils.set_random_seed(0)
    cell = ncps.CfCCell(4, mode=mode, backbone_units=8)
    check(cell, xla, **PRECISE)


@modes
def test_liquid_time_constant_cells_of_ncps(xla):
    ncps, wirings = pytest.importorskip("ncps.keras"), pytest.importorskip("ncps.wirings")
    keras.utils.set_random_seed(0)
    cell = ncps.LTCCell(wirings.AutoNCP(8, 2, seed=0))
    # float32, which is all that it can: h⁴ and 1e-7 / h, and a condition of 10.
    check(cell, xla, h=0.02, tolerance=1e-4, k=4, dtype="float32")


@modes
@pytest.mark.parametrize("discretizer", ["zoh", "euler"])
def test_legendre_memory_units_of_keras_lmu(discretizer, xla):
    lmu = pytest.importorskip("keras_lmu")
    keras.utils.set_random_seed(0)
    cell = lmu.LMUCell(
        memory_d=2,
        order=3,
        theta=12,
        hidden_cell=keras.layers.LSTMCell(2, dtype="float64"),
        trainable_theta=True,
        hidden_to_memory=True,
        memory_to_memory=True,
        input_to_hidden=True,
        discretizer=discretizer,
        dtype="float64",
    )
    check(cell, xla, **PRECISE)
