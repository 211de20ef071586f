"""The tasks of the command line: data, how well a network does, and fit knobs."""

import dataclasses
import functools
import typing

import keras
import tensorflow as tf

from keras_floss import tasks
from keras_floss.utils.autotune import without_autotune


def _bit_loss():
    return keras.losses.BinaryCrossentropy(from_logits=True)


def _bit_accuracy():
    return keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")


def _class_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _class_accuracy():
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _copying_accuracy():
    return keras.metrics.MeanMetricWrapper(tasks.copying_accuracy, name="accuracy")


def _error():
    return keras.metrics.MeanSquaredError(name="error")


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
        methods: those that it is usually learned with.
        knob: which knob says how long it is, `"delay"`, `"length"` or none.
        defaults: knobs whose default differs from that of `Configuration`.
    """

    data: typing.Callable
    test: typing.Callable | None = None
    steps: typing.Callable = lambda configuration: configuration.length
    channels: int = 1
    outputs: int = 1
    every_step: bool = True
    loss: typing.Callable = _bit_loss
    metric: typing.Callable = _bit_accuracy
    measure: str = "accuracy"
    chance: float = 0.5
    thresholds: tuple = ()
    methods: tuple = ("none", "pre", "periodic", "adaptive", "joint")
    knob: str = "delay"
    defaults: dict = dataclasses.field(default_factory=dict)

    @property
    def label(self):
        """The measure in words."""
        return self.measure.replace("_", " ")


def _delay(make, **settings):
    """A task of `keras_floss.tasks.delays`."""

    def data(configuration, seed):
        c = configuration
        levels = {"levels": c.levels} if make is tasks.hierarchical_xor else {}
        return make(c.delay, length=c.length, batch_size=c.batch_size, seed=seed, **levels)

    return Task(data, **settings)


# Units, batch and clipping are those of the released code of h-detach. The leading
# exponents of an LSTM are those of its units: the others, of h, are far below.
H_DETACH = {
    "units": 128,
    "batch_size": 100,
    "clip": "global",
    "clipnorm": 1.0,
    "k": 128,
    "flossing_steps": 100,
}
LSTM_METHODS = ("lstm", "h-detach", "preflossed-lstm", "both")


def _pixels(load, permutation_seed, steps, **defaults):
    """A task of `keras_floss.tasks.pixels`."""

    @functools.cache
    def parts():
        return load(permutation_seed)

    def data(configuration, seed):
        x, y = parts()[0]
        order = tf.data.Dataset.range(len(x)).shuffle(len(x), seed).repeat()
        images = tf.constant(x), tf.constant(y)
        batches = order.batch(configuration.batch_size).map(
            lambda index: tuple(tf.gather(each, index) for each in images)
        )
        return without_autotune(batches)

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
        methods=LSTM_METHODS,
        knob="",
        defaults={**H_DETACH, **defaults},
    )


TASKS = {
    "delayed-copy": _delay(tasks.delayed_copy),
    "temporal-xor": _delay(tasks.temporal_xor),
    "hierarchical-xor": _delay(tasks.hierarchical_xor),
    "continuous-xor": _delay(
        tasks.continuous_xor,
        loss=keras.losses.MeanSquaredError,
        metric=_error,
        measure="error",
        chance=1 / 18,
    ),
    "spatial-xor": _delay(tasks.spatial_xor, channels=3),
    "copying": Task(
        lambda c, seed: tasks.copying_memory(c.delay, c.batch_size, seed),
        steps=lambda c: c.delay + 20,
        outputs=9,
        loss=_class_loss,
        metric=_copying_accuracy,
        chance=1 / 8,
        thresholds=(0.5, 0.9),
        methods=LSTM_METHODS,
        defaults={
            **H_DETACH,
            "delay": 10,
            "window": 30,
            "warmup": 10,
            "updates": 10000,
        },
    ),
    "adding": Task(
        lambda c, seed: tasks.adding_problem(c.length, c.batch_size, seed),
        channels=2,
        every_step=False,
        loss=keras.losses.MeanSquaredError,
        metric=_error,
        measure="error",
        chance=1 / 6,
        methods=LSTM_METHODS,
        knob="length",
        defaults={**H_DETACH, "length": 100},
    ),
    "digits": _pixels(tasks.sequential_digits, None, 64),
    "permuted-digits": _pixels(tasks.sequential_digits, 0, 64),
    "mnist": _pixels(tasks.sequential_mnist, None, 784, units=100, k=100),
    "permuted-mnist": _pixels(tasks.sequential_mnist, 0, 784, units=100, k=100),
}
