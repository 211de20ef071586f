"""The main job: a network learns a delay that it could not learn before."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from keras_floss import plots
from keras_floss.experiments.configuration import Configuration
from keras_floss.experiments.output import Path, aligned, check_folder
from keras_floss.experiments.run import Result, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "keras-floss-demo.png"
LEARNED, AT_LEAST, AT_MOST = 0.95, 400, 1000


def demo(
    output: Path = ".", seed: int = 0, verbose: int | str = "auto"
) -> tuple[Result, Result]:
    """Trains a network on a delayed copy as it is, and flossed; prints and draws both.

    Both arms start from the same weights, see the same sequences and get the same number
    of updates: until the flossed one passes an accuracy of 0.95, at least 400, at most
    1000.

    Args:
        output: the folder that the picture goes to.
        seed: of weights and data.
        verbose: as in `fit`.

    Returns:
        `(plain, flossed)`, two `Result`s.
    """
    plots.figure()  # raises where there is no matplotlib
    configuration = Configuration(flossing="pre", updates=AT_MOST, seed=seed)
    check_folder(output, PICTURE)
    print(
        f"Delayed copy: at each step, say the bit that came {configuration.delay} steps "
        f"ago. RateRNN, {configuration.units} units, sequences of {configuration.length} "
        "steps, fresh in every batch; chance is an accuracy of 0.5.\n\n"
        f"1. {configuration.flossing_steps} flossing steps, then training:",
        flush=True,
    )
    flossed = run(configuration, callbacks=[StopWhenLearned()], verbose=verbose)
    updates = int(flossed.history["update"][-1])
    print(f"\n2. The same network, not flossed, {updates} updates:", flush=True)
    configuration = dataclasses.replace(configuration, flossing="none", updates=updates)
    plain = run(configuration, verbose=verbose)
    print(f"\n{table(plain, flossed)}\n")
    path = pathlib.Path(output) / PICTURE
    draw(plain, flossed).savefig(path, dpi=150)
    print(f"Picture: {path}")
    return plain, flossed


class StopWhenLearned(keras.callbacks.Callback):
    """Ends training once the task is learned."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        updates = (epoch + 1) * self.params["steps"]
        if updates >= AT_LEAST and (logs or {})["accuracy"] > LEARNED:
            self.model.stop_training = True


def table(plain: Result, flossed: Result) -> str:
    """Both arms as lines of text."""
    c = flossed.configuration
    k = number_of(c)
    rows = [
        {
            "": name,
            "accuracy": f"{result.measure:.3f}",
            "updates": str(result.history["update"][-1]),
            "λ_1": f"{result.spectra['flossed'][0]:+.3f}",
            f"λ_{k}": f"{result.spectra['flossed'][k - 1]:+.3f}",
            "seconds": f"{result.seconds:.0f}",
        }
        for name, result in (("plain", plain), ("flossed", flossed))
    ]
    return f"{aligned(rows)}\n(λ: Lyapunov exponents per time step, when training begins)"


def number_of(configuration: Configuration) -> int:
    """The number of exponents that are flossed."""
    k = configuration.settings.k
    return k if isinstance(k, int) else configuration.units


def draw(plain: Result, flossed: Result) -> Figure:
    """The picture: accuracy over updates, and the spectrum before and after flossing."""
    c = flossed.configuration
    figure, (left, right) = plots.figure(columns=2)
    curves = {
        name: (result.history["update"], result.history["accuracy"])
        for name, result in (("flossed", flossed), ("plain", plain))
    }
    plots.learning_curves(curves, chance=0.5, ax=left)
    left.set_title(f"Delayed copy, delay {c.delay}")
    spectra = {
        "flossed": flossed.spectra["flossed"],
        "before flossing": flossed.spectra["initial"],
    }
    plots.spectra(spectra, flossed=number_of(c), ax=right)
    right.set_title("Why: Lyapunov exponents when training begins")
    return figure
