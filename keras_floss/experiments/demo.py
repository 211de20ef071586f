"""The main job: a network learns a delay that it could not learn before."""

import dataclasses
import pathlib

import keras

from keras_floss import plots
from keras_floss.experiments.configuration import Configuration
from keras_floss.experiments.output import check_folder
from keras_floss.experiments.run import run

PICTURE = "keras-floss-demo.png"
LEARNED, AT_LEAST, AT_MOST = 0.95, 400, 1000


def demo(output=".", seed=0, verbose="auto"):
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
    plots.require_matplotlib()
    configuration = Configuration(method="pre", updates=AT_MOST, seed=seed)
    check_folder(output, PICTURE)
    print(
        f"Delayed copy: at each step, say the bit that came {configuration.delay} steps "
        f"ago. RateRNN, {configuration.units} units, sequences of {configuration.length} "
        "steps, fresh in every batch; chance is an accuracy of 0.5.\n\n"
        f"1. {configuration.flossing_steps} flossing steps, then training:",
        flush=True,
    )
    flossed = run(configuration, callbacks=[StopWhenLearned()], verbose=verbose)
    updates = flossed.history["update"][-1]
    print(f"\n2. The same network, not flossed, {updates} updates:", flush=True)
    plain = dataclasses.replace(configuration, method="none", updates=updates)
    plain = run(plain, verbose=verbose)
    print(f"\n{table(plain, flossed)}\n")
    path = pathlib.Path(output) / PICTURE
    draw(plain, flossed).savefig(path, dpi=150)
    print(f"Picture: {path}")
    return plain, flossed


class StopWhenLearned(keras.callbacks.Callback):
    """Ends training once the task is learned."""

    def on_epoch_end(self, epoch, logs=None):
        updates = (epoch + 1) * self.params["steps"]
        if updates >= AT_LEAST and logs["accuracy"] > LEARNED:
            self.model.stop_training = True


def table(plain, flossed):
    """Both arms as lines of text."""
    rows = [("", "accuracy", "updates", "λ_1", "λ_75", "seconds")]
    for name, result in (("plain", plain), ("flossed", flossed)):
        spectrum = result.spectra["flossed"]
        last = spectrum[result.configuration.k - 1]
        rows.append(
            (
                name,
                f"{result.measure:.3f}",
                str(result.history["update"][-1]),
                f"{spectrum[0]:+.3f}",
                f"{last:+.3f}",
                f"{result.seconds:.0f}",
            )
        )
    lines = ["".join(cell.rjust(10) for cell in row) for row in rows]
    note = "(λ: Lyapunov exponents per time step, when training begins)"
    return "\n".join([*lines, note])


def draw(plain, flossed):
    """The picture: accuracy over updates, and the spectrum before and after flossing."""
    figure, (left, right) = plots.figure(columns=2)
    delay, k = plain.configuration.delay, plain.configuration.k
    plots.learning_curves(
        {
            "flossed": (flossed.history["update"], flossed.history["accuracy"]),
            "plain": (plain.history["update"], plain.history["accuracy"]),
        },
        chance=0.5,
        ax=left,
    )
    left.set_title(f"Delayed copy, delay {delay}")
    spectra = {
        "flossed": flossed.spectra["flossed"],
        "before flossing": flossed.spectra["initial"],
    }
    plots.spectra(spectra, flossed=k, ax=right)
    right.set_title("Why: Lyapunov exponents when training begins")
    return figure
