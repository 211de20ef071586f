"""The main job: a network learns a delay at which Keras's layers stay at chance."""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_floss import lyapunov_exponents, plots, tasks
from keras_floss.callbacks import Preflossing
from keras_floss.experiments.output import Path, aligned, check_folder
from keras_floss_command.files import DEMO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DELAY, LENGTH, UNITS, UPDATES = 80, 100, 64, 600
LOOK_EVERY = 50  # updates
FRESH = 25  # batches that the accuracy is of
# Streams of data of which no network learns: for the accuracy, and for the exponents.
TEST, SPECTRUM = 1_000_003, 2_000_006
FLOSSED = "SimpleRNN, flossed"
# Keras's layers, as Keras makes them; the flossed one first, since it is drawn first.
ARMS = {
    FLOSSED: keras.layers.SimpleRNN,
    "SimpleRNN": keras.layers.SimpleRNN,
    "LSTM": keras.layers.LSTM,
}


@dataclasses.dataclass
class Arm:
    """What came out of a network.

    Attributes:
        updates, accuracies: lists; each accuracy is a mean over the updates since the one
            before, each measured on its batch before the update.
        accuracy: on fresh data, after the last update.
        flossing_seconds, training_seconds: of wall time, with compilation.
        spectra: `{"before flossing": ..., "flossed": ...}`, arrays of exponents, or empty.
    """

    updates: list[int]
    accuracies: list[float]
    accuracy: float
    flossing_seconds: float
    training_seconds: float
    spectra: dict[str, np.ndarray]


class Watch(keras.callbacks.Callback):
    """Measures what happens between the beginning of `fit` and its first update.

    Args:
        x: inputs along which the exponents of the first layer are measured.
    """

    def __init__(self, x: Any) -> None:
        super().__init__()
        self.x = x
        self.spectra: dict[str, np.ndarray] = {}
        self.seconds = self.own_seconds = 0.0

    def _look(self, stage: str) -> None:
        start = time.perf_counter()
        if len(self.x):
            exponents = lyapunov_exponents(self.model.layers[1], self.x, warmup=20)
            self.spectra[stage] = np.mean(exponents, axis=0)
        self._now = time.perf_counter()
        self.own_seconds += self._now - start

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._look("before flossing")
        self._begun = False

    # Preflossing flosses when the first epoch begins.
    def on_train_batch_begin(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        if not self._begun:
            self._begun, self.seconds = True, time.perf_counter() - self._now
            self._look("flossed")


def train(name: str, seed: int, updates: int = UPDATES, units: int = UNITS) -> Arm:
    """Builds and trains one of the ARMS, flossed first if its name says so."""
    keras.utils.set_random_seed(seed)
    data = tasks.delayed_copy(DELAY, LENGTH, seed=seed)
    inputs = keras.Input((LENGTH, 1))
    states = ARMS[name](units, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(states))
    model.compile(
        keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )
    flossed = name == FLOSSED
    sample = next(iter(tasks.delayed_copy(DELAY, LENGTH, seed=seed + SPECTRUM)))[0]
    watch = Watch(sample[: 4 if flossed else 0])
    flossing = [Preflossing(data, verbose=0)] if flossed else []
    steps = min(updates, LOOK_EVERY)
    start = time.perf_counter()
    fit = model.fit(
        data,
        epochs=updates // steps,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[*flossing, watch],
    )
    seconds = time.perf_counter() - start
    fresh = tasks.delayed_copy(DELAY, LENGTH, seed=seed + TEST)
    return Arm(
        [steps * (epoch + 1) for epoch in fit.epoch],
        fit.history["accuracy"],
        model.evaluate(fresh, steps=FRESH, verbose=0, return_dict=True)["accuracy"],
        watch.seconds if flossed else 0.0,
        seconds - watch.own_seconds - watch.seconds,
        watch.spectra if flossed else {},
    )


def demo(
    output: Path = ".", seeds: int = 3, updates: int = UPDATES, units: int = UNITS
) -> dict[str, list[Arm]]:
    """Trains Keras's SimpleRNN and LSTM as they are, and a SimpleRNN that is flossed.

    The task is a delayed copy, delay 80. All have the same updates and see the same
    sequences; both SimpleRNNs start from the same weights. Prints a table and draws a
    picture.

    Args:
        output: the folder that the picture goes to.
        seeds: the number of seeds of weights and data, from 0 on.
        updates: of the weights on the task, a multiple of 50, or less than that.
        units: of each layer.

    Returns:
        `{name: Arms, one for each seed}`.
    """
    plots.figure()  # raises where there is no matplotlib
    check_folder(output, DEMO)
    print(
        f"Delayed copy: at each step, say the bit that came {DELAY} steps ago. Keras's "
        f"layers of {units} units, sequences of {LENGTH} steps, fresh in every batch, "
        f"{updates} updates; chance is an accuracy of 0.5.\n",
        flush=True,
    )
    arms: dict[str, list[Arm]] = {name: [] for name in ARMS}
    for seed in range(seeds):
        for name, done in arms.items():
            print(f"{name}, seed {seed}: ", end="", flush=True)
            arm = train(name, seed, updates, units)
            flossing = f"{arm.flossing_seconds:.0f} s of flossing, "
            print(
                f"accuracy {arm.accuracy:.3f} after {updates} updates, "
                f"{flossing if name == FLOSSED else ''}"
                f"{arm.training_seconds:.0f} s of training",
                flush=True,
            )
            done.append(arm)
    print(f"\n{table(arms)}\n")
    path = pathlib.Path(output) / DEMO
    draw(arms).savefig(path, dpi=150)
    print(f"Picture: {path}")
    return arms


def median(runs: Sequence[Arm], name: str) -> float:
    """The median of an attribute."""
    return statistics.median(getattr(arm, name) for arm in runs)


def table(arms: Mapping[str, Sequence[Arm]]) -> str:
    """All arms as lines of text."""
    rows = [
        {
            "": name,
            **{f"seed {seed}": f"{arm.accuracy:.3f}" for seed, arm in enumerate(runs)},
            "s flossing": f"{median(runs, 'flossing_seconds'):.0f}",
            "s training": f"{median(runs, 'training_seconds'):.0f}",
        }
        for name, runs in arms.items()
    ]
    return (
        f"{aligned(rows)}\n(accuracy on fresh data after {arms[FLOSSED][0].updates[-1]} "
        "updates; medians of seconds of wall time, with compilation)"
    )


def draw(arms: Mapping[str, Sequence[Arm]]) -> Figure:
    """The picture: accuracy over updates, and the spectrum before and after flossing."""
    figure, (left, right) = plots.figure(columns=2)
    curves = {}
    for name, runs in arms.items():
        flossing, training = (
            f"{median(runs, what):.0f} s"
            for what in ("flossing_seconds", "training_seconds")
        )
        seconds = f"{flossing} + {training}" if name == FLOSSED else training
        accuracies = [arm.accuracies for arm in runs]
        curves[f"{name} ({seconds})"] = runs[0].updates, accuracies
    plots.learning_curves(curves, chance=0.5, ax=left)
    left.set_title(f"Delayed copy, {DELAY} steps back (time: flossing + training)")
    spectra = {
        stage: np.mean([arm.spectra[stage] for arm in arms[FLOSSED]], axis=0)
        for stage in ("flossed", "before flossing")
    }
    plots.spectra(spectra, ax=right)
    right.set_title("Why: Lyapunov exponents of the SimpleRNN")
    return figure
