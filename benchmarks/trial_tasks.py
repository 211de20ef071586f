"""The tasks of trial.py: data, loss and score."""

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_floss import tasks

# Apart from the seeds of training.
LOOK, TEST = 1_000_003, 2_000_006
ACCURACY, ERROR = "accuracy", "error"


@dataclasses.dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        data: `data(seed)`, a dataset of batches to train on, and two batches that no
            model is trained on: one to look at during training, one for the score.
        length: T, time steps of a sequence.
        target: `"bits"`, `"numbers"` or `"class"`: of each step, but a class is of the
            whole sequence, as is the number where not `every_step`.
        mark: the score that counts as learned.
        outputs: number of outputs.
        channels: number of input features; 0: the inputs are symbols.
        every_step: whether each step has a target.
        updates: how many a run has.
    """

    data: Callable[[int], tuple]
    length: int
    target: str
    mark: float
    outputs: int = 1
    channels: int = 1
    every_step: bool = True
    updates: int = 1000

    @property
    def measure(self):
        """`"accuracy"`, or `"error"`: a mean square, of which less is better."""
        return ERROR if self.target == "numbers" else ACCURACY

    def loss(self):
        """The Keras loss."""
        return {
            "bits": functools.partial(keras.losses.BinaryCrossentropy, from_logits=True),
            "class": functools.partial(
                keras.losses.SparseCategoricalCrossentropy, from_logits=True
            ),
            "numbers": keras.losses.MeanSquaredError,
        }[self.target]()

    def score(self, model, batch):
        """The accuracy or the error of a model on a batch."""
        x, y, *weights = map(np.asarray, batch)
        # Called, not evaluated: nothing has to be compiled for it.
        outputs = np.asarray(model(x, training=False))
        if self.target == "class":
            return float(np.mean(outputs.argmax(axis=-1) == y))
        right = (outputs > 0) == (y > 0.5)
        each = right if self.target == "bits" else (outputs - y) ** 2
        return float(np.average(each[..., 0], weights=weights[0] if weights else None))

    def reaches(self, score):
        """Whether a score reaches the mark."""
        return score <= self.mark if self.measure == ERROR else score >= self.mark


def streamed(make, *settings, batch_size=16, **more):
    """A task whose batches are all fresh."""

    def data(seed):
        parts = ((seed, batch_size), (seed + LOOK, 64), (seed + TEST, 400))
        train, look, test = (make(*settings, batch_size=n, seed=s) for s, n in parts)
        return train, next(iter(look)), next(iter(test))

    return Task(data, **more)


def stored(load, batch_size, **more):
    """A task with a fixed set of sequences to train on; `load()` has its three parts."""
    load = functools.cache(load)

    def data(seed):
        train, look, test = load()
        options = tf.data.Options()
        options.autotune.enabled = False  # or the end of `fit` may wait for its thread
        order = tf.data.Dataset.range(len(train[0])).shuffle(len(train[0]), seed).repeat()
        parts = [tf.constant(part) for part in train]
        batches = order.batch(batch_size).map(
            lambda index: tuple(tf.gather(part, index) for part in parts)
        )
        return batches.with_options(options), look, test

    return Task(data, **more)


def generated(make, counts=(2048, 200, 1000)):
    """`load` of a task whose parts are `make(random, count)`."""
    return lambda: tuple(
        make(np.random.default_rng(part), count) for part, count in enumerate(counts)
    )


def first_symbol(random, count, length=120, classes=4, symbols=12):
    """The first symbol says which class it is; noise follows. As in notebook 3."""
    x = random.integers(1 + classes, symbols, (count, length), dtype=np.int32)
    y = random.integers(0, classes, count, dtype=np.int32)
    x[:, 0] = 1 + y
    return x, y


def periodic(random, count, length=100, period=30, noise=0.5):
    """A random pattern repeats, in noise: what comes next, without the noise?"""
    pattern = random.standard_normal((count, period, 1))
    clean = np.tile(pattern, (1, length // period + 2, 1))[:, : length + 1]
    x = clean[:, :-1] + noise * random.standard_normal((count, length, 1))
    known = np.broadcast_to(np.arange(1, length + 1) >= period, (count, length))
    return x.astype("float32"), clean[:, 1:].astype("float32"), known.astype("float32")


def chaotic(random, count, length=100, ahead=10, step=0.05):
    """x of the Lorenz system at each step: what will it be in half a unit of time?"""

    def slope(s):
        x, y, z = s.T
        return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], axis=1)

    def runge_kutta(s):
        a = slope(s)
        b = slope(s + step / 2 * a)
        c = slope(s + step / 2 * b)
        return s + step / 6 * (a + 2 * b + 2 * c + slope(s + step * c))

    state, steps = random.standard_normal((count, 3)) + [0, 0, 25], []
    for _ in range(200 + length + ahead):
        state = runge_kutta(state)
        steps.append(state[:, :1] / 8)  # x has a standard deviation of about 8
    series = np.stack(steps[200:], axis=1).astype("float32")
    return series[:, :length], series[:, ahead:]


def _bits(make, delay, length=100, **more):
    return streamed(make, delay, length, length=length, target="bits", mark=0.95, **more)


_class = {"target": "class", "every_step": False}

TASKS = {
    "copy-40": _bits(tasks.delayed_copy, 40),
    "copy-80": _bits(tasks.delayed_copy, 80),
    "xor-40": _bits(tasks.temporal_xor, 40),
    "xor-60": _bits(tasks.temporal_xor, 60),
    "adding": streamed(
        tasks.adding_problem,
        100,
        batch_size=32,
        length=100,
        target="numbers",
        mark=0.05,
        channels=2,
        every_step=False,
    ),
    "first-symbol": stored(
        generated(first_symbol),
        batch_size=64,
        length=120,
        channels=0,
        outputs=4,
        mark=0.95,
        updates=400,
        **_class,
    ),
    "digits": stored(
        tasks.sequential_digits, batch_size=32, length=64, outputs=10, mark=0.9, **_class
    ),
    "mnist1d": stored(
        tasks.mnist1d, batch_size=64, length=40, outputs=10, mark=0.7, **_class
    ),
    "periodic": stored(
        generated(periodic), batch_size=32, length=100, target="numbers", mark=0.25
    ),
    "chaotic": stored(
        generated(chaotic), batch_size=32, length=100, target="numbers", mark=0.15
    ),
    "copy-40-long": _bits(tasks.delayed_copy, 40, 300, updates=500),
    "copy-76-long": _bits(tasks.delayed_copy, 76, 300),
    "xor-60-long": _bits(tasks.temporal_xor, 60, 300, updates=3000),
    "xor-70-long": _bits(tasks.temporal_xor, 70, 300, updates=3000),
}
