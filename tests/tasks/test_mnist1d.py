"""MNIST-1D: its parts and its order."""

import random
import sys

import numpy as np
import pytest

from keras_floss.tasks import mnist1d


@pytest.fixture(scope="module")
def parts():
    pytest.importorskip("mnist1d")
    return mnist1d()


def test_it_is_that_of_its_authors_in_three_parts(parts):
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    args.num_samples = 6000
    made = make_dataset(args)
    assert [x.shape for x, _ in parts] == [(4000, 40, 1), (1000, 40, 1), (1000, 40, 1)]
    x, y = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(y, np.concatenate([made["y"], made["y_test"]]))
    theirs = np.concatenate([made["x"], made["x_test"]])
    np.testing.assert_allclose(x[..., 0], theirs, rtol=1e-6)
    for _, classes in parts:
        shares = np.bincount(classes, minlength=10) / len(classes)
        np.testing.assert_allclose(shares, 0.1, atol=4 * np.sqrt(0.09 / len(classes)))


def test_it_is_permuted_and_its_parts_stay(parts):
    order = np.random.default_rng(0).permutation(40)
    for (x, y), (permuted, same) in zip(parts, mnist1d(permutation_seed=0), strict=True):
        np.testing.assert_array_equal(permuted, x[:, order])
        np.testing.assert_array_equal(same, y)


def test_what_others_draw_stays_as_it_is(parts):
    def draw():
        np.random.seed(1)
        random.seed(1)
        return lambda: (np.random.random(), random.random())

    expected = draw()()
    drawing = draw()
    mnist1d()
    assert drawing() == expected


def test_what_is_missing_or_wrong_is_named(monkeypatch):
    with pytest.raises(ValueError, match="`permutation_seed`"):
        mnist1d(permutation_seed=-1)
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(ImportError, match=r"keras-floss\[tasks\]"):
        mnist1d()
