"""Trains one network on one task with one method."""

import csv
import dataclasses
import json
import pathlib
import time

import keras
import numpy as np

from keras_floss.callbacks import AdaptiveFlossing, PeriodicFlossing, Preflossing
from keras_floss.experiments.configuration import (
    METHODS,
    UPDATES_PER_REPORT,
    Configuration,
)
from keras_floss.experiments.network import RECURRENT, build
from keras_floss.experiments.problems import TASKS

# What `Result.save` writes.
FILES = ("configuration.json", "history.csv", "flossing.csv", "model.weights.h5")
# Streams of data that no run trains on.
FLOSSING_STREAM, SPECTRUM_STREAM = 1, 2


@dataclasses.dataclass
class Result:
    """What came out of a run.

    Attributes:
        configuration: what was run.
        model: the trained `FlossingModel`.
        history: lists `update`, `loss` and `accuracy` or `error`; each entry is a mean
            over the updates since the one before, each measured on its batch before the
            update. Of a task with a test set, `test_loss` and `test_accuracy`, too.
        flossing: lists by flossing step, or empty.
        spectra: exponents at stages of the run, `{stage: (units,) array}`.
        seconds: of wall time.
    """

    configuration: Configuration
    model: keras.Model
    history: dict
    flossing: dict
    spectra: dict
    seconds: float

    @property
    def measure(self):
        """The last accuracy of the run, or error."""
        return self.history[TASKS[self.configuration.task].measure][-1]

    def save(self, folder):
        """Writes `configuration.json`, `history.csv`, `flossing.csv` and the weights."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(self.configuration), indent=2)
        (folder / "configuration.json").write_text(text + "\n")
        _write_csv(folder / "history.csv", self.history)
        if self.flossing:
            steps = {"step": range(1, 1 + len(self.flossing["flossing_loss"]))}
            _write_csv(folder / "flossing.csv", {**steps, **self.flossing})
        self.model.save_weights(folder / "model.weights.h5")


def flossing_callbacks(configuration):
    """The callbacks of the configuration's method."""
    c, when = configuration, METHODS[configuration.method].flossing
    if when in ("none", "joint"):
        return []
    data, settings = c.data(FLOSSING_STREAM), c.flossing()
    callbacks = [Preflossing(data, c.flossing_steps, **settings)]
    if when == "periodic":
        schedule = (c.flossing_every, c.flossing_steps, c.flossing_times)
        callbacks.append(PeriodicFlossing(data, *schedule, **settings))
    if when == "adaptive":
        steps, until = c.adaptive_steps, c.adaptive_until
        schedule = (c.adaptive_every, c.adaptive_tolerance, steps, until)
        callbacks.append(AdaptiveFlossing(data, *schedule, **settings))
    return callbacks


def run(configuration, *, callbacks=(), verbose="auto"):
    """Builds, flosses and trains a network.

    Args:
        configuration: a `Configuration`.
        callbacks: further Keras callbacks; an epoch is 50 updates.
        verbose: as in `fit`.

    Returns:
        A `Result`.
    """
    start = time.perf_counter()
    model = build(configuration)
    test = TASKS[configuration.task].test
    sample = next(iter(configuration.data(SPECTRUM_STREAM)))[0][:4]
    spectra = Spectra(sample, configuration.warmup)
    flossing = flossing_callbacks(configuration)
    steps = min(configuration.updates, UPDATES_PER_REPORT)
    fit = model.fit(
        configuration.data(),
        epochs=configuration.updates // steps,
        steps_per_epoch=steps,
        shuffle=False,
        validation_data=test() if test else None,
        validation_batch_size=configuration.batch_size,
        callbacks=[*flossing, spectra, *callbacks],
        verbose=verbose,
    )
    history = {
        "update": [steps * (epoch + 1) for epoch in fit.epoch],
        **{name.replace("val_", "test_"): values for name, values in fit.history.items()},
    }
    passes = keras.tree.flatten([callback.history for callback in flossing])
    return Result(
        configuration,
        model,
        history,
        _joined([each.history for each in passes]),
        spectra.spectra,
        time.perf_counter() - start,
    )


class Spectra(keras.callbacks.Callback):
    """Records the spectrum before and after flossing, and after training."""

    def __init__(self, inputs, warmup):
        super().__init__()
        self.inputs = inputs
        self.warmup = warmup
        self.spectra = {}

    def _record(self, stage):
        spectrum = self.model.lyapunov_spectrum(self.inputs, warmup=self.warmup)
        self.spectra[stage] = np.mean(spectrum[RECURRENT], axis=0)

    def on_train_begin(self, logs=None):
        self._record("initial")

    def on_train_batch_begin(self, batch, logs=None):
        # After every callback's `on_epoch_begin`, where flossing is done.
        if "flossed" not in self.spectra:
            self._record("flossed")

    def on_train_end(self, logs=None):
        self._record("trained")


def _joined(histories):
    """One history of several, one after the other."""
    names = histories[0] if histories else ()
    return {name: [x for h in histories for x in h[name]] for name in names}


def _write_csv(path, columns):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
