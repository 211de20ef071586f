"""Systems whose exponents are known, through the same code as every layer."""

import keras
import numpy as np
import pytest
from reference import compiled

from keras_floss import lyapunov_exponents

modes = pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])


def linear_layer(recurrent_kernel):
    layer = keras.layers.SimpleRNN(
        len(recurrent_kernel), activation="linear", dtype="float64"
    )
    layer.build((None, None, 1))
    layer.weights[1].assign(recurrent_kernel)
    return layer


def random_orthogonal(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


@modes
def test_an_orthogonal_linear_cell_has_zero_exponents(xla):
    layer = linear_layer(random_orthogonal(5))
    inputs = np.ones((2, 20, 1))
    exponents = compiled(lambda x: lyapunov_exponents(layer, x), xla)(inputs)
    # Rounding alone: 20 products of orthogonal matrices.
    np.testing.assert_allclose(exponents, 0, atol=1e-12)


def test_a_linear_cell_has_the_logarithms_of_the_moduli_of_its_eigenvalues():
    angle = 0.7
    blocks = np.zeros((5, 5))
    blocks[0, 0], blocks[3, 3], blocks[4, 4] = 1.2, -0.5, 0.3
    rotation = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    blocks[1:3, 1:3] = 0.8 * np.array(rotation)
    basis = np.random.default_rng(3).standard_normal((5, 5))
    kernel = basis @ blocks @ np.linalg.inv(basis)  # not normal
    steps, warmup = 500, 100
    layer = linear_layer(kernel)
    exponents = lyapunov_exponents(layer, np.ones((1, steps + warmup, 1)), warmup=warmup)
    exponents, expected = exponents[0].numpy(), np.log([1.2, 0.8, 0.8, 0.5, 0.3])
    # The frame aligns as (0.8/1.2)^t or faster, to 1e-17 in 100 steps: a real
    # eigenvalue is then met at every step, and so is the plane of a complex pair.
    np.testing.assert_allclose(exponents[[0, 3, 4]], expected[[0, 3, 4]], atol=1e-9)
    assert abs(exponents[1] + exponents[2] - 2 * np.log(0.8)) < 1e-9
    # Within the plane a vector goes round an ellipse: bounded, so divided by the time.
    bound = np.log(np.linalg.cond(basis)) / steps
    np.testing.assert_allclose(exponents[1:3], expected[1:3], atol=bound)


def henon(state):
    x, y = keras.ops.unstack(state, axis=-1)
    return keras.ops.stack([1 - 1.4 * x**2 + y, 0.3 * x], axis=-1)


@modes
def test_the_henon_map(xla):
    start = np.array([[0.1, 0.1]])
    exponents = compiled(
        lambda s: lyapunov_exponents(henon, 20_000, initial_state=s, warmup=100), xla
    )(start)
    # Published: 0.419 and −1.623. A mean over 20,000 chaotic steps has a standard
    # error of about 0.003.
    np.testing.assert_allclose(exponents[0], [0.419, -1.623], atol=0.01)
    # The determinant is −0.3 everywhere, which needs no average.
    assert abs(np.sum(exponents) - np.log(0.3)) < 1e-9


def test_the_logistic_map():
    start = np.array([[0.3]])
    exponents = lyapunov_exponents(lambda x: 4 * x * (1 - x), 5000, initial_state=start)
    # log 2 exactly; the deviation of the mean falls as 1/time, for the map is a tent
    # map in other coordinates.
    assert abs(float(exponents[0, 0]) - np.log(2)) < 0.01


def lorenz(state):
    """One Runge-Kutta step of 0.01 of Lorenz 63."""

    def flow(s):
        x, y, z = keras.ops.unstack(s, axis=-1)
        slopes = [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]
        return keras.ops.stack(slopes, axis=-1)

    h = 0.01
    k1 = flow(state)
    k2 = flow(state + h / 2 * k1)
    k3 = flow(state + h / 2 * k2)
    k4 = flow(state + h * k3)
    return state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def test_the_lorenz_system():
    steps, warmup = 20_000, 1000
    start = np.array([[1.0, 1.0, 20.0]])
    exponents = compiled(
        lambda s: lyapunov_exponents(
            lorenz, steps, initial_state=s, warmup=warmup, qr_interval=5
        ),
        True,
    )(start)
    # Per unit of time: 0.906, 0, −14.57. 190 units of time leave an error of about
    # 0.03 in the first. The sum is the divergence, −(10 + 1 + 8/3), but for what
    # Runge-Kutta of this step leaves: (10 · 0.01)⁴.
    per_unit = exponents[0].numpy() / 0.01
    np.testing.assert_allclose(per_unit, [0.906, 0.0, -14.57], atol=0.1)
    assert abs(np.sum(per_unit) + 41 / 3) < 1e-3
