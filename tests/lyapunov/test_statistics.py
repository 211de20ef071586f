"""Statistics of exponents: their errors, running values, dimension and condition."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW, cells
from reference import (
    FEATURES,
    jacobians,
    make_inputs,
    make_layer,
    numpy_exponents,
    pretend_gpu,
)

from keras_floss import lyapunov_exponents, lyapunov_statistics
from keras_floss.flow.frame import initial_frame
from keras_floss.lyapunov.statistics import kaplan_yorke

INF, NAN = np.inf, np.nan

# Exponents


@pytest.mark.parametrize(
    ("kind", "layer_options", "options"),
    [
        pytest.param("stacked", {}, {}, marks=SLOW),
        ("GRU", {}, {"k": 3, "warmup": 2, "qr_interval": 3, "seed": 4}),
        ("LSTM", {"go_backwards": True}, {"warmup": 1, "qr_interval": 2}),
    ],
)
def test_exponents_are_those_of_lyapunov_exponents(kind, layer_options, options):
    layer, inputs = make_layer(kind, **layer_options), make_inputs(3, 11)
    mask = np.ones((3, 11), bool)
    mask[1, :3] = mask[2, 4:6] = False
    if kind != "stacked":
        options["mask"] = mask
    statistics = lyapunov_statistics(layer, inputs, **options)
    # The same operations but for the order of a sum.
    expected = lyapunov_exponents(layer, inputs, **options)
    np.testing.assert_allclose(statistics.exponents, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(statistics.running[:, -1], statistics.exponents)


def test_everything_has_its_shape_and_is_numpy():
    layer, inputs = make_layer("GRU"), make_inputs(2, 12)
    shapes = {
        "exponents": (2, 3),
        "standard_error": (2, 3),
        "running": (2, 12, 3),
        "dimension": (2,),
        "entropy_rate": (2,),
        "condition": (2,),
        "degrees_of_freedom": (2, 3),
        "lost": (2, 3),
    }
    statistics = lyapunov_statistics(layer, inputs, 3)._asdict()
    assert statistics.keys() == shapes.keys()
    for name, value in statistics.items():
        assert type(value) is np.ndarray
        assert value.shape == shapes[name]


def test_initial_states_are_used():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(1, 6)
    state = np.full((1, 5), 0.7)
    statistics = lyapunov_statistics(layer, inputs, initial_state=state)
    expected = numpy_exponents(layer.cell, inputs, [state])
    np.testing.assert_allclose(statistics.exponents, expected, atol=1e-9)


# Running exponents


def test_running_is_what_a_shorter_sequence_would_give():
    layer, inputs, warmup = make_layer("GRU"), make_inputs(2, 9), 2
    running = lyapunov_statistics(layer, inputs, warmup=warmup).running
    assert np.isnan(running[:, :warmup]).all()
    for t in range(warmup + 1, 10):
        expected = numpy_exponents(layer.cell, inputs[:, :t], warmup=warmup)
        # Two QRs by different routes: 1e-15 times a condition of 1e4.
        np.testing.assert_allclose(running[:, t - 1], expected, atol=1e-9)


def test_running_moves_at_a_qr_and_not_between_two():
    layer, inputs, options = make_layer("GRU"), make_inputs(1, 11), {"qr_interval": 3}
    running = lyapunov_statistics(layer, inputs, warmup=1, **options).running[0]
    assert np.isnan(running[:3]).all()
    for t in (4, 7, 10, 11):  # the last block is a short one
        expected = numpy_exponents(layer.cell, inputs[:, :t], warmup=1, **options)
        np.testing.assert_allclose(running[t - 1], expected[0], atol=1e-9)
    for t in (4, 7):
        np.testing.assert_array_equal(running[t : t + 2], running[[t - 1, t - 1]])


def test_running_stands_still_where_a_step_is_masked():
    layer, inputs = make_layer("GRU"), make_inputs(1, 9)
    mask = np.ones((1, 9), bool)
    mask[0, [0, 4, 8]] = False
    running = lyapunov_statistics(layer, inputs, mask=mask).running[0]
    assert np.isnan(running[0]).all()
    np.testing.assert_array_equal(running[[4, 8]], running[[3, 7]])
    valid = lyapunov_statistics(layer, inputs[mask][None]).running[0]
    np.testing.assert_allclose(running[mask[0]], valid, atol=1e-12)


def test_running_is_in_the_order_in_which_the_layer_runs():
    layer, inputs = make_layer("GRU", go_backwards=True), make_inputs(1, 8)
    running = lyapunov_statistics(layer, inputs).running
    expected = numpy_exponents(layer.cell, inputs[:, :-4:-1])
    np.testing.assert_allclose(running[:, 2], expected, atol=1e-9)


# Standard errors


def test_the_standard_error_is_the_spread_of_independent_sequences():
    layer = make_layer("SimpleRNN")
    sequences, blocks = 64, 10
    inputs = make_inputs(sequences, 400)
    exponents, error, *_ = lyapunov_statistics(layer, inputs, k=3, warmup=20, blocks=blocks)
    spread = exponents.std(axis=0, ddof=1)
    # A spread of 64 is known to 1/√(2·63) = 9 %, the mean of 64 variances of 10 blocks to
    # 1/√(2·64·9) = 3 %: 1.4 is four of these. Blocks of 38 steps are long for this layer.
    ratio = np.sqrt(np.mean(error**2, axis=0)) / spread
    assert (ratio > 1 / 1.4).all()
    assert (ratio < 1.4).all()
    # And all of them are right about what they all estimate.
    mean = exponents.mean(axis=0)
    assert np.mean(np.abs(exponents - mean) < 3 * error) > 0.95


def test_the_standard_error_is_that_of_the_means_over_blocks():
    layer, inputs, blocks, length = make_layer("GRU"), make_inputs(2, 14), 3, 4
    statistics = lyapunov_statistics(layer, inputs, warmup=2, blocks=blocks)
    ends = length * np.arange(1, blocks + 1)
    total = ends[:, None] * statistics.running[:, ends + 2 - 1]
    means = np.diff(total, axis=1, prepend=0) / length
    expected = means.std(axis=1, ddof=1) / np.sqrt(blocks)
    np.testing.assert_allclose(statistics.standard_error, expected, rtol=1e-9)


def test_a_constant_stretch_has_no_error_though_blocks_are_of_different_lengths():
    # 11 steps in QRs of 3, 3, 3 and 2 steps.
    statistics = lyapunov_statistics(
        lambda s: 0.5 * s, 11, initial_state=np.ones((1, 2)), qr_interval=3, blocks=4
    )
    np.testing.assert_allclose(statistics.exponents, np.log(0.5), atol=1e-14)
    np.testing.assert_allclose(statistics.standard_error, 0, atol=1e-14)


def logistic(state):
    return 4 * state * (1 - state)


def driven_network():
    """A tanh network of gain 1.5 whose exponents a strong input makes negative."""
    rng = np.random.default_rng(0)
    layer = keras.layers.SimpleRNN(16, dtype="float64")
    layer.build((None, None, FEATURES))
    kernel, recurrent = rng.standard_normal((FEATURES, 16)), rng.standard_normal((16, 16))
    layer.set_weights([kernel, 0.375 * recurrent, np.zeros(16)])
    return layer


@pytest.mark.parametrize(
    "system", cells(["henon", "logistic", "network"], always=["logistic"])
)
def test_intervals_hold_the_exponents_as_often_as_they_say(system):
    runs, steps, warmup = 500, 5000, 200
    options = {"warmup": warmup}
    start = np.random.default_rng(0).uniform(0.1, 0.2, (runs, 2))
    if system == "network":
        rnn, inputs = driven_network(), make_inputs(runs, warmup + steps)
        options["k"] = 2
    else:
        rnn, inputs = {"henon": henon, "logistic": logistic}[system], warmup + steps
        options["initial_state"] = start if system == "henon" else 3 * start[:, :1]
    statistics = lyapunov_statistics(rnn, inputs, **options)
    truth = np.log(2) if system == "logistic" else statistics.exponents.mean(axis=0)
    np.testing.assert_array_equal(statistics.degrees_of_freedom, 9)
    student = 2.262  # 95 % at nine degrees of freedom
    inside = np.abs(statistics.exponents - truth) < student * statistics.standard_error
    # 500 shares of 0.95 are known to 0.01.
    assert (inside.mean(axis=0) >= 0.90).all()
    # The stretches of the logistic map telescope, and the intervals are too wide.
    assert system == "logistic" or (inside.mean(axis=0) <= 0.98).all()


def remembering(rho, runs, steps):
    """Statistics of runs whose stretches are x' = ρ x + noise, and the warnings."""
    rng = np.random.default_rng(0)
    x = np.zeros((runs, steps, 1))
    for t in range(1, steps):
        x[:, t] = rho * x[:, t - 1] + rng.standard_normal((runs, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        statistics = lyapunov_statistics(
            # At the state 0 nothing grows.
            lambda state, x: tf.exp(x) * state,
            x,
            initial_state=np.zeros((runs, 1)),
        )
    return statistics, [str(w.message) for w in caught if w.category is UserWarning]


def test_a_run_too_short_for_its_memory_is_warned_of_once():
    statistics, messages = remembering(0.99, 20, 300)
    assert len(messages) == 1
    assert messages[0].startswith("20 of 20 standard errors may be too small")
    assert "make it longer" in messages[0]
    # Each sequence has as many blocks as it has room for.
    assert (statistics.degrees_of_freedom < 9).all()


def test_a_run_without_memory_is_not_warned_of():
    statistics, messages = remembering(0.0, 20, 300)
    assert not messages
    np.testing.assert_array_equal(statistics.degrees_of_freedom, 9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_linear_layer_is_never_too_short_once_its_frame_has_aligned(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        statistics = lyapunov_statistics(
            wide_spectrum(dtype), np.ones((1, 50, FEATURES)), warmup=30
        )
    np.testing.assert_allclose(statistics.standard_error, 0, atol=1e-6)
    np.testing.assert_array_equal(statistics.degrees_of_freedom, 9)


def test_fewer_qrs_than_blocks_say_nothing():
    layer, inputs = make_layer("GRU"), make_inputs(3, 12)
    mask = np.arange(12) < [[12], [9], [8]]
    error = lyapunov_statistics(layer, inputs, mask=mask, warmup=4, blocks=5).standard_error
    assert (error[:2] > 0).all()  # 8 and 5 counted steps
    assert np.isnan(error[2]).all()


# Dimension and entropy


@pytest.mark.parametrize(
    ("exponents", "dim", "expected"),
    [
        ([0.5, -1.0], 2, 1.5),
        ([0.2, -0.1, -0.4], 3, 2.25),  # 2 + (0.2 − 0.1) / 0.4
        ([0.5, 0.0, -2.0], 3, 2.25),
        ([-1.0, 0.5], 2, 1.5),  # not in order
        ([-0.4, 0.2, -0.1], 3, 2.25),
        ([1.0, -1.0, -2.0], 3, 2.0),  # a sum of exactly 0 is not negative
        ([0.0, -1.0], 2, 1.0),
        ([-1.0, -2.0], 2, 0.0),
        ([-1.0], 1, 0.0),
        ([0.5, -1.0], 7, 1.5),  # k < D is enough
        ([0.5, -0.1], 3, NAN),  # k < D is not enough
        ([0.5, -0.5], 3, NAN),
        ([0.5, -0.1], 2, 2.0),  # fills the space
        ([0.5, -0.5], 2, 2.0),
        ([0.3], 1, 1.0),
        ([0.5, -INF], 2, 1.0),
        ([0.5, -0.2, -INF, -INF], 4, 2.0),
        ([0.5, -1.0, -INF], 3, 1.5),
        ([-INF, -INF], 2, 0.0),
        ([NAN, NAN], 2, NAN),
    ],
)
def test_the_kaplan_yorke_dimension(exponents, dim, expected):
    np.testing.assert_allclose(kaplan_yorke(np.array(exponents), dim), expected, rtol=1e-12)


def henon(state):
    x, y = tf.unstack(state, axis=-1)
    return tf.stack([1 - 1.4 * x**2 + y, 0.3 * x], axis=-1)


def test_dimension_and_entropy_rate_of_the_henon_map():
    start = np.array([[0.1, 0.1], [0.2, -0.1]])
    statistics = lyapunov_statistics(henon, 5000, initial_state=start, warmup=100)
    # Published: 1.258, of exponents 0.419 and −1.623 that are known to 0.01 here.
    np.testing.assert_allclose(statistics.dimension, 1.258, atol=0.01)
    np.testing.assert_allclose(statistics.entropy_rate, 0.419, atol=0.01)
    # λ₁ + λ₂ is log 0.3 at every step: the errors of both are the same.
    error = statistics.standard_error
    np.testing.assert_allclose(error[:, 0], error[:, 1], rtol=1e-6)


def diagonal(*values):
    """The map of a diagonal matrix, whose exponents are log|values|."""
    return lambda state: state * tf.constant(values, state.dtype)


def test_the_entropy_rate_is_the_sum_of_what_is_positive():
    options = {"initial_state": np.ones((1, 4)), "warmup": 80}
    statistics = lyapunov_statistics(diagonal(2.0, 1.5, 0.5, 0.1), 100, **options)
    # Aligned to (1.5/2)^80 = 1e-10.
    np.testing.assert_allclose(statistics.entropy_rate, np.log(3), atol=1e-9)
    # 3 + log(2 · 1.5 · 0.5) / log 10
    np.testing.assert_allclose(statistics.dimension, 3 + np.log10(1.5), atol=1e-9)
    none = lyapunov_statistics(diagonal(0.9, 0.8, 0.5, 0.1), 100, **options)
    np.testing.assert_array_equal([none.entropy_rate, none.dimension], 0)


# Condition


@pytest.mark.parametrize(("warmup", "qr_interval"), [(0, 1), (3, 3)])
def test_the_condition_equals_the_definition(warmup, qr_interval):
    layer, inputs, k = make_layer("LSTM"), make_inputs(2, 11), 5
    statistics = lyapunov_statistics(
        layer, inputs, k, warmup=warmup, qr_interval=qr_interval
    )
    for sequence, condition in zip(inputs, statistics.condition, strict=True):
        frame, ratios = initial_frame(k, 8).T, []
        for t, jacobian in enumerate(jacobians(layer.cell, sequence, np.zeros(8)), start=1):
            frame = jacobian @ frame
            if (t - warmup) % qr_interval == 0 or t == len(sequence):
                frame, r = np.linalg.qr(frame)
                size = np.abs(np.diag(r))
                if t > warmup:
                    ratios.append(size.max() / size.min())
        # The smallest of R is right to 1e-15 times this ratio itself, up to 1e3.
        np.testing.assert_allclose(condition, max(ratios), rtol=1e-10)


def wide_spectrum(dtype, small=0.3):
    """A linear layer of eigenvalues 1 and `small`."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((2, 2)))[0]
    layer = keras.layers.SimpleRNN(2, activation="linear", dtype=dtype)
    layer.build((None, None, FEATURES))
    layer.weights[1].assign(basis @ np.diag([1.0, small]) @ basis.T)
    return layer


def trailing(dtype, qr_interval):
    """The second exponent, and what is warned of the precision on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        statistics = lyapunov_statistics(
            wide_spectrum(dtype), np.ones((1, 100, FEATURES)), qr_interval=qr_interval
        )
    messages = [str(w.message) for w in caught if w.category is UserWarning]
    # Nine noisy QRs are too few for a standard error, too.
    messages = [m for m in messages if "parallel" in m]
    return statistics.exponents[0, 1], messages


def test_the_warning_comes_in_float32_and_what_it_says_is_true():
    # 0.3^12 = 5e-7 between two QRs: rounding is a tenth of the smaller R_ii.
    exponent, messages = trailing("float32", 12)
    assert len(messages) == 1
    for words in ("condition 2e+06", "float32", "trailing", "`qr_interval`"):
        assert words in messages[0]
    wide, none = trailing("float64", 12)
    assert not none
    exact, none = trailing("float64", 1)
    assert not none
    assert abs(wide - exact) < 1e-9
    assert abs(exponent - exact) > 1e-5
    # A QR at every step is the cure that the warning names.
    cured, none = trailing("float32", 1)
    assert not none
    assert abs(cured - exact) < 1e-6


def test_products_of_rounded_factors_bear_less(monkeypatch):
    _, none = trailing("float32", 4)
    assert not none
    pretend_gpu(monkeypatch, compute_capability=(8, 0))
    _, messages = trailing("float32", 4)
    assert len(messages) == 1
    _, none = trailing("float64", 4)
    assert not none


def test_a_direction_that_only_rounding_lost_is_warned_of():
    # 0.3^20 = 3e-11 is past float32, but no collapse: float64 knows the exponent.
    exact, none = trailing("float64", 20)
    assert np.isfinite(exact)
    assert not none
    exponent, messages = trailing("float32", 20)
    assert abs(exponent - exact) > 1e-2
    assert len(messages) == 1


# Collapsed directions, and sequences without a counted step


def half_dead_layer():
    """Of four ReLU units two are always on and two are always off."""
    layer = keras.layers.SimpleRNN(4, activation="relu", dtype="float64")
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(0)
    kernel, recurrent = 0.1 * rng.random((FEATURES, 4)), 0.6 * rng.random((4, 4))
    layer.set_weights([kernel, recurrent, np.array([40.0, 40.0, -1e3, -1e3])])
    return layer


def test_a_collapsed_direction_is_minus_infinity_and_no_nan():
    layer, inputs = half_dead_layer(), make_inputs(2, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        all_four = lyapunov_statistics(layer, inputs)
        two = lyapunov_statistics(layer, inputs, k=2)
    np.testing.assert_array_equal(all_four.exponents[:, 2:], -INF)
    np.testing.assert_array_equal(all_four.running[..., 2:], -INF)
    assert np.isnan(all_four.standard_error[:, 2:]).all()
    assert np.isfinite(two.running).all()
    for name in ("exponents", "standard_error", "running"):
        alive = getattr(all_four, name)[..., :2]
        np.testing.assert_allclose(alive, getattr(two, name), atol=1e-12)
    np.testing.assert_allclose(all_four.condition, two.condition, rtol=1e-9)
    expected = [kaplan_yorke(np.array([*e, -INF, -INF]), 4) for e in two.exponents]
    np.testing.assert_allclose(all_four.dimension, expected, rtol=1e-12)
    np.testing.assert_allclose(all_four.entropy_rate, two.entropy_rate, atol=1e-12)


def test_a_direction_that_is_lost_on_the_way_was_there_before():
    def step(state, x):
        """Stretches 2 and 1, and 0 of the second where x is 1."""
        return tf.stack([2.0 * state[:, 0], (1.0 - x[:, 0]) * state[:, 1]], axis=-1)

    inputs = np.zeros((2, 12, 1))
    inputs[0, 7] = 1.0
    statistics = lyapunov_statistics(step, inputs, initial_state=np.ones((2, 2)))
    assert np.isfinite(statistics.running[0, :7]).all()
    np.testing.assert_array_equal(statistics.running[0, 7:, 1], -INF)
    assert np.isnan(statistics.standard_error[0, 1])
    # Nothing of it in the other direction, nor in the other sequence.
    assert np.isfinite(statistics.standard_error[[0, 1, 1], [0, 0, 1]]).all()
    assert np.isfinite(statistics.running[1]).all()
    assert np.isfinite(statistics.condition).all()


def test_how_often_a_direction_was_lost_is_told():
    def step(state, x):
        return tf.stack([2.0 * state[:, 0], (1.0 - x[:, 0]) * state[:, 1]], axis=-1)

    inputs = np.zeros((2, 12, 1))
    inputs[0, [3, 7, 8]] = 1.0
    mask = np.ones((2, 12), bool)
    mask[0, 8] = False
    options = {"initial_state": np.ones((2, 2)), "mask": mask}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so short a run
        statistics = lyapunov_statistics(step, inputs, **options)
        late = lyapunov_statistics(step, inputs, warmup=4, **options)
    np.testing.assert_array_equal(statistics.lost, [[0, 2], [0, 0]])
    np.testing.assert_array_equal(late.lost, [[0, 1], [0, 0]])
    np.testing.assert_array_equal(np.isneginf(statistics.exponents[:, 1]), [True, False])


def test_a_sequence_in_which_everything_is_lost():
    statistics = lyapunov_statistics(
        lambda s: tf.zeros_like(s) * s, 12, initial_state=np.ones((1, 2))
    )
    np.testing.assert_array_equal(statistics.exponents, -INF)
    np.testing.assert_array_equal([statistics.dimension, statistics.entropy_rate], 0)
    assert np.isfinite(statistics.condition).all()


def test_a_sequence_without_a_counted_step_is_nan_throughout():
    layer, inputs = make_layer("GRU"), make_inputs(2, 12)
    mask = np.arange(12) < [[12], [2]]
    statistics = lyapunov_statistics(layer, inputs, 2, mask=mask, warmup=2)
    for value in statistics:
        assert np.isnan(value[1]).all()
    for value in statistics[:2]:
        assert np.isfinite(value[0]).all()


# Errors


@pytest.mark.parametrize("blocks", [0, 1, -3, 2.5, True, "10"])
def test_blocks_out_of_range(blocks):
    with pytest.raises(ValueError, match="`blocks` must be an integer of at least") as e:
        lyapunov_statistics(make_layer("GRU"), make_inputs(1, 12), blocks=blocks)
    assert str(e.value).endswith(f"Received: {blocks!r}")


def test_the_error_says_how_many_blocks_are_wanted():
    with pytest.raises(ValueError, match="at least 2"):
        lyapunov_statistics(make_layer("GRU"), make_inputs(1, 12), blocks=0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"k": 0}, "`k`"),
        ({"k": 6}, "`k`"),
        ({"k": 2.0}, "`k`"),
        ({"warmup": 12}, "`warmup`"),
        ({"qr_interval": 13}, "`qr_interval`"),
    ],
)
def test_settings_out_of_range(options, name):
    with pytest.raises(ValueError, match=name) as error:
        lyapunov_statistics(make_layer("GRU"), make_inputs(1, 12), **options)
    assert str(error.value).endswith(f"Received: {next(iter(options.values()))!r}")


def test_inside_a_graph():
    layer = make_layer("GRU")
    function = tf.function(lambda x: lyapunov_statistics(layer, x), autograph=False)
    with pytest.raises(ValueError, match="`lyapunov_statistics`.*eagerly"):
        function(make_inputs(1, 12))
