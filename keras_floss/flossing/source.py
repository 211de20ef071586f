"""Whatever `fit` takes as data, as an endless source of inputs to floss on."""

import itertools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_floss.utils.autotune import without_autotune
from keras_floss.utils.checks import check_dense
from keras_floss.utils.typing import Data


def endless(x: Data, batch_size: int | None, seed: int | None = None) -> Any:
    """Repeats `x` without end; arrays and PyDatasets in a new order each time.

    Args:
        x: array or tensor (or a dict or list of them, for several inputs), a tuple
            `(x, y, ...)` of them, a batched `tf.data.Dataset`, a `keras.utils.PyDataset`
            or a generator. Targets are left where they are: who reads a batch takes its
            inputs alone.
        batch_size: of arrays, None for all; other sources come in batches.
        seed: of the shuffling, an int or None.
    """
    if isinstance(x, keras.utils.PyDataset):
        return _Endless(x, seed)
    if isinstance(x, tf.data.Dataset):
        return without_autotune(x.repeat())
    if hasattr(x, "__next__"):
        return x
    x = inputs_of(x)
    x = tuple(x) if isinstance(x, list) else x
    check_dense(x)
    sizes = {np.shape(a)[0] for a in keras.tree.flatten(x) if np.ndim(a)}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            "The inputs to floss on must be arrays with one sequence or more, the same "
            f"number in each. Received numbers of sequences: {sorted(sizes)}"
        )
    data = tf.data.Dataset.from_tensor_slices((x,))
    data = data.shuffle(min(sizes), seed=seed).repeat()
    # There is no remainder; said so, TensorFlow knows the number of sequences.
    return without_autotune(data.batch(batch_size or min(sizes), drop_remainder=True))


def from_batch(source: Any, start: int) -> Any:
    """An endless source without its first `start` batches. A generator is left as it is."""
    if isinstance(source, _Endless):
        source.start = start
    elif isinstance(source, tf.data.Dataset) and start:
        return source.skip(start)
    return source


def inputs_of(batch: Any) -> Any:
    """The inputs of a batch `x` or `(x, y)` or `(x, y, sample_weight)`."""
    if isinstance(batch, list):
        return batch
    return keras.utils.unpack_x_y_sample_weight(batch)[0]


def peek(source: Any) -> tuple[Any, Any]:
    """A first batch, with targets if there are any, and a source that still has it."""
    if isinstance(source, keras.utils.PyDataset):
        first = source[0]
    else:
        first = next(iter(source), None)
        if first is None:
            raise ValueError("There is nothing to floss on: the dataset is empty.")
        if not isinstance(source, tf.data.Dataset):
            source = (batch for batch in itertools.chain([first], source))
    check_dense(inputs_of(first))
    return first, source


class _Endless(keras.utils.PyDataset):
    """A PyDataset over and over, in a new order each time."""

    def __init__(self, dataset: keras.utils.PyDataset, seed: int | None) -> None:
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        if not dataset.num_batches:
            raise ValueError(
                "The PyDataset to floss on must have a known number of batches, one at "
                f"least. Received: num_batches={dataset.num_batches}"
            )
        self.dataset = dataset
        self.seed = np.random.SeedSequence(seed).entropy
        self.start = 0

    @property
    def num_batches(self) -> None:
        return None

    def __getitem__(self, index: int) -> Any:
        turn, place = divmod(self.start + index, self.dataset.num_batches)
        order = np.random.default_rng([self.seed, turn])
        return self.dataset[int(order.permutation(self.dataset.num_batches)[place])]
