"""Digits, pixel by pixel: their parts, their order and their permutation."""

import functools
import sys

import keras
import numpy as np
import pytest

from keras_floss.tasks import sequential_digits, sequential_mnist

PARTS = ["train", "validation", "test"]


@functools.cache
def synthetic_mnist():
    """Of MNIST's shapes and dtypes. Pixel p of image i is i + 3p, and its class i."""

    def part(start, number):
        image = np.arange(start, start + number)
        pixels = image.astype(np.uint8)[:, None] + 3 * np.arange(784).astype(np.uint8)
        return pixels.reshape(number, 28, 28), (image % 10).astype(np.uint8)

    return part(0, 60_000), part(60_001, 10_000)


@pytest.fixture
def mnist(monkeypatch):
    monkeypatch.setattr(keras.datasets.mnist, "load_data", synthetic_mnist)


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return dict(zip(PARTS, sequential_digits(), strict=True))


def assert_pixel_sequences(parts, numbers, steps):
    assert [(x.shape, y.shape) for x, y in parts] == [
        ((n, steps, 1), (n,)) for n in numbers
    ]
    for x, y in parts:
        assert (x.dtype, y.dtype) == (np.dtype("float32"), np.dtype("int32"))
        assert (x.min(), x.max()) == (0, 1)
        assert set(np.unique(y)) == set(range(10))


@pytest.mark.parametrize("seed", [None, 3])
def test_mnist_is_in_its_order_and_the_last_training_images_validate(mnist, seed):
    """With a seed, one permutation of the pixels is that of every image of every part."""
    pixels = np.arange(784)
    order = pixels if seed is None else np.random.default_rng(seed).permutation(pixels)
    parts = sequential_mnist(permutation_seed=seed)
    assert_pixel_sequences(parts, [50_000, 10_000, 10_000], 784)
    # Images by their numbers in the synthetic data: the first and the last of each part
    # and some between.
    for (x, y), start in zip(parts, [0, 50_000, 60_001], strict=True):
        some = np.r_[0 : len(y) : 1000, len(y) - 1]
        brightness = (start + some[:, None] + 3 * order) % 256
        np.testing.assert_allclose(x[some, :, 0], brightness / 255, rtol=1e-6)
        np.testing.assert_array_equal(y[some], (start + some) % 10)


def test_a_failed_download_says_where_the_file_belongs_and_what_needs_none(monkeypatch):
    def fail():  # as Keras does
        raise Exception("URL fetch failure on https://...: None -- [Errno -2] unknown host")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(OSError, match="MNIST could not be downloaded") as caught:
        sequential_mnist()
    for hint in ("~/.keras/datasets/mnist.npz", "keras_floss.tasks.sequential_digits"):
        assert hint in str(caught.value)
    assert "URL fetch failure" in str(caught.value.__cause__)


def test_digits_have_fixed_parts(digits):
    assert_pixel_sequences(digits.values(), [1257, 180, 360], 64)
    for (x, y), (again, same) in zip(digits.values(), sequential_digits(), strict=True):
        np.testing.assert_array_equal(x, again)
        np.testing.assert_array_equal(y, same)


def test_every_digit_is_in_one_part_row_by_row_with_its_class(digits):
    from sklearn.datasets import load_digits

    original = load_digits()
    expected = np.column_stack([original.data, original.target])
    ours = np.concatenate(
        [np.column_stack([16 * x[..., 0], y]) for x, y in digits.values()]
    )
    np.testing.assert_array_equal(*(rows[np.lexsort(rows.T)] for rows in (ours, expected)))
    assert np.any(ours != expected)  # shuffled


def test_every_class_is_in_every_part_as_often_as_a_shuffle_has_it(digits):
    for _, y in digits.values():
        shares = np.bincount(y, minlength=10) / len(y)
        # Four standard errors of a share of about 1/10.
        np.testing.assert_allclose(shares, 0.1, atol=4 * np.sqrt(0.09 / len(y)))


def test_the_digits_are_permuted_and_their_parts_stay(digits):
    order = np.random.default_rng(0).permutation(64)  # 0 is a seed, not None
    permuted, again, other = (sequential_digits(permutation_seed=s) for s in (0, 0, 1))
    for part, (x, y) in enumerate(digits.values()):
        np.testing.assert_array_equal(permuted[part][0], x[:, order])
        np.testing.assert_array_equal(permuted[part][0], again[part][0])
        assert np.any(permuted[part][0] != other[part][0])
        for labels in (permuted[part][1], other[part][1]):
            np.testing.assert_array_equal(labels, y)


@pytest.mark.slow
def test_a_network_can_be_trained_with_the_digits(digits):
    model = keras.Sequential([keras.layers.SimpleRNN(4), keras.layers.Dense(10)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = digits["train"]
    history = model.fit(x[:8], y[:8], validation_data=(x[8:12], y[8:12]), verbose=0)
    assert np.all(np.isfinite([*history.history["loss"], *history.history["val_loss"]]))


def test_missing_scikit_learn_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "keras-floss\[tasks\]"'):
        sequential_digits()


@pytest.mark.parametrize("task", [sequential_mnist, sequential_digits])
@pytest.mark.parametrize("seed", [-1, True, False, 1.0, "3"])
def test_bad_seeds_are_named_before_anything_is_loaded(task, seed, monkeypatch):
    monkeypatch.setattr(keras.datasets.mnist, "load_data", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=rf"`permutation_seed`.*at least 0.*{seed!r}"):
        task(permutation_seed=seed)
