"""The first symbol, and the noise after it."""

import itertools

import numpy as np
import pytest

from keras_floss.tasks import first_symbol


def batches(data, number):
    return [(x.numpy(), y.numpy()) for x, y in itertools.islice(data, number)]


@pytest.mark.parametrize("length", [1, 2, 9])
def test_the_first_symbol_is_the_class_and_no_other_is(length):
    for x, y in batches(first_symbol(length, 50, classes=3, distractors=2), 2):
        assert (x.shape, y.shape) == ((50, length, 5), (50,))
        assert (x.dtype, y.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(x.sum(axis=-1), 1)
        symbols = x.argmax(axis=-1)
        np.testing.assert_array_equal(symbols[:, 0], y)
        assert np.all(symbols[:, 1:] >= 3)


def test_all_symbols_are_equally_likely_and_independent():
    ((x, y),) = batches(first_symbol(4, 8000, seed=3), 1)
    noise = x[:, 1:].argmax(axis=-1) - 4
    # Four standard errors.
    shares = np.bincount(y, minlength=4) / 8000
    np.testing.assert_allclose(shares, 1 / 4, atol=4 * np.sqrt(3 / 16 / 8000))
    shares = np.bincount(noise.ravel(), minlength=8) / 24000
    np.testing.assert_allclose(shares, 1 / 8, atol=4 * np.sqrt(7 / 64 / 24000))
    joint = np.histogram2d(noise[:, 0], noise[:, 1], [8, 8])[0] / 8000
    np.testing.assert_allclose(joint, 1 / 64, atol=5 * np.sqrt(1 / 64 / 8000))


def test_the_seed_says_which_stream_it_is():
    first, same, other = (
        np.stack([x for x, _ in batches(first_symbol(20, 4, seed=seed), 3)])
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)
    assert np.any(first[0] != first[1])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"length": 0}, "`length`"),
        ({"length": 5, "batch_size": 0}, "`batch_size`"),
        ({"length": 5, "classes": 0}, "`classes`"),
        ({"length": 5, "distractors": 0}, "`distractors`"),
        ({"length": 5, "seed": 2**63}, "`seed`"),
        ({"length": 2**30}, "`length`.*must be smaller"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        first_symbol(**arguments)
