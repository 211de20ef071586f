"""The adding problem: its numbers, its markers and its sums."""

import itertools

import keras
import numpy as np
import pytest

from keras_floss.tasks import adding_problem


def batches(dataset, number=1):
    return [[np.asarray(a) for a in b] for b in itertools.islice(dataset, number)]


def marked_steps(x):
    """The two marked steps of every sequence, `(batch, 2)`."""
    return np.stack([np.flatnonzero(markers) for markers in x[..., 1]])


@pytest.mark.parametrize("length", [2, 3, 7, 40])
def test_the_target_is_the_sum_of_one_number_of_each_half(length):
    for x, y in batches(adding_problem(length, batch_size=50), 2):
        assert (x.shape, y.shape) == ((50, length, 2), (50, 1))
        assert {x.dtype, y.dtype} == {np.dtype("float32")}
        assert set(np.unique(x[..., 1])) <= {0.0, 1.0}
        first, second = marked_steps(x).T
        assert np.all(first < length // 2)
        assert np.all(second >= length // 2)
        sequences = np.arange(50)
        expected = x[sequences, first, 0] + x[sequences, second, 0]
        np.testing.assert_allclose(y[:, 0], expected, rtol=1e-6)  # float32


def test_shapes_are_known_to_keras_and_the_batches_are_of_100_by_default():
    shapes = [tuple(spec.shape) for spec in adding_problem(9).element_spec]
    assert shapes == [(100, 9, 2), (100, 1)]


def test_numbers_are_uniform():
    ((x, _),) = batches(adding_problem(50, batch_size=1000, seed=3))
    numbers = x[..., 0]
    assert 0 <= numbers.min() < numbers.max() < 1
    # In tenths: four standard errors of a count of independent numbers.
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    np.testing.assert_allclose(
        counts, numbers.size / 10, atol=4 * np.sqrt(0.09 * numbers.size)
    )


def test_every_step_of_a_half_is_marked_alike():
    # An odd length: 3 steps in the first half, 4 in the second.
    ((x, _),) = batches(adding_problem(7, batch_size=4000, seed=3))
    shares = x[..., 1].mean(axis=0)
    # Four standard errors of a share of 1/3 or 1/4 of 4000 sequences.
    np.testing.assert_allclose(shares[:3], 1 / 3, atol=4 * np.sqrt(2 / 9 / 4000))
    np.testing.assert_allclose(shares[3:], 1 / 4, atol=4 * np.sqrt(3 / 16 / 4000))


def test_the_marked_steps_and_numbers_do_not_depend_on_each_other():
    ((x, _),) = batches(adding_problem(20, batch_size=4000, seed=3))
    steps = marked_steps(x).T
    numbers = [x[np.arange(4000), step, 0] for step in steps]
    # Correlations of independent draws: a standard error of 1/sqrt(4000).
    for a, b in itertools.combinations([*steps, *numbers], 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(4000)


def test_the_error_of_the_best_guess_without_memory():
    ((_, y),) = batches(adding_problem(10, batch_size=10_000, seed=3))
    squares = (y[:, 0] - 1.0) ** 2
    error = squares.std(ddof=1) / np.sqrt(len(squares))
    assert error < 0.002
    assert abs(squares.mean() - 1 / 6) < 4 * error


def test_the_stream_is_that_of_its_seed():
    first, again, other = (
        np.stack([x for x, _ in batches(adding_problem(20, 4, seed=seed), 3)])
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    for channel in range(2):
        assert not np.array_equal(first[..., channel], other[..., channel])


def test_a_dataset_gives_the_same_stream_when_read_again():
    data = adding_problem(20, 4)
    for one, two in zip(batches(data, 2), batches(data, 2), strict=True):
        np.testing.assert_array_equal(one[0], two[0])


def test_batches_are_fresh():
    data = batches(adding_problem(20, batch_size=10), 50)
    assert len({x[..., 0].tobytes() for x, _ in data}) == 50
    # Each of the ten sequences has a choice of 100 markers.
    assert len({x[..., 1].tobytes() for x, _ in data}) == 50


def test_a_network_can_be_trained_with_it():
    model = keras.Sequential([keras.layers.SimpleRNN(4), keras.layers.Dense(1)])
    model.compile(loss="mse")
    history = model.fit(adding_problem(6, batch_size=8), steps_per_epoch=1, verbose=0)
    assert model.output_shape == (8, 1)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"length": 1}, r"`length`.*at least 2.*1"),
        ({"length": 0}, r"`length`.*at least 2.*0"),
        ({"length": 5.0}, r"`length`.*5\.0"),
        ({"length": True}, r"`length`.*True"),
        ({"length": 5, "batch_size": 0}, r"`batch_size`.*at least 1.*0"),
        ({"length": 5, "batch_size": 1.5}, r"`batch_size`.*1\.5"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        adding_problem(**arguments)
