"""The relatives of the temporal XOR: of more bits, of numbers, of three streams."""

import itertools

import numpy as np
import pytest

from keras_floss.tasks import (
    continuous_xor,
    delayed_copy,
    hierarchical_xor,
    spatial_xor,
    temporal_xor,
)


def batches(dataset, number=1):
    return [[np.asarray(a) for a in b] for b in itertools.islice(dataset, number)]


def assert_targets(dataset, delay, length, definition):
    """`definition(x, t)` at every step from the delay on, and nothing else scored."""
    for x, y, weight in batches(dataset, 2):
        known = np.arange(length) >= delay
        np.testing.assert_array_equal(weight, np.tile(known, (len(x), 1)))
        expected = [definition(x, t) for t in range(delay, length)]
        np.testing.assert_array_equal(y[:, known, 0], np.stack(expected, axis=1))


@pytest.mark.parametrize("task", [hierarchical_xor, continuous_xor, spatial_xor])
def test_shapes_dtypes_and_the_stream_of_a_seed(task):
    channels = 3 if task is spatial_xor else 1
    first, again, other = (
        batches(task(4, length=20, batch_size=3, seed=s))[0] for s in (5, 5, 6)
    )
    shapes = [a.shape for a in first]
    assert shapes == [(3, 20, channels), (3, 20, 1), (3, 20)]
    assert {a.dtype for a in first} == {np.dtype("float32")}
    np.testing.assert_array_equal(first[0], again[0])
    assert np.any(first[0] != other[0])


def test_one_level_is_the_temporal_xor():
    ours, theirs = (
        batches(task, 2)
        for task in (
            hierarchical_xor(6, levels=1, length=20, batch_size=4, seed=3),
            temporal_xor(6, length=20, batch_size=4, seed=3),
        )
    )
    for a, b in zip(ours, theirs, strict=True):
        for one, two in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("levels", "delay"), [(1, 2), (2, 4), (2, 12), (3, 8), (3, 24)])
def test_the_hierarchical_xor_is_the_parity_of_equally_spaced_bits(levels, delay):
    number = 2**levels

    def parity(x, t):
        return sum(x[:, t - j * delay // number, 0] for j in range(1, number + 1)) % 2

    data = hierarchical_xor(delay, levels=levels, length=40, batch_size=8)
    assert_targets(data, delay, 40, parity)


def test_its_levels_are_two_by_default():
    ours, theirs = (
        batches(hierarchical_xor(8))[0],
        batches(hierarchical_xor(8, levels=2))[0],
    )
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert ours[0].shape == (16, 300, 1)


@pytest.mark.parametrize(("levels", "delay"), [(1, 3), (2, 6), (3, 12), (3, 4)])
def test_a_delay_that_cannot_be_divided_is_named_with_the_divisor(levels, delay):
    with pytest.raises(ValueError, match=rf"`delay`.*multiple of {2**levels}\..*{delay}"):
        hierarchical_xor(delay, levels=levels, length=40)


@pytest.mark.parametrize("levels", [0, -1, 1.5, 2.0, True, None])
def test_levels_are_whole_numbers_of_at_least_1(levels):
    with pytest.raises(ValueError, match=rf"`levels`.*at least 1.*{levels!r}"):
        hierarchical_xor(8, levels=levels)


@pytest.mark.parametrize("delay", [2, 14])
def test_the_continuous_xor_is_the_distance_of_two_numbers(delay):
    def distance(x, t):
        return np.abs(x[:, t - delay // 2, 0] - x[:, t - delay, 0])

    data = continuous_xor(delay, length=20, batch_size=8)
    assert_targets(data, delay, 20, distance)


def test_its_numbers_are_uniform_and_its_chance_is_an_eighteenth():
    (x, y, weight), *_ = batches(continuous_xor(2, length=502, batch_size=64, seed=3))
    assert 0 <= x.min() < x.max() < 1
    # In tenths: four standard errors of a count of independent numbers.
    counts, _ = np.histogram(x, bins=10, range=(0, 1))
    np.testing.assert_allclose(counts, x.size / 10, atol=4 * np.sqrt(0.09 * x.size))
    squares = (y[weight == 1, 0] - 1 / 3) ** 2
    # Targets that share a number are not independent: the standard error is that of the
    # means of the 64 sequences, which are.
    means = squares.reshape(64, -1).mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(64)
    assert error < 0.001
    assert abs(means.mean() - 1 / 18) < 4 * error


def test_an_odd_delay_has_no_half():
    with pytest.raises(ValueError, match=r"`delay`.*multiple of 2.*5"):
        continuous_xor(5)


@pytest.mark.parametrize("delay", [1, 7])
def test_the_spatial_xor_is_the_parity_of_three_streams(delay):
    data = spatial_xor(delay, length=20, batch_size=8)
    assert_targets(data, delay, 20, lambda x, t: x[:, t - delay].sum(axis=-1) % 2)


def test_its_streams_are_fair_and_independent():
    (x, _, _), *_ = batches(spatial_xor(2, length=500, batch_size=64, seed=3))
    assert set(np.unique(x)) == {0.0, 1.0}
    # Four standard errors of a mean of fair bits.
    bound = 4 * 0.5 / np.sqrt(x[..., 0].size)
    assert np.all(np.abs(x.mean(axis=(0, 1)) - 0.5) < bound)
    for a, b in itertools.combinations(np.moveaxis(x, -1, 0), 2):
        assert abs(np.mean(a == b) - 0.5) < bound
        # Nor is one of them another, a step later.
        assert abs(np.mean(a[:, 1:] == b[:, :-1]) - 0.5) < bound


@pytest.mark.parametrize("task", [hierarchical_xor, continuous_xor, spatial_xor])
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"delay": 0}, r"`delay`.*0"),
        ({"delay": 2.0}, r"`delay`.*2\.0"),
        ({"delay": True}, r"`delay`.*True"),
        ({"delay": 20}, r"`delay`.*`length`.*20"),
        ({"delay": 4, "length": 0}, r"`length`.*0"),
        ({"delay": 4, "batch_size": 0}, r"`batch_size`.*0"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(task, arguments, match):
    with pytest.raises(ValueError, match=match):
        task(**{"length": 20} | arguments)


@pytest.mark.parametrize(
    "task", [delayed_copy, hierarchical_xor, continuous_xor, spatial_xor]
)
def test_the_longest_delay_leaves_one_step_to_score(task):
    (_, _, weight), *_ = batches(task(8, length=9, batch_size=2))
    np.testing.assert_array_equal(weight.sum(axis=1), [1, 1])
