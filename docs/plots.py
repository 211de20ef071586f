"""Draws plots.png, the pictures of `keras_floss.plots` side by side.

    python docs/plots.py

A RateRNN on a delayed copy, before and after flossing: a few minutes on two cores.
"""

import pathlib

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_floss
from keras_floss import plots
from keras_floss.experiments import Configuration, run

DELAYS = (10, 20, 30)
SEEDS = 3
HORIZONS = range(5, 101, 5)


def network(delay=20):
    """A network and data."""
    keras.utils.set_random_seed(0)
    train = keras_floss.tasks.delayed_copy(delay, length=100)
    inputs = keras.Input((100, 1))
    x = keras_floss.layers.RateRNN(64, return_sequences=True, name="rnn")(inputs)
    model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(x))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    adam = keras.optimizers.Adam(1e-3)
    model.compile("adam", loss, flossing_optimizer=adam)
    return model, train


def look(model, batch):
    """Spectrum, gradient norms and condition number."""
    x, y, weights = batch
    rnn = model.model.get_layer("rnn")
    return {
        "spectra": model.lyapunov_spectrum(x.numpy(), warmup=16)["rnn"].mean(axis=0),
        # The gradient of the last step alone, which has the whole way to go.
        "norms": keras_floss.gradient_norms(model, x, y, last_only(weights))["rnn"].norms,
        "condition": (HORIZONS, keras_floss.condition_number(rnn, x[:4], HORIZONS, k=32)),
    }


def last_only(weights):
    """Sample weights of 1 at the last step and 0 before."""
    result = np.zeros(weights.shape, "float32")
    result[:, -1] = 1.0
    return result


def sweep():
    """Learning curves at the last delay, and accuracy by delay."""
    curves, by_delay = {}, {}
    for label, flossing in (("flossed", "pre"), ("plain", "none")):
        last = np.zeros((SEEDS, len(DELAYS)))
        for column, delay in enumerate(DELAYS):
            runs = [
                run(
                    Configuration.of(
                        "delayed-copy",
                        flossing=flossing,
                        delay=delay,
                        length=100,
                        units=64,
                        k=60,
                        updates=400,
                        flossing_steps=150,
                        seed=seed,
                    ),
                    verbose=0,
                )
                for seed in range(SEEDS)
            ]
            last[:, column] = [each.measure for each in runs]
            updates = runs[0].history["update"]
            curves[label] = updates, [each.history["accuracy"] for each in runs]
        by_delay[label] = DELAYS, last
    return curves, by_delay


def main():
    model, train = network()
    batch = next(iter(train))
    looks = {"before": look(model, batch)}
    monitor, steps = [], 10
    for _ in range(15):
        monitor.append(model.lyapunov_spectrum(batch[0].numpy(), warmup=16)["rnn"].mean(0))
        model.floss(train, steps=steps, window=55, k=60, verbose=0)
    looks["flossed"] = look(model, batch)
    curves, by_delay = sweep()

    figure = Figure(figsize=(15, 8), layout="constrained")
    (a, b, c), (d, e, f) = figure.subplots(2, 3)
    plots.spectra({n: x["spectra"] for n, x in looks.items()}, flossed=60, ax=a)
    plots.exponents_over_time(steps * np.arange(15), np.array(monitor), ax=b)
    plots.gradient_norms({n: x["norms"] for n, x in looks.items()}, ax=c)
    plots.condition_numbers({n: x["condition"] for n, x in looks.items()}, ax=d)
    plots.learning_curves(curves, chance=0.5, ax=e)
    plots.accuracy_by_delay(by_delay, chance=0.5, ax=f)
    titles = (
        "spectra",
        "exponents_over_time",
        "gradient_norms",
        "condition_numbers",
        "learning_curves",
        "accuracy_by_delay",
    )
    for axis, title in zip((a, b, c, d, e, f), titles, strict=True):
        axis.set_title(title, family="monospace")
    figure.savefig(pathlib.Path(__file__).with_name("plots.png"), dpi=100)


if __name__ == "__main__":
    main()
