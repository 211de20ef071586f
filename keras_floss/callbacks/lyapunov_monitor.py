"""Exponents and gradients in the logs of training."""

import importlib.util
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_floss import plots
from keras_floss.callbacks.epoch_clock import EpochClock
from keras_floss.callbacks.flossing_callback import flossing_for
from keras_floss.callbacks.fresh_start import FreshStart
from keras_floss.callbacks.monitor_pictures import pictures
from keras_floss.callbacks.update_clock import make_clock
from keras_floss.diagnostics.gradient_norms import gradient_norms
from keras_floss.diagnostics.task_gradient import in_inputs, task_gradient
from keras_floss.flossing.engine import Flosser
from keras_floss.flossing.flossing import UNSET, Flossing, override, takes_flossing
from keras_floss.recurrent.fixed_batch import fixed_batch
from keras_floss.utils.checks import check_dense, check_positive_int
from keras_floss.utils.typing import Data, Every, Logs


class LyapunovMonitor(FreshStart):
    """Watches the Lyapunov exponents of the recurrent layers during training.

    It looks at the same few sequences each time, before the first update and at the end
    of every epoch, or every so many updates. At the end of an epoch the newest values go
    into the `logs`, where History, TensorBoard, CSVLogger, EarlyStopping (with a `mode`)
    and KerasTuner find them: put it before those in the list of callbacks. Nothing is
    trained.

    - `lambda_1`, `lambda_k`: the first and the last exponent, mean over the sequences; per
      time step, natural logarithm.
    - `flossing_loss`: mean of `(λ_i − target)²`, ∞ where no direction is left.
    - `lost_directions`: number of exponents that are −∞ or NaN, mean over the sequences.
    - `gradient_first`, `gradient_last`, where there are targets: the norm of the gradient
      of the task's loss in the inputs of the layer at the first and at the last valid
      step (`gradient_norms` has it in the states, at every step). The gradient vanishes
      on its way where the first is much smaller.

    It counts updates or epochs as `PeriodicFlossing` does: from one `fit` of a model to
    the next, and from 0, with an empty `history`, for another model.

    With several recurrent layers all of these are there by layer, as `<layer>/lambda_1`
    and so on, and `flossing_loss` is their mean too.

    Args:
        x: what to look at: `(x, y)`, `(x, y, sample_weight)` or `x` alone, arrays or
            tensors, or a batched `tf.data.Dataset` or `keras.utils.PyDataset`, of which
            the first batch is kept.
        every: `"epoch"`, or a number of updates. Defaults to `"epoch"`.
        flossing: a `keras_floss.Flossing`: `window`, `k`, `target`, `warmup`, `qr_interval`
            (at `"auto"` there is a QR at every step), `layers` and `seed` of what is looked
            at. Its `batch_size` is that of flossing steps and has no say here. Defaults to
            None: that of a `FlossingModel`, `Flossing()` of another model.
        batch_size: number of sequences, the first ones. Defaults to None: 16, or fewer
            where the model takes fewer at a time (`stateful=True`, or inputs of a given
            batch).
        log_dir: folder for TensorBoard, which gets a histogram of the exponents of each
            layer by time, and, where matplotlib is installed, pictures at the end of
            every epoch: the spectrum now and at the first look, the exponents by time,
            and the norm of the gradient in the states by time step. Every model that the
            monitor or a copy of it is given writes there. Needs the package tensorboard.
            Defaults to None, none.

    Attributes:
        history: dict of lists, an entry for each look: `time` (updates or epochs done),
            the numbers above, and `<layer>/exponents`, arrays of shape `(k,)`.

    Raises:
        ValueError: a setting out of its range; when training begins, a model without a
            recurrent layer, or one that is not compiled.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    flossing = keras_floss.Flossing(k=8, warmup=16)
    monitor = keras_floss.callbacks.LyapunovMonitor((x_train, y_train), flossing=flossing)
    history = model.fit(x_train, y_train, epochs=10, callbacks=[monitor])
    history.history["lambda_1"]  # a number for each epoch
    ```
    """

    shared = ("data", "_writer")

    @takes_flossing
    def __init__(
        self,
        x: Data,
        every: Every = "epoch",
        *,
        flossing: Flossing | None = None,
        batch_size: int | None = None,
        log_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if batch_size is not None:
            check_positive_int("batch_size", batch_size)
        self.every = every
        self._given = flossing
        self.flossing = self._settings(None)
        self._cut = batch_size is None
        self.data = _first_batch(x, batch_size or 16)
        self._writer: Any = _writer(log_dir) if log_dir else None
        self.begin()

    def begin(self) -> None:
        self._epochs, self._clock = EpochClock(), make_clock(self.every)
        self.history: dict[str, list[Any]] = {}
        self._flosser: Any = None  # a Flosser, once there is a model

    def _settings(self, model: keras.Model | None) -> Flossing:
        """What is looked at: all sequences that are kept, with fixed QRs."""
        flossing = flossing_for(model, self._given, batch_size=None)
        every = 1 if flossing.qr_interval == "auto" else UNSET
        return override(flossing, qr_interval=every)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.flossing = self._settings(model)
        size, _ = fixed_batch(model)
        if self._cut and size is not None:
            self.data = keras.tree.map_structure(lambda a: a[:size], self.data)
        self._clock.set_model(model)
        if self._flosser is None:
            self._flosser = Flosser(model)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epochs.on_epoch_begin(epoch)
        self._clock.on_epoch_begin(epoch)

    # The first look comes after the `on_epoch_begin` of every callback, in which the model
    # may be flossed.
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        number = self._clock.on_train_batch_begin(batch)
        if number is not None:
            self.look(number * int(self.every))
        elif not self.history:
            self.look(self._clock.done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epochs.on_epoch_end()
        self._clock.on_epoch_end()
        if self.every == "epoch":
            self.look(self._clock.done)
        if self._writer is not None and plots.has_matplotlib():
            self._draw(self._epochs.done)
        if logs is not None:
            newest = {name: values[-1] for name, values in self.history.items()}
            logs |= {n: v for n, v in newest.items() if n != "time" and np.isscalar(v)}

    def look(self, time: int) -> None:
        """Adds an entry to `history`; `time` is what is written beside it."""
        values = {"time": time, **self._exponents(), **self._input_gradient()}
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        if self._writer is not None:
            with self._writer.as_default(step=time):
                for name, value in values.items():
                    if not np.isscalar(value):
                        tf.summary.histogram(name, value[np.isfinite(value)])
            self._writer.flush()

    def _draw(self, epoch: int) -> None:
        """Writes the pictures of an epoch."""
        gradients = {}
        if len(self.data) > 1:
            gradients = gradient_norms(self.model, *self.data, layers=self.flossing.layers)
        time = "epochs" if self.every == "epoch" else "updates"
        with self._writer.as_default(step=epoch):
            for name, figure in pictures(self.history, time, gradients).items():
                tf.summary.image(name, tf.io.decode_png(plots.png(figure))[None])
        self._writer.flush()

    def _exponents(self) -> dict[str, Any]:
        inputs = self.data[0]
        # tf.data would make one tensor of a list.
        inputs = tuple(inputs) if isinstance(inputs, list) else inputs
        source = tf.data.Dataset.from_tensors((inputs,))
        values = self._flosser.look(source, self.flossing)
        del values["flossing_skipped"]
        for name, exponents in self._flosser.spectrum(source, self.flossing).items():
            # A sequence that is too short to have a counted step is NaN.
            used = exponents[~np.isnan(exponents).all(axis=-1)]
            values[f"{name}/exponents"] = (used if len(used) else exponents).mean(axis=0)
        return values

    def _input_gradient(self) -> dict[str, float]:
        if len(self.data) == 1:
            return {}
        ends = task_gradient(in_inputs, self.model, self.data, self.flossing.layers)
        values = {}
        for name, (first, last) in ends.items():
            prefix = f"{name}/" if len(ends) > 1 else ""
            values[f"{prefix}gradient_first"] = float(first)
            values[f"{prefix}gradient_last"] = float(last)
        return values


def _first_batch(x: Data, batch_size: int) -> tuple:
    """The first sequences of `x` as tensors: `(x,)`, `(x, y)` or `(x, y, weights)`."""
    if isinstance(x, keras.utils.PyDataset):
        x = x[0]
    elif isinstance(x, tf.data.Dataset):
        x = next(iter(x), ())
    elif hasattr(x, "__next__"):
        raise ValueError(
            "`x` must be arrays, a `tf.data.Dataset` or a PyDataset: a generator has no "
            f"batch to keep. Received: {x!r}"
        )
    parts = keras.utils.unpack_x_y_sample_weight(x) if isinstance(x, tuple) and x else (x,)
    while len(parts) > 1 and parts[-1] is None:
        parts = parts[:-1]
    check_dense(parts)
    flat = keras.tree.flatten(parts)
    if not flat or not all(len(a) for a in flat):
        raise ValueError("There is nothing to look at: `x` has no sequence.")
    return keras.tree.map_structure(lambda a: tf.convert_to_tensor(a[:batch_size]), parts)


def _writer(log_dir: str | os.PathLike[str]) -> tf.summary.SummaryWriter:
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "`log_dir` is for TensorBoard, which is not installed: pip install tensorboard"
        )
    return tf.summary.create_file_writer(str(log_dir))
