"""The tasks with a delay: their targets, their weights and their bits."""

import itertools

import numpy as np
import pytest

from keras_floss.tasks import delayed_copy, temporal_xor

TASKS = [delayed_copy, temporal_xor]


def batches(dataset, number=1):
    return [[np.asarray(a) for a in b] for b in itertools.islice(dataset, number)]


def copy_target(x, delay):
    """`y_t = x_{t−d}`, zero before."""
    y = np.zeros_like(x)
    for t in range(delay, x.shape[1]):
        y[:, t] = x[:, t - delay]
    return y


def xor_target(x, delay):
    """`y_t = x_{t−d/2} XOR x_{t−d}`, at the steps at which both are there."""
    y = np.zeros_like(x)
    for t in range(delay, x.shape[1]):
        y[:, t] = np.logical_xor(x[:, t - delay // 2], x[:, t - delay])
    return y


@pytest.mark.parametrize("task", TASKS)
def test_shapes_and_dtypes(task):
    x, y, weight = batches(task(4, length=20, batch_size=3))[0]
    assert (x.shape, y.shape, weight.shape) == ((3, 20, 1), (3, 20, 1), (3, 20))
    assert {a.dtype for a in (x, y, weight)} == {np.dtype("float32")}
    assert set(np.unique(x)) == set(np.unique(y)) == {0.0, 1.0}


@pytest.mark.parametrize("task", TASKS)
def test_defaults_are_those_of_the_paper(task):
    x, y, weight = batches(task(40))[0]
    assert (x.shape, y.shape, weight.shape) == ((16, 300, 1), (16, 300, 1), (16, 300))


@pytest.mark.parametrize("task", TASKS)
def test_the_batch_size_is_known_to_keras(task):
    shapes = [tuple(spec.shape) for spec in task(2, 5, 3).element_spec]
    assert shapes == [(3, 5, 1), (3, 5, 1), (3, 5)]


@pytest.mark.parametrize(
    ("task", "definition", "delay"),
    [
        (delayed_copy, copy_target, 1),
        (delayed_copy, copy_target, 7),
        (delayed_copy, copy_target, 29),
        (temporal_xor, xor_target, 2),
        (temporal_xor, xor_target, 8),
        (temporal_xor, xor_target, 28),
    ],
)
def test_targets_and_weights_are_those_of_the_definition(task, definition, delay):
    for x, y, weight in batches(task(delay, length=30, batch_size=8), 3):
        known = np.arange(30) >= delay
        np.testing.assert_array_equal(weight, np.tile(known, (8, 1)))
        np.testing.assert_array_equal(y[:, known], definition(x, delay)[:, known])


@pytest.mark.parametrize("task", TASKS)
def test_bits_are_fair_and_independent(task):
    (x, y, weight), *_ = batches(task(2, length=500, batch_size=64, seed=3))
    for bits in (x[..., 0], y[..., 0][:, 2:]):
        # Four standard errors of a mean of fair bits.
        assert abs(bits.mean() - 0.5) < 4 * 0.5 / np.sqrt(bits.size)
    # Neighbours in time and in the batch agree half of the time.
    for same in (x[:, 1:] == x[:, :-1], x[1:] == x[:-1]):
        assert abs(same.mean() - 0.5) < 4 * 0.5 / np.sqrt(same.size)


@pytest.mark.parametrize("task", TASKS)
def test_the_stream_is_that_of_its_seed(task):
    first, again, other = (
        np.stack([x for x, _, _ in batches(task(2, 20, 4, seed=seed), 3)])
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("task", TASKS)
def test_a_dataset_gives_the_same_stream_when_read_again(task):
    dataset = task(2, 20, 4)
    for one, two in zip(batches(dataset, 2), batches(dataset, 2), strict=True):
        np.testing.assert_array_equal(one[0], two[0])


@pytest.mark.parametrize("task", TASKS)
def test_batches_are_fresh(task):
    seen = {x.tobytes() for x, _, _ in batches(task(2, length=20, batch_size=4), 50)}
    assert len(seen) == 50  # two alike by chance: about 2⁻⁷⁰


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"delay": 0}, r"`delay`.*0"),
        ({"delay": -2}, r"`delay`.*-2"),
        ({"delay": 2.0}, r"`delay`.*2\.0"),
        ({"delay": 20}, r"`delay`.*`length`.*20"),
        ({"delay": 22}, r"`delay`.*`length`.*22"),
        ({"delay": 2, "length": 0}, r"`length`.*0"),
        ({"delay": 2, "batch_size": 0}, r"`batch_size`.*0"),
        ({"delay": 2, "batch_size": -1}, r"`batch_size`.*-1"),
        ({"delay": 2, "batch_size": 1.5}, r"`batch_size`.*1\.5"),
        ({"delay": 2, "batch_size": None}, r"`batch_size`.*None"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(task, arguments, match):
    with pytest.raises(ValueError, match=match):
        task(**{"length": 20} | arguments)


@pytest.mark.parametrize("delay", [1, 3, 19])
def test_an_odd_delay_has_no_half(delay):
    with pytest.raises(ValueError, match=rf"`delay`.*multiple of 2.*{delay}"):
        temporal_xor(delay, length=20)


def test_numpy_integers_are_whole_numbers():
    two, twenty = np.int64(2), np.int64(20)
    x, _, _ = batches(delayed_copy(two, twenty, two))[0]
    assert x.shape == (2, 20, 1)
