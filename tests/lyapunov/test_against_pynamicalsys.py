"""An independent implementation of the same method finds the same exponents."""

import keras
import numpy as np
import pytest

from keras_floss import lyapunov_exponents

UNITS, GAIN, GRID = 16, 2.5, 2.0**20
TRANSIENT, ALIGNMENT, STEPS = 1000, 1000, 5000


@pytest.mark.peers
def test_a_chaotic_network_has_the_exponents_that_pynamicalsys_finds():
    """s' = tanh(W s), rounded to a grid of 1e-6.

    In chaos two computations of one orbit are apart after some 400 steps, and exponents
    of different orbits differ by 1e-2. Their roundings differ by 1e-16: with a grid the
    orbits are equal bit for bit. The derivative is that of the tanh on both sides.
    """
    pytest.importorskip("numba")
    systems = pytest.importorskip("pynamicalsys")
    import numba

    w = np.random.default_rng(7).standard_normal((UNITS, UNITS)) * GAIN / UNITS**0.5
    start = 0.1 * np.ones(UNITS)

    @numba.njit
    def mapping(state, parameters):
        y = np.tanh(parameters.reshape((UNITS, UNITS)) @ state)
        return np.floor(y * GRID + 0.5) / GRID

    @numba.njit
    def jacobian(state, parameters, *_):
        matrix = parameters.reshape((UNITS, UNITS))
        y = np.tanh(matrix @ state)
        return (1 - y**2).reshape((UNITS, 1)) * matrix

    system = systems.DiscreteDynamicalSystem(
        mapping=mapping,
        jacobian=jacobian,
        system_dimension=UNITS,
        number_of_parameters=UNITS**2,
    )
    times = [ALIGNMENT, ALIGNMENT + STEPS]
    before, total = system.lyapunov(
        start,
        TRANSIENT + ALIGNMENT + STEPS,
        parameters=w.ravel(),
        transient_time=TRANSIENT,
        return_history=True,
        sample_times=times,
    )
    expected = (times[1] * total - times[0] * before) / STEPS
    assert expected[1] > 0.05

    def step(state):
        y = keras.ops.tanh(keras.ops.matmul(state, w.T))
        on_grid = keras.ops.floor(y * GRID + 0.5) / GRID
        return y + keras.ops.stop_gradient(on_grid - y)

    # pynamicalsys moves first and then takes the Jacobian: it is one step ahead.
    warmup = TRANSIENT + ALIGNMENT + 1
    exponents = lyapunov_exponents(
        step, warmup + STEPS, initial_state=start[None], warmup=warmup
    )
    # One orbit, and frames that 1000 steps align to rounding for gaps of 0.06 or more.
    np.testing.assert_allclose(exponents[0], expected, rtol=0, atol=1e-10)
