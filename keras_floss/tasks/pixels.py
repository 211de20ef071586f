"""Images of digits, one pixel per time step: what is it, asked after the last pixel."""

from typing import TypeAlias

import keras
import numpy as np

from keras_floss.utils.checks import check_positive_int

MNIST_VALIDATION = 10_000  # of the 60,000 training images
DIGITS_SPLIT = (1257, 1257 + 180)  # and 360 to test

Part: TypeAlias = tuple[np.ndarray, np.ndarray]  # x, y


def sequential_mnist(permutation_seed: int | None = None) -> tuple[Part, Part, Part]:
    """MNIST, pixel by pixel: 784 steps; permuted MNIST with a `permutation_seed`.

    50,000 images to train, the last 10,000 of MNIST's training images to validate, and its
    10,000 test images. Chance has an accuracy of about 0.1.

    `keras.datasets.mnist` downloads the images once, 11 MB. As sequences they take 220 MB.

    Args:
        permutation_seed: of the one permutation of the pixels that is applied to every
            image of all three parts. Defaults to None: row by row.

    Returns:
        `((x_train, y_train), (x_validation, y_validation), (x_test, y_test))`, NumPy
        arrays: x float32 in [0, 1] of shape `(sequences, 784, 1)`, y int32 of shape
        `(sequences,)`, classes 0..9.

    Raises:
        ValueError: a seed that is not an integer of at least 0.
        OSError: MNIST is not on this machine and could not be downloaded.

    Example:

    ```python
    train, validation, test = keras_floss.tasks.sequential_mnist(permutation_seed=0)
    model = keras.Sequential([keras.layers.LSTM(64), keras.layers.Dense(10)])
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*train, batch_size=100, epochs=200, validation_data=validation)
    ```

    References:
        [Le et al., 2015](https://arxiv.org/abs/1504.00941),
        [Kanuparthi et al., ICLR 2019](https://arxiv.org/abs/1810.03023)
    """
    order = pixel_order(28 * 28, permutation_seed)
    try:
        (images, classes), (test_images, test_classes) = keras.datasets.mnist.load_data()
    except Exception as error:  # Keras has no narrower class for a failed download
        raise OSError(
            "MNIST could not be downloaded. Keras looks for it in "
            "~/.keras/datasets/mnist.npz (in the directory that the environment variable "
            "KERAS_HOME names, where it is set, instead of ~/.keras), so the file can be "
            "put there by hand. `keras_floss.tasks.sequential_digits` (keras-floss: "
            "--task digits) is a small data set that needs no download."
        ) from error
    at = len(images) - MNIST_VALIDATION
    return (
        _sequences(images[:at], classes[:at], order, 255),
        _sequences(images[at:], classes[at:], order, 255),
        _sequences(test_images, test_classes, order, 255),
    )


def sequential_digits(permutation_seed: int | None = None) -> tuple[Part, Part, Part]:
    """The 8x8 digits of scikit-learn, pixel by pixel: 64 steps, and no download.

    1,257 images to train, 180 to validate and 360 to test, drawn by one fixed shuffle,
    without stratification. The same people wrote the digits of all parts. Chance has an
    accuracy of about 0.1.

    Needs scikit-learn: `pip install "keras-floss[tasks]"`.

    Args:
        permutation_seed: of the one permutation of the pixels that is applied to every
            image of all three parts. The split does not depend on it. Defaults to None:
            row by row.

    Returns:
        `((x_train, y_train), (x_validation, y_validation), (x_test, y_test))`, NumPy
        arrays: x float32 in [0, 1] of shape `(sequences, 64, 1)`, y int32 of shape
        `(sequences,)`, classes 0..9.

    Raises:
        ValueError: a seed that is not an integer of at least 0.
        ImportError: scikit-learn is missing.

    Example:

    ```python
    train, validation, test = keras_floss.tasks.sequential_digits()
    x, y = train  # (1257, 64, 1), (1257,)
    ```

    References:
        [Optical recognition of handwritten digits, UCI](https://archive.ics.uci.edu/dataset/80),
        its test set
    """
    order = pixel_order(8 * 8, permutation_seed)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'The digits need scikit-learn: pip install "keras-floss[tasks]"'
        ) from error
    digits = load_digits()
    # Not `default_rng`: for this generator alone NumPy promises the same shuffle always.
    shuffled = np.random.RandomState(0).permutation(len(digits.images))
    x, y = _sequences(digits.images[shuffled], digits.target[shuffled], order, 16)
    train, validation, test = zip(
        np.split(x, DIGITS_SPLIT), np.split(y, DIGITS_SPLIT), strict=True
    )
    return train, validation, test


def pixel_order(pixels, permutation_seed):
    """The pixel of each time step."""
    if permutation_seed is None:
        return np.arange(pixels)
    check_positive_int("permutation_seed", permutation_seed, least=0)
    return np.random.default_rng(permutation_seed).permutation(pixels)


def _sequences(images, classes, order, brightest):
    """Images of `(sequences, rows, columns)` as sequences of pixels in [0, 1]."""
    pixels = images.reshape(len(images), -1)[:, order, np.newaxis]
    return np.divide(pixels, brightest, dtype=np.float32), classes.astype(np.int32)
