"""Trains one network on one task, flossed or not."""

import csv
import dataclasses
import json
import pathlib
import time
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from keras_floss import FlossingModel
from keras_floss.callbacks import AdaptiveFlossing, PeriodicFlossing, Preflossing
from keras_floss.experiments.configuration import Configuration
from keras_floss.experiments.network import RECURRENT, build
from keras_floss.experiments.output import Path
from keras_floss.experiments.problems import TASKS
from keras_floss_command.knobs import UPDATES_PER_REPORT

# Streams of data that no run trains on.
FLOSSING_STREAM, SPECTRUM_STREAM, TEST_STREAM = 1, 2, 3


@dataclasses.dataclass
class Result:
    """What came out of a run.

    Attributes:
        configuration: what was run.
        model: the trained model, as `build` makes it.
        history: lists `update`, `loss` and `accuracy` or `error`; each entry is a mean
            over the updates since the one before, each measured on its batch before the
            update. Of a task with a test set, `test_loss` and `test_accuracy`, too.
        flossing: lists by flossing step, or empty.
        spectra: exponents at stages of the run, `{stage: (units,) array}`; of a network
            without a recurrent layer none.
        seconds: of wall time.
    """

    configuration: Configuration
    model: keras.Model
    history: dict[str, list[float]]
    flossing: dict[str, list[float]]
    spectra: dict[str, np.ndarray]
    seconds: float

    @property
    def measure(self) -> float:
        """The last accuracy of the run, or error."""
        return self.history[TASKS[self.configuration.task].measure][-1]

    @property
    def flossing_steps(self) -> int:
        """How many flossing steps there were, in all."""
        return len(self.flossing.get("flossing_loss", []))

    def save(self, folder: Path) -> None:
        """Writes `configuration.json`, `history.csv`, `flossing.csv` and the weights."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "configuration.json").write_text(
            json.dumps(self.configuration.as_dict(), indent=2) + "\n"
        )
        _write_csv(folder / "history.csv", self.history)
        if self.flossing:
            steps = range(1, 1 + len(self.flossing["flossing_loss"]))
            _write_csv(folder / "flossing.csv", {"step": steps, **self.flossing})
        self.model.save_weights(folder / "model.weights.h5")


def flossing_callbacks(configuration: Configuration) -> list[keras.callbacks.Callback]:
    """The callbacks that floss as the configuration says."""
    c = configuration
    if c.flossing in ("none", "joint"):
        return []
    data = c.data(FLOSSING_STREAM)
    # No race: what is called flossed is flossed.
    callbacks: list[keras.callbacks.Callback] = [
        Preflossing(data, c.flossing_steps, race_updates=0)
    ]
    if c.flossing == "periodic":
        callbacks.append(
            PeriodicFlossing(data, c.flossing_every, c.flossing_steps, c.flossing_times)
        )
    if c.flossing == "adaptive":
        callbacks.append(
            AdaptiveFlossing(
                data,
                c.adaptive_every,
                c.adaptive_tolerance,
                c.adaptive_steps,
                c.adaptive_until,
            )
        )
    return callbacks


def run(
    configuration: Configuration,
    *,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> Result:
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
    task, settings = TASKS[configuration.task], configuration.settings
    sample = next(iter(configuration.data(SPECTRUM_STREAM)))[0][:4]
    steps = task.steps(configuration)
    warmup = settings.warmup_of(settings.steps_of(steps))
    spectra: dict[str, np.ndarray] = {}

    def look(stage: str) -> None:
        if stage not in spectra and isinstance(model, FlossingModel):
            spectrum = model.lyapunov_spectrum(sample, warmup=warmup)[RECURRENT]
            spectra[stage] = np.mean(spectrum, axis=0)

    looks = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: look("initial"),
        # After every callback's `on_epoch_begin`, where flossing is done.
        on_train_batch_begin=lambda batch, logs: look("flossed"),
        on_train_end=lambda logs: look("trained"),
    )
    flossing = flossing_callbacks(configuration)
    steps = min(configuration.updates, UPDATES_PER_REPORT)
    fit = model.fit(
        configuration.data(),
        epochs=configuration.updates // steps,
        steps_per_epoch=steps,
        shuffle=False,
        validation_data=task.test() if task.test else None,
        validation_batch_size=configuration.batch_size,
        callbacks=[*flossing, looks, *callbacks],
        verbose=verbose,
    )
    history = {
        "update": [steps * (epoch + 1) for epoch in fit.epoch],
        **{name.replace("val_", "test_"): values for name, values in fit.history.items()},
    }
    passes = keras.tree.flatten([callback.history for callback in flossing])
    flossed = {
        name: [value for each in passes for value in each.history[name]]
        for name in (passes[0].history if passes else ())
    }
    return Result(
        configuration, model, history, flossed, spectra, time.perf_counter() - start
    )


def _write_csv(path: pathlib.Path, columns: Mapping[str, Iterable[float]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
