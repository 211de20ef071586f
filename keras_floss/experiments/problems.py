"""The tasks of the command line: data, and how well a network does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from keras_floss import tasks

if TYPE_CHECKING:
    from keras_floss.experiments.configuration import Configuration

# Bits, of which each has an output.
_bit_loss = partial(keras.losses.BinaryCrossentropy, from_logits=True)
_bit_accuracy = partial(keras.metrics.BinaryAccuracy, threshold=0.0, name="accuracy")


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, and how well a network does on it.

    Attributes:
        data: `data(configuration, seed)`, an endless dataset of batches.
        test: `(x, y)` arrays to test on, from a function without arguments; None where
            every batch is fresh.
        steps: `steps(configuration)`, the number of time steps of a sequence.
        channels: number of input features.
        outputs: number of outputs.
        every_step: whether every step has a target, or only the last.
        loss, metric: functions that make the Keras loss and metric.
        measure: `"accuracy"`, `"test_accuracy"` or `"error"`, a mean square.
        chance: the measure of the best guess without memory.
        thresholds: values of the measure; how many updates they took is in the table.
        knob: which knob says how long it is, `"delay"`, `"length"` or none.
    """

    data: Callable[[Configuration, int], tf.data.Dataset]
    test: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    steps: Callable[[Configuration], int] = lambda configuration: configuration.length
    channels: int = 1
    outputs: int = 1
    every_step: bool = True
    loss: Callable[[], keras.Loss] = _bit_loss
    metric: Callable[[], keras.Metric] = _bit_accuracy
    measure: str = "accuracy"
    chance: float = 0.5
    thresholds: tuple[float, ...] = ()
    knob: str = "delay"

    @property
    def label(self) -> str:
        """The measure in words."""
        return self.measure.replace("_", " ")


def _delay(make: Callable[..., tf.data.Dataset], **settings: Any) -> Task:
    """A task of `keras_floss.tasks.delays`."""

    def data(c: Configuration, seed: int) -> tf.data.Dataset:
        levels = {"levels": c.levels} if make is tasks.hierarchical_xor else {}
        return make(c.delay, length=c.length, batch_size=c.batch_size, seed=seed, **levels)

    return Task(data, **settings)


_error: dict[str, Any] = {
    "loss": keras.losses.MeanSquaredError,
    "metric": partial(keras.metrics.MeanSquaredError, name="error"),
    "measure": "error",
}
_class_loss = partial(keras.losses.SparseCategoricalCrossentropy, from_logits=True)
_class_accuracy = partial(keras.metrics.SparseCategoricalAccuracy, name="accuracy")


def _pixels(
    load: Callable[[int | None], Any],
    permutation_seed: int | None,
    steps: int,
) -> Task:
    """A task of `keras_floss.tasks.pixels`."""
    parts = cache(lambda: load(permutation_seed))

    def data(c: Configuration, seed: int) -> tf.data.Dataset:
        x, y = map(tf.constant, parts()[0])
        order = tf.data.Dataset.range(len(x)).shuffle(len(x), seed).repeat()
        batches = order.batch(c.batch_size).map(
            lambda index: (tf.gather(x, index), tf.gather(y, index))
        )
        # Dropping an iterator can take seconds while a thread is tuning its pipeline.
        options = tf.data.Options()
        options.autotune.enabled = False
        return batches.with_options(options)

    return Task(
        data,
        test=lambda: parts()[2],
        steps=lambda configuration: steps,
        outputs=10,
        every_step=False,
        loss=_class_loss,
        metric=_class_accuracy,
        measure="test_accuracy",
        chance=0.1,
        knob="",
    )


TASKS = {
    "delayed-copy": _delay(tasks.delayed_copy),
    "temporal-xor": _delay(tasks.temporal_xor),
    "hierarchical-xor": _delay(tasks.hierarchical_xor),
    "continuous-xor": _delay(tasks.continuous_xor, chance=1 / 18, **_error),
    "spatial-xor": _delay(tasks.spatial_xor, channels=3),
    "copying": Task(
        lambda c, seed: tasks.copying_memory(c.delay, c.batch_size, seed),
        steps=lambda c: c.delay + 20,
        outputs=9,
        loss=_class_loss,
        metric=partial(
            keras.metrics.MeanMetricWrapper, tasks.copying_accuracy, name="accuracy"
        ),
        chance=1 / 8,
        thresholds=(0.5, 0.9),
    ),
    "adding": Task(
        lambda c, seed: tasks.adding_problem(c.length, c.batch_size, seed),
        channels=2,
        every_step=False,
        chance=1 / 6,
        knob="length",
        **_error,
    ),
    "first-symbol": Task(
        lambda c, seed: tasks.first_symbol(c.length, c.batch_size, seed),
        channels=12,
        outputs=4,
        every_step=False,
        loss=_class_loss,
        metric=_class_accuracy,
        chance=1 / 4,
        thresholds=(0.5, 0.95),
        knob="length",
    ),
    "digits": _pixels(tasks.sequential_digits, None, 64),
    "permuted-digits": _pixels(tasks.sequential_digits, 0, 64),
    "mnist1d": _pixels(tasks.mnist1d, None, 40),
    "permuted-mnist1d": _pixels(tasks.mnist1d, 0, 40),
    "mnist": _pixels(tasks.sequential_mnist, None, 784),
    "permuted-mnist": _pixels(tasks.sequential_mnist, 0, 784),
}
