"""The progress bar of flossing."""

from collections.abc import Iterator

import keras

from keras_floss.flossing.history import StepHistory
from keras_floss.utils.typing import Logs, Verbose


def progress_bar(target: int, verbose: Verbose, unit: str) -> keras.utils.Progbar:
    """Keras's progress bar, with the `verbose` of `fit`."""
    verbose = 1 if verbose == "auto" else int(verbose)
    return keras.utils.Progbar(target, verbose=verbose, unit_name=unit)


class FlossingBar(keras.callbacks.Callback):
    """Keras's progress bar, which counts flossing steps and shows how far they came.

    It shows the flossing loss and the first exponent of each layer; skipped steps and lost
    directions where there are any.

    Args:
        history: the `StepHistory` of the same steps, which comes before it.
        verbose: that of `fit`.
    """

    def __init__(self, history: StepHistory, verbose: Verbose) -> None:
        super().__init__()
        self._history = history
        self._verbose = verbose

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._bar = progress_bar(self.params["steps"], self._verbose, "flossing step")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._update(finalize=False)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._update(finalize=True)

    def _update(self, finalize):
        # At each step the value of that step, not the mean: it is their fall that counts.
        shown = dict(self._shown())
        self._bar.stateful_metrics.update(shown)
        self._bar.update(self._history.epoch[-1], list(shown.items()), finalize)

    def _shown(self) -> Iterator[tuple[str, float]]:
        for name, values in self._history.history.items():
            kind = name.rpartition("/")[2]
            always = name == "flossing_loss" or kind == "lambda_1"
            if always or kind in ("flossing_skipped", "lost_directions") and any(values):
                yield name, values[-1]
