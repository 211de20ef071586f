"""MNIST-1D: deformed digits of 40 numbers, made on this machine."""

import random

import numpy as np

from keras_floss.tasks.pixels import Part, pixel_order

SIZES = 4000, 1000, 1000  # to train, to validate, to test


def mnist1d(permutation_seed: int | None = None) -> tuple[Part, Part, Part]:
    """MNIST-1D, number by number: 40 steps, and no download.

    Ten patterns, shifted, scaled, sheared and with noise; 4,000 sequences to train, as its
    authors have it, 1,000 to validate and 1,000 to test. Chance has an accuracy of about
    0.1.

    Needs mnist1d: `pip install "keras-floss[tasks]"`. What it makes takes seconds.

    Args:
        permutation_seed: of the one permutation of the steps that is applied to every
            sequence of all three parts. Defaults to None: as they are.

    Returns:
        `((x_train, y_train), (x_validation, y_validation), (x_test, y_test))`, NumPy
        arrays: x float32 of shape `(sequences, 40, 1)`, y int32 of shape `(sequences,)`,
        classes 0..9.

    Raises:
        ValueError: a seed that is not an integer of at least 0.
        ImportError: mnist1d is missing.

    Example:

    ```python
    train, validation, test = keras_floss.tasks.mnist1d()
    x, y = train  # (4000, 40, 1), (4000,)
    ```

    References:
        [Greydanus and Kobak, ICML 2024](https://arxiv.org/abs/2011.14439)
    """
    order = pixel_order(40, permutation_seed)
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise ImportError('MNIST-1D needs mnist1d: pip install "keras-floss[tasks]"') from (
            error
        )
    args = get_dataset_args()
    args.num_samples = sum(SIZES)
    before = random.getstate(), np.random.get_state()
    try:
        made = make_dataset(args)  # it seeds both, and says nothing of it
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
    x = np.concatenate([made["x"], made["x_test"]]).astype(np.float32)
    y = np.concatenate([made["y"], made["y_test"]]).astype(np.int32)
    at = np.cumsum(SIZES)[:-1]
    parts = zip(np.split(x[:, order, np.newaxis], at), np.split(y, at), strict=True)
    train, validation, test = parts
    return train, validation, test
