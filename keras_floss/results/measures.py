"""What is measured in a run of a figure: each takes a configuration, and returns numbers.

The numbers are lists and dicts as JSON has them, so that they come back from other machines
and are kept in a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_floss import gradient_norms, jacobian_singular_values, recurrent_inputs
from keras_floss.experiments.configuration import Configuration
from keras_floss.experiments.network import RECURRENT, build
from keras_floss.experiments.problems import TASKS
from keras_floss.experiments.run import (
    FLOSSING_STREAM,
    SPECTRUM_STREAM,
    TEST_STREAM,
    Result,
    run,
)

# Sequences that exponents and singular values are a mean of, first steps that are not
# counted, and steps of a long-term Jacobian.
SEQUENCES, WARMUP = 4, 20
HORIZONS = (10, 25, 50, 100, 200, 400)
# Of a transfer: how many times as long, on how many batches.
TIMES, TEST_BATCHES = (1, 2, 5, 10), 10


def training(configuration: Configuration) -> dict[str, Any]:
    """What a run of the command `train` comes to."""
    result = run(configuration, verbose=0)
    measure = TASKS[configuration.task].measure
    scores = result.history[measure]
    return {
        **_learned(result),
        "best": _short(min(scores) if measure == "error" else max(scores)),
        "flossing_steps": result.flossing_steps,
        "exponents": {
            stage: _short([spectrum[0], spectrum[-1]])
            for stage, spectrum in result.spectra.items()
        },
    }


def transfer(configuration: Configuration) -> dict[str, Any]:
    """A run, and how well the trained network does at longer delays."""
    result = run(configuration, verbose=0)
    delays = [times * configuration.delay for times in TIMES]
    found = []
    for delay in delays:
        longer = dataclasses.replace(configuration, delay=delay)
        logs = result.model.evaluate(
            longer.data(TEST_STREAM), steps=TEST_BATCHES, verbose=0, return_dict=True
        )
        found.append(logs[TASKS[configuration.task].measure])
    return {
        **_learned(result),
        "transfer_delay": delays,
        "transfer": _short(found),
    }


class GradientLook(keras.callbacks.Callback):
    """How much of the task's gradient reaches the first step, epoch by epoch.

    Attributes:
        log_ratio: list of log10 of the norm at the first step over that at the last.
        cell_share: list of the share that comes through c, of an LSTM: the mean over steps.
    """

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        x, y, *weights = next(iter(configuration.data(SPECTRUM_STREAM)))
        self.batch = [x[:SEQUENCES], y[:SEQUENCES], *(w[:SEQUENCES] for w in weights)]
        self.log_ratio: list[float] = []
        self.cell_share: list[float] = []
        self._begun = False

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # After every callback's `on_epoch_begin`, where flossing is done.
        if not self._begun:
            self._begun = True
            self._look()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._look()

    def _look(self) -> None:
        found = gradient_norms(self.model, *self.batch)[RECURRENT]
        with np.errstate(divide="ignore"):
            logs = np.log10(found.norms)
        self.log_ratio.append(float(logs[0] - logs[-1]))
        if found.cell_share is not None:
            self.cell_share.append(float(np.nanmean(found.cell_share)))


def gradients(configuration: Configuration) -> dict[str, Any]:
    """A run, and how the gradient of its task comes back through time."""
    look = GradientLook(configuration)
    result = run(configuration, callbacks=[look], verbose=0)
    return {
        **_learned(result),
        "update": [0, *result.history["update"]],
        "log_ratio": _short(look.log_ratio),
        "cell_share": _short(look.cell_share),
    }


def flossing(configuration: Configuration) -> dict[str, Any]:
    """A network that is flossed and not trained: its exponents and singular values."""
    model = build(configuration)
    x = next(iter(configuration.data(SPECTRUM_STREAM)))[0][:SEQUENCES]

    def look() -> dict[str, Any]:
        rnn = recurrent_inputs(model, x)[RECURRENT]._asdict()
        steps = x.shape[1] - WARMUP
        horizons = [h for h in HORIZONS if h <= steps] or [steps]
        values = jacobian_singular_values(**rnn, horizon=horizons, warmup=WARMUP)
        spectrum = model.lyapunov_spectrum(x, warmup=WARMUP)[RECURRENT]
        return {
            "exponents": _short(np.mean(spectrum, axis=0)),
            "horizons": horizons,
            "log_singular_values": _short(np.mean(values, axis=0)),
        }

    before = look()
    data = configuration.data(FLOSSING_STREAM).map(lambda x, *_: x)
    history = model.floss(data, configuration.flossing_steps, verbose=0)
    return {
        "step": history.epoch,
        "lambda_1": _short(history.history["lambda_1"]),
        "flossing_loss": _short(history.history["flossing_loss"]),
        "before": before,
        "after": look(),
    }


MEASURES: dict[str, Callable[[Configuration], dict[str, Any]]] = {
    "training": training,
    "transfer": transfer,
    "gradients": gradients,
    "flossing": flossing,
}


def _learned(result: Result) -> dict[str, Any]:
    """The score of a run, at the end and over the updates."""
    measure = TASKS[result.configuration.task].measure
    return {
        "score": _short(result.measure),
        "update": result.history["update"],
        measure: _short(result.history[measure]),
    }


def _short(values: Any) -> Any:
    """Numbers of five digits, as lists, so that a file stays small and can be read."""
    if np.ndim(values):
        return [_short(value) for value in values]
    return float(f"{float(values):.5g}")
