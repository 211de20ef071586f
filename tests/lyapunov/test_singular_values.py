"""Singular values and condition number of the long-term Jacobian."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import (
    DIMS,
    FEATURES,
    KINDS,
    compiled,
    jacobians,
    make_inputs,
    make_layer,
    make_states,
)

from keras_floss import lyapunov_exponents
from keras_floss.lyapunov import product as product_module
from keras_floss.lyapunov.jacobian import step_jacobians
from keras_floss.lyapunov.singular_values import (
    condition_number,
    jacobian_singular_values,
)
from keras_floss.recurrent.trajectory import as_trajectory

INF, NAN = np.inf, np.nan
SLOW = pytest.mark.slow


def product(matrices):
    """J_t … J_1 in float64, which is good for a few steps."""
    total = np.eye(matrices.shape[-1])
    for matrix in matrices:
        total = matrix @ total
    return total


def along(layer, inputs):
    """The step Jacobians, `(batch, time, D, D)`."""
    return compiled(lambda: step_jacobians(as_trajectory(layer, inputs)), False)().numpy()


def log_svd(matrix):
    return np.log(np.linalg.svd(matrix, compute_uv=False))


def svd_of_the_product(layer, inputs, states=None):
    """The definition, for one sequence and a few steps."""
    state = np.zeros(np.sum(keras.tree.flatten(layer.cell.state_size)))
    state = state if states is None else np.hstack(states)[0]
    return log_svd(product(np.array(jacobians(layer.cell, inputs, state))))


# Against NumPy, over a few steps


@pytest.mark.parametrize("kind", KINDS)
def test_few_steps_against_the_product_itself(kind):
    layer, inputs = make_layer(kind), make_inputs(2, 3)
    states = make_states(layer, 2)
    actual = jacobian_singular_values(layer, inputs, initial_state=states)
    assert type(actual) is np.ndarray
    assert actual.dtype == "float64"
    assert actual.shape == (2, DIMS[kind])
    for one in range(2):
        mine = [s[one][None] for s in states]
        expected = svd_of_the_product(layer, inputs[one], mine)
        # The product knows its singular values to 1e-16 of the largest.
        rtol = 1e-14 * np.exp(expected[0] - expected)
        assert rtol.max() < 1e-4
        assert (np.abs(actual[one] - expected) < rtol).all()


def test_one_step_of_one_variable():
    actual = jacobian_singular_values(lambda s: -0.5 * s, 1, initial_state=[[1.0]])
    np.testing.assert_allclose(actual, [[np.log(0.5)]], rtol=1e-6)


# Against arithmetic of many digits


@pytest.fixture
def mp():
    """mpmath, whose precision is put back."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workprec(256):
        yield mpmath


def many_digits(mp, matrices):
    """`log σ` of the product, in digits enough for what the condition could be."""
    # 256 bits hold a condition number of 1e77.
    conditions = np.log2([np.linalg.cond(matrix) for matrix in matrices])
    mp.mp.prec = max(256, int(conditions.sum()) + 64)
    total = mp.eye(matrices.shape[-1])
    for matrix in matrices:
        total = mp.matrix(matrix.tolist()) * total
    values = mp.svd_r(total, compute_uv=False)
    return np.array([float(mp.log(value)) for value in values])


def rnn_of_gain(gain, units, seed=0):
    """A tanh network whose recurrent weights have the variance gain² / units."""
    layer = keras.layers.SimpleRNN(units, dtype="float64")
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(seed)
    recurrent = gain / np.sqrt(units) * rng.standard_normal((units, units))
    layer.set_weights([rng.standard_normal((FEATURES, units)), recurrent, np.zeros(units)])
    return layer


def check_many_digits(mp, layer, inputs, horizon, least=0.0):
    """Returns the logarithm of the condition number."""
    matrices = along(layer, inputs[:, :horizon])[0]
    expected = many_digits(mp, matrices)
    actual = jacobian_singular_values(layer, inputs, horizon)[0]
    # Asked for: σ to 1e-6 of itself. The logarithms, of up to 1e3, are right to 1e-11.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)
    assert expected[0] - expected[-1] > least
    return actual


LOG_1E100 = 100 * np.log(10)


@pytest.mark.parametrize(
    ("gain", "units"),
    [(1.0, 8), *(pytest.param(gain, 6, marks=SLOW) for gain in (0.5, 2.0))],
)
def test_rnns_over_50_and_500_steps(mp, gain, units):
    layer, inputs = rnn_of_gain(gain, units), make_inputs(1, 500)
    check_many_digits(mp, layer, inputs, 50, least=20)
    check_many_digits(mp, layer, inputs, 500, least=LOG_1E100)


@pytest.mark.parametrize("kind", [pytest.param("GRU", marks=SLOW), "LSTM"])
def test_gated_cells_over_500_steps(mp, kind):
    check_many_digits(mp, make_layer(kind), make_inputs(1, 500), 500, least=LOG_1E100)


def test_saturated_units(mp):
    layer, inputs = rnn_of_gain(8.0, 6), make_inputs(1, 100)
    # log σ_6 is wrong by 2.5 here after QRs that take the rows as they come.
    assert max(map(np.linalg.cond, along(layer, inputs)[0])) > 1e15
    check_many_digits(mp, layer, inputs, 100, least=LOG_1E100)


def test_a_linear_cell_that_is_not_normal(mp):
    """W^t of a Jordan block: every eigenvalue is 0.9, the singular values are far apart."""
    layer = keras.layers.SimpleRNN(4, activation="linear", dtype="float64")
    layer.build((None, None, FEATURES))
    layer.weights[1].assign(0.9 * np.eye(4) + np.eye(4, k=1))
    check_many_digits(mp, layer, make_inputs(1, 500), 500, least=20)


# Singular values that are equal or nearly so


def orthogonal(dim, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]


def constant(matrix):
    """The map of a matrix."""
    return lambda state: state @ tf.constant(matrix.T, state.dtype)


def test_an_orthogonal_cell_has_none_but_1():
    layer = keras.layers.SimpleRNN(7, activation="linear", dtype="float64")
    layer.build((None, None, FEATURES))
    layer.weights[1].assign(orthogonal(7))
    values = jacobian_singular_values(layer, make_inputs(2, 500), [1, 500])
    np.testing.assert_allclose(values, 0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.999, 0.9999, 1 - 1e-9])
def test_a_cluster(ratio):
    """M^t of a symmetric matrix has the singular values |eigenvalue|^t."""
    eigenvalues = np.array([1.0, ratio, -ratio, ratio**2, ratio**2, 0.1])
    basis = orthogonal(6)
    horizons = [1, 2, 10, 200]
    values = jacobian_singular_values(
        constant(basis * eigenvalues @ basis.T),
        max(horizons),
        horizons,
        initial_state=np.ones((1, 6)),
    )
    expected = np.outer(horizons, np.log(np.abs(eigenvalues)))
    # 0.1 is known to 1e-16 / 0.1 at each of 200 steps.
    np.testing.assert_allclose(values[0], expected, rtol=0, atol=2e-13 * 10)


def test_a_cluster_of_matrices_that_change():
    """A product of U_t D U_{t-1}ᵀ has the singular values of D^t."""
    bases = np.array([orthogonal(5, seed) for seed in range(201)])
    stretch = np.array([1.0, 0.9995, 0.999, 0.999, 0.9])
    matrices = bases[1:] * stretch @ bases[:-1].transpose(0, 2, 1)

    def step(state, x):
        return tf.linalg.matvec(tf.reshape(x, (-1, 5, 5)), state)

    values = jacobian_singular_values(
        step, matrices.reshape(1, 200, 25), initial_state=np.ones((1, 5))
    )
    np.testing.assert_allclose(values[0], 200 * np.log(stretch), rtol=0, atol=1e-12)


# What must hold for any layer


@pytest.mark.parametrize("kind", ["LSTM", pytest.param("stacked", marks=SLOW)])
def test_their_product_is_the_determinant(kind):
    layer, inputs = make_layer(kind), make_inputs(2, 200)
    values = jacobian_singular_values(layer, inputs)
    matrices = along(layer, inputs)
    expected = np.linalg.slogdet(matrices)[1].sum(axis=1)
    # 200 steps of up to 1e-15 times a condition of 1e4.
    np.testing.assert_allclose(values.sum(axis=1), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "kind", ["SimpleRNN", *(pytest.param(kind, marks=SLOW) for kind in ("GRU", "LSTM"))]
)
def test_their_growth_tends_to_the_lyapunov_exponents(kind):
    layer, inputs = make_layer(kind), make_inputs(1, 1000)
    horizons = np.array([100, 1000])
    growth = jacobian_singular_values(layer, inputs, horizons)[0] / horizons[:, None]
    for t, one in zip(horizons, growth, strict=True):
        exponents = lyapunov_exponents(layer, inputs[:, :t])[0]
        # What the frame was off at first is forgotten, and t divides it: here up to 2.6.
        np.testing.assert_allclose(one, exponents, rtol=0, atol=4 / t)


def test_the_largest_k_are_the_first_of_all():
    layer, inputs = make_layer("GRU"), make_inputs(2, 30)
    every = jacobian_singular_values(layer, inputs, [10, 30])
    assert (np.diff(every, axis=-1) <= 0).all()
    for k in (1, 3, 5):
        some = jacobian_singular_values(layer, inputs, [10, 30], k)
        np.testing.assert_array_equal(some, every[..., :k])


def test_nothing_overflows_or_underflows():
    stretch = np.array([1e150, 1.0, 1e-150])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = jacobian_singular_values(
            lambda s: s * stretch, 100, initial_state=np.zeros((1, 3))
        )
    # A single step has a condition number of 1e300, and loses no rank by that: the
    # rows are of different sizes, no more.
    np.testing.assert_allclose(values[0], 100 * np.log(stretch), rtol=0, atol=1e-9)


def test_what_was_small_at_first_may_be_large_in_the_end():
    def step(state, x):
        """Stretches (2, 1) where x is 0, and (1, 4) where it is 1."""
        return state * tf.concat([2.0 - x, 1.0 + 3.0 * x], axis=-1)

    inputs = np.zeros((1, 2000, 1))
    inputs[:, 1200:] = 1.0
    values = jacobian_singular_values(
        step, inputs, [1200, 1600, 1800, 2000], initial_state=np.zeros((1, 2))
    )
    powers = [[1200, 0], [1200, 800], [1200, 1200], [1600, 1200]]
    np.testing.assert_allclose(values[0], np.log(2) * np.array(powers), atol=1e-10)


def test_float32_is_as_near_as_it_can_be():
    wide, inputs = rnn_of_gain(1.0, 6), make_inputs(1, 100)
    narrow = keras.layers.SimpleRNN(6)
    narrow.build((None, None, FEATURES))
    narrow.set_weights(wide.get_weights())
    actual = jacobian_singular_values(narrow, inputs)
    assert actual.dtype == "float64"
    # 100 steps of 1e-7 times a condition of 1e2.
    expected = jacobian_singular_values(wide, inputs)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-3)


# Horizon, warm-up, masks


def test_a_horizon_is_a_shorter_sequence():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(2, 20)
    horizons = [7, 20, 1, 7]
    several = jacobian_singular_values(layer, inputs, horizons)
    assert several.shape == (2, 4, 5)
    for h, values in zip(horizons, np.swapaxes(several, 0, 1), strict=True):
        one = jacobian_singular_values(layer, inputs, h)
        np.testing.assert_allclose(values, one, rtol=0, atol=1e-12)
        shorter = jacobian_singular_values(layer, inputs[:, :h])
        np.testing.assert_allclose(values, shorter, rtol=0, atol=1e-12)
    for same in (np.array(horizons), tuple(horizons)):
        np.testing.assert_array_equal(
            jacobian_singular_values(layer, inputs, same), several
        )
    alone = jacobian_singular_values(layer, inputs, [7])
    assert alone.shape == (2, 1, 5)


def test_the_warmup_carries_the_state_alone():
    layer, inputs = make_layer("LSTM", return_state=True), make_inputs(2, 12)
    values = jacobian_singular_values(layer, inputs, 4, warmup=5)
    _, *states = layer(inputs[:, :5])
    expected = jacobian_singular_values(layer, inputs[:, 5:9], initial_state=states)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-11)


def test_the_order_is_that_in_which_the_layer_runs():
    layer, inputs = make_layer("GRU", go_backwards=True), make_inputs(1, 12)
    expected = svd_of_the_product(layer, inputs[0, :-4:-1])
    actual = jacobian_singular_values(layer, inputs, 3)[0]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("warmup", [pytest.param(0, marks=SLOW), 2])
def test_masked_steps_are_no_steps(warmup):
    layer, inputs = make_layer("SimpleRNN"), make_inputs(3, 9)
    mask = np.ones((3, 9), bool)
    mask[1, 6:] = False  # padding on the right
    mask[2, [0, 3, 4]] = False  # padding on the left, and a gap
    options = {"warmup": warmup}
    every = jacobian_singular_values(layer, inputs, mask=mask, **options)
    two = jacobian_singular_values(layer, inputs, [1, 4], mask=mask, **options)
    for one in range(3):
        valid = inputs[one, mask[one]][None]
        expected = jacobian_singular_values(layer, valid, **options)
        np.testing.assert_allclose(every[one], expected[0], rtol=0, atol=1e-11)
        expected = jacobian_singular_values(layer, valid, [1, 4], **options)
        np.testing.assert_allclose(two[one], expected[0], rtol=0, atol=1e-11)


def test_a_sequence_that_is_too_short_is_nan_with_a_warning():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(3, 9)
    mask = np.arange(9) < [[9], [5], [2]]
    with pytest.warns(UserWarning, match="after the 2 steps of warm-up than the horizon"):
        values = jacobian_singular_values(layer, inputs, [3, 7], mask=mask, warmup=2)
    np.testing.assert_array_equal(
        np.isnan(values).all(axis=-1), [[False, False], [False, True], [True, True]]
    )
    with pytest.warns(UserWarning, match="NaN"):
        values = jacobian_singular_values(layer, inputs, mask=mask, warmup=2)
    np.testing.assert_array_equal(np.isnan(values[:, 0]), [False, False, True])


def test_what_is_not_finite_is_nan_with_a_warning():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(2, 9)
    inputs[1, 4] = NAN
    with pytest.warns(UserWarning, match="not finite"):
        values = jacobian_singular_values(layer, inputs, [3, 7])
    np.testing.assert_array_equal(np.isnan(values[..., 0]), [[False] * 2, [False, True]])


def test_few_sweeps_are_warned_of(monkeypatch):
    monkeypatch.setattr(product_module, "MOST_SWEEPS", 1)
    with pytest.warns(UserWarning, match="did not converge"):
        jacobian_singular_values(make_layer("LSTM"), make_inputs(1, 4))


# Lost rank


def test_units_that_are_off():
    """Of four ReLU units two are always on and two are always off."""
    inputs = make_inputs(2, 50)
    layer = keras.layers.SimpleRNN(4, activation="relu", dtype="float64")
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(0)
    recurrent = rng.random((4, 4))
    kernel, bias = 0.1 * rng.random((FEATURES, 4)), np.array([40.0, 40.0, -1e3, -1e3])
    layer.set_weights([kernel, 0.4 * recurrent, bias])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = jacobian_singular_values(layer, inputs, [1, 3, 50])
    np.testing.assert_array_equal(values[..., 2:], -INF)
    on = 0.4 * recurrent.T * [[1], [1], [0], [0]]
    for t, actual in zip([1, 3], values[0], strict=False):
        expected = log_svd(np.linalg.matrix_power(on, t)[:2])
        np.testing.assert_allclose(actual[:2], expected, rtol=0, atol=1e-12)
    assert np.isfinite(values[..., :2]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_that_depend_on_each_other(dtype):
    first, second, third = np.random.default_rng(0).standard_normal((3, 4))
    first *= 4  # so that the two come before what they have no part of
    matrix = np.stack([first, first, second, third], axis=1)
    values = jacobian_singular_values(
        constant(matrix), 20, initial_state=np.ones((1, 4), dtype)
    )
    assert np.isfinite(values[0, :3]).all()
    assert values[0, 3] == -INF
    short = jacobian_singular_values(
        constant(matrix), 1, initial_state=np.ones((1, 4), dtype)
    )
    expected = np.log(np.linalg.svd(matrix, compute_uv=False)[:3])
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(short[0, :3], expected, rtol=0, atol=tolerance)


def test_a_direction_that_is_lost_on_the_way():
    def step(state, x):
        """Stretches (3, 2, 1), and 0 of the second where x is 1."""
        return state * tf.concat([3.0 + 0 * x, 2.0 * (1.0 - x), 1.0 + 0 * x], axis=-1)

    inputs = np.zeros((2, 12, 1))
    inputs[0, 7] = 1.0
    values = jacobian_singular_values(step, inputs, [7, 12], initial_state=np.ones((2, 3)))
    stretch = np.log([3, 2, 1])
    np.testing.assert_allclose(values[:, 0], [7 * stretch] * 2, rtol=0, atol=1e-11)
    np.testing.assert_allclose(values[1, 1], 12 * stretch, rtol=0, atol=1e-11)
    np.testing.assert_allclose(values[0, 1], [12 * stretch[0], 0, -INF], atol=1e-11)


def test_everything_lost():
    options = {"initial_state": np.ones((1, 2))}
    values = jacobian_singular_values(lambda s: 0.0 * s, 3, **options)
    np.testing.assert_array_equal(values, -INF)
    for logarithms in condition_number(lambda s: 0.0 * s, 3, **options):
        assert np.isnan(logarithms).all()


# Condition numbers


def test_condition_numbers_equal_their_definition():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(2, 40)
    horizons, options = [5, 10, 30], {"k": 3, "warmup": 8}
    condition = condition_number(layer, inputs, horizons, **options)
    values = jacobian_singular_values(layer, inputs, horizons, **options)
    exponents = np.array(lyapunov_exponents(layer, inputs, **options))
    measured = values[..., :1] - values
    predicted = (exponents[:, :1] - exponents)[:, None] * np.array([[5], [10], [30]])
    np.testing.assert_allclose(condition.log_measured, measured, rtol=0, atol=1e-12)
    np.testing.assert_allclose(condition.log_predicted, predicted, rtol=0, atol=1e-9)
    for logarithms in condition:
        assert type(logarithms) is np.ndarray
        assert logarithms.dtype == "float64"
        assert logarithms.shape == (2, 3, 3)
        np.testing.assert_array_equal(logarithms[..., 0], 0)
    one = condition_number(layer, inputs, 10, **options)
    for logarithms, several in zip(one, condition, strict=True):
        assert logarithms.shape == (2, 3)
        np.testing.assert_allclose(logarithms, several[:, 1], rtol=0, atol=1e-11)


def test_without_a_horizon_every_valid_step_counts():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(2, 20)
    mask = np.arange(20) < [[20], [14]]
    every = condition_number(layer, inputs, mask=mask, warmup=3)
    for one, steps in enumerate([20, 14]):
        alone = condition_number(layer, inputs[one : one + 1, :steps], steps - 3, warmup=3)
        for logarithms, expected in zip(every, alone, strict=True):
            np.testing.assert_allclose(logarithms[one], expected[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["SimpleRNN", pytest.param("LSTM", marks=SLOW)])
def test_the_prediction_holds_over_a_long_horizon(kind):
    layer, inputs = make_layer(kind), make_inputs(1, 1000)
    measured, predicted = condition_number(layer, inputs, 800, warmup=200)
    assert predicted[0, -1] > 1000
    # The exponents are means over the very steps of the product. What the frame was off
    # at first stays, whatever the horizon.
    np.testing.assert_allclose(measured, predicted, rtol=0, atol=6)


def test_a_lost_direction_has_an_infinite_condition():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        condition = condition_number(
            lambda s: s * np.array([1.0, 0.5, 0.0]), 10, initial_state=np.ones((1, 3))
        )
    # The frame of the exponents starts anywhere, which is worth a step or two.
    for logarithms, atol in zip(condition, (1e-12, 2), strict=True):
        expected = [[0, 10 * np.log(2), INF]]
        np.testing.assert_allclose(logarithms, expected, rtol=0, atol=atol)


# Errors

BOTH = pytest.mark.parametrize("function", [jacobian_singular_values, condition_number])


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "`horizon` must be an integer of at least 1. Received: 0"),
        ({"horizon": 2.0}, "`horizon` must be an integer of at least 1. Received: 2.0"),
        ({"horizon": True}, "`horizon` must be an integer of at least 1. Received: True"),
        ({"horizon": [3, -1]}, "`horizon` must be an integer of at least 1. Received: -1"),
        ({"horizon": []}, "`horizon` holds no horizon at all. Received: []"),
        ({"horizon": 13}, "from 1 to 12, the number of time steps"),
        ({"horizon": [3, 13, 5]}, "Received: 13"),
        ({"horizon": 8, "warmup": 5}, "`horizon` must be an integer from 1 to 7"),
        ({"k": 0}, "`k` must be an integer of at least 1. Received: 0"),
        ({"k": 6}, "`k` must be an integer from 1 to 5"),
        ({"k": 2.0}, "`k`"),
        ({"warmup": 12}, "`warmup` must be an integer of at least 0 and less than the 12"),
        ({"warmup": -1}, "`warmup`"),
    ],
)
def test_settings_out_of_range(function, options, message):
    with pytest.raises(ValueError, match="`") as error:
        function(make_layer("SimpleRNN"), make_inputs(1, 12), **options)
    assert message in str(error.value)


@BOTH
def test_inside_a_graph(function):
    layer = make_layer("GRU")
    graph = tf.function(lambda x: function(layer, x), autograph=False)
    with pytest.raises(ValueError, match=f"`{function.__name__}`.*eagerly"):
        graph(make_inputs(1, 12))


@BOTH
def test_what_is_not_recurrent(function):
    with pytest.raises(ValueError, match="`keras.layers.RNN`"):
        function(keras.layers.Dense(3), make_inputs(1, 12))
