"""Standard errors of means over series that remember: how often they are right."""

import numpy as np
import pytest

from keras_floss.lyapunov.standard_error import autocorrelation_time, standard_error

SERIES = 500
# Student's t of 95 %, by degrees of freedom.
STUDENT = [np.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def autoregressive(rho, time, seed=0):
    """`(SERIES, time)`, of mean 0: x' = ρ x + noise."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(SERIES) / np.sqrt(1 - rho**2)
    series = np.empty((SERIES, time))
    for t in range(time):
        series[:, t] = x
        x = rho * x + rng.standard_normal(SERIES)
    return series


def errors(series, steps=None, **options):
    """Errors, degrees of freedom and whether blocks fit: `(3, SERIES)`."""
    steps = 1 + np.arange(series.shape[1]) if steps is None else steps
    return np.array([standard_error(each, steps, **options) for each in series]).T


def coverage(means, error, freedom):
    """How many intervals of 95 % hold the mean, which is 0."""
    return np.mean(np.abs(means) < np.take(STUDENT, freedom.astype(int)) * error)


# 500 shares of 0.95 are known to 0.01.
@pytest.mark.parametrize("rho", [0.0, 0.9, 0.99, -0.9])
def test_intervals_hold_the_mean_as_often_as_they_say(rho):
    series = autoregressive(rho, 5000)
    error, freedom, _ = errors(series)
    assert 0.90 < coverage(series.mean(axis=1), error, freedom) < 0.98
    ratio = np.sqrt(np.mean(error**2)) / series.mean(axis=1).std()
    assert 0.85 < ratio < 1.15


def test_intervals_hold_where_memory_is_longer_than_a_tenth_of_the_run():
    # τ = 199. Ten blocks: 0.76. Ten times fewer autocorrelation times than are asked for.
    series = autoregressive(0.99, 1000)
    error, freedom, fits = errors(series)
    assert coverage(series.mean(axis=1), error, freedom) > 0.87
    assert fits.mean() < 0.02


def test_runs_that_are_too_short_for_their_memory_are_told_from_others():
    for time, rho, short in [
        (300, 0.99, 1),
        (5000, 0.999, 1),
        (300, 0.3, 0),
        (300, -0.9, 0),
    ]:
        fits = errors(autoregressive(rho, time))[2]
        assert abs(np.mean(fits == 0) - short) < 0.02
    # What is shorter than the memory can show is too short.
    assert not errors(autoregressive(0.0, 49))[2].any()


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_autocorrelation_time_is_that_of_an_autoregressive_series(rho):
    # The window leaves out 5 % at ρ = 0.9; 500 series are known to 2 %.
    series = autoregressive(rho, 5000)
    series -= series.mean(axis=1, keepdims=True)
    mean = np.mean([autocorrelation_time(each) for each in series])
    np.testing.assert_allclose(mean, (1 + rho) / (1 - rho), rtol=0.1)


def test_the_autocorrelation_time_of_an_alternating_series_is_below_that_of_noise():
    series = autoregressive(-0.5, 5000)
    series -= series.mean(axis=1, keepdims=True)
    assert max(autocorrelation_time(each) for each in series) < 1


def test_sums_over_stretches_of_different_lengths():
    # Of a series far from 0, where a stretch that is one longer has a sum 50 larger.
    series = autoregressive(0.5, 4000) + 50
    ends = np.unique(
        np.random.default_rng(1).choice(np.arange(1, 4000), 700, replace=False)
    )
    ends = np.append(ends, 4000)
    sums = np.diff(np.cumsum(series, axis=1)[:, ends - 1], axis=1, prepend=0)
    error, freedom, fits = errors(sums, ends)
    assert 0.90 < coverage(series.mean(axis=1) - 50, error, freedom) < 0.98
    # And the blocks are nearly those of the single steps.
    plain = errors(series)[0]
    np.testing.assert_allclose(np.mean(error**2), np.mean(plain**2), rtol=0.15)
    assert fits.all()


def test_a_series_without_variation_has_no_error_and_is_not_too_short():
    steps = np.array([3, 6, 9, 11])
    error, freedom, fits = standard_error(0.7 * np.diff(steps, prepend=0), steps)
    assert error < 1e-15
    assert (freedom, fits) == (3, True)
    # Zeros are no division by zero, and rounding that drifts is no memory.
    assert standard_error(np.zeros(100), 1 + np.arange(100)) == (0, 9, True)
    drift = 0.7 + 1e-10 * np.arange(30)
    assert standard_error(drift, 1 + np.arange(30))[2]
    assert not standard_error(drift, 1 + np.arange(30), constant=1e-12)[2]


def test_a_series_that_settles_keeps_the_error_of_its_transient():
    values = np.where(np.arange(40) < 3, 1.0, 0.0)
    error, _, fits = standard_error(values, 1 + np.arange(40))
    np.testing.assert_allclose(error, values.mean(), rtol=0.01)
    assert fits


def test_too_few_values_and_infinite_ones_say_nothing():
    steps = 1 + np.arange(60)
    values = np.random.default_rng(0).standard_normal(60)
    for few, blocks in ((3, None), (5, 6)):
        error, freedom, _ = standard_error(values[:few], steps[:few], blocks)
        assert np.isnan([error, freedom]).all()
        assert np.isfinite(
            standard_error(values[: few + 1], steps[: few + 1], blocks)
        ).all()
    values[50] = -np.inf
    assert np.isnan(standard_error(values, steps)[:2]).all()


def test_a_number_of_blocks_that_is_asked_for_is_kept():
    series = autoregressive(0.9, 5000)  # τ = 19, and five of it are a fiftieth of the run
    for blocks, fit in ((5, True), (20, True), (200, False)):
        _, freedom, fits = errors(series, blocks=blocks)
        assert (freedom == blocks - 1).all()
        assert np.mean(fits == fit) > 0.98
