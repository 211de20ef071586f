"""Flossing before training."""

import warnings
import weakref
from typing import Any, Literal

import keras
import numpy as np

from keras_floss.callbacks.flossing_callback import FlossingCallback
from keras_floss.callbacks.race import race
from keras_floss.callbacks.race_terms import (
    batches_of,
    trains_as_keras,
    updates_of,
)
from keras_floss.flossing.arrival import task_of
from keras_floss.flossing.ending import Ended
from keras_floss.flossing.flossing import UNSET, Flossing, Unset
from keras_floss.flossing.flossing_optimizer import STEPS
from keras_floss.flossing.flossing_pass import flossed_layers
from keras_floss.flossing.history import StepHistory
from keras_floss.flossing.snapshot import Snapshot, moved
from keras_floss.flossing.update import iterations
from keras_floss.flow.frame import Orthonormalization
from keras_floss.recurrent.output_map import Seen
from keras_floss.utils.checks import check_positive_int
from keras_floss.utils.private_keras import epoch_of_backup
from keras_floss.utils.typing import (
    Data,
    Layers,
    Logs,
    Number,
    NumberByLayer,
    Optimizer,
    Target,
    Verbose,
)

# Model -> the callbacks that are done with it.
_done_with: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Preflossing(FlossingCallback):
    """Flosses the recurrent layers of a model before its first update.

    `Preflossing(train)`, with the data of `fit` and nothing else, is the use to begin with.
    It flosses until the layers are flossed, 100 steps at most; where the task's gradient
    arrives as it is it leaves them alone. An LSTM or a GRU that is as Keras makes it has
    its gates opened first (`Flossing.open_gates`), and the input kernel of a layer with a
    tanh is turned down where inputs saturate it (`Flossing.input_drive`). Last, the model
    is trained for a few updates as it is now and as it was, and if it is clearly worse
    flossed, as with tasks that want no long memory, the weights are put back. It says what
    it did, on a line of its own and in `history.message`.

    Works with a `FlossingModel` and with any other `keras.Model`. It flosses every model
    that it is given to, once: when it is given to `fit` again with the same model, it does
    nothing, whatever was done to the weights; a new callback flosses them again. Nor does
    it when training goes on from a later epoch than the first, by `initial_epoch` or
    because `keras.callbacks.BackupAndRestore` found an interrupted run: the weights are
    then those of a network that was flossed.

    A `FlossingModel` is saved by the `keras.callbacks.BackupAndRestore` of the same `fit`
    while it is flossed and after, so that a run that is killed goes on where it was, in
    the middle of preflossing too. A plain Keras model does not carry the state of the
    flossing optimiser: if it is killed before its first epoch ends, it is flossed anew.
    A run that goes on in the middle of preflossing has no race after it.

    A kill while Keras writes a backup can leave a weights file that cannot be read: with
    `BackupAndRestore(..., double_checkpoint=True)` the one before it takes its place.
    Where there is no weights file at all, Keras goes on at a later epoch from fresh
    weights: they are flossed then, with a warning.

    Args:
        x: inputs to floss on: an array or tensor, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a generator, with or without targets.
        steps: number of flossing steps at most. Defaults to 100.
        flossing: a `keras_floss.Flossing`, what is flossed and how. Defaults to None: that
            of a `FlossingModel`, `Flossing()` of another model.
        brake: whether to look at the task, where `x` has targets, at the first steps: it
            flosses nothing where the task's gradient arrives already, and stops where it
            arrives undiminished. Not for LSTM and GRU. Defaults to True.
        race_updates: number of updates, at most, that the model is trained for in either
            way, to see which learns the task sooner. Weights, optimiser and random seeds
            are then what they were. 0: there is no race. Nor is there one without targets,
            of a generator, with `brake=False`, and for a model with a `train_step` of its
            own or a `strength` of joint flossing. Defaults to `"auto"`, a fifth of the
            updates of `fit`, 200 at most, and none where that is less than 25.
        save_freq: number of flossing steps from one backup to the next. Defaults to 20.
        optimizer: the flossing optimiser, or its name, for a plain Keras model. A
            `FlossingModel` brings its own. It is neither that of the model's `compile`, nor
            one that keeps weights or sums of gradients (`Ftrl`, `ScheduleFreeAdamW`,
            `use_ema`, `gradient_accumulation_steps`). It serves one model; for any further
            one a copy with its settings does. Defaults to None, that of
            `FlossingModel.compile`, whose learning rate falls over `steps`.
        verbose: that of `fit`. Defaults to `"auto"`, the verbosity of the `fit` that the
            callback is given to.
        batch_size, window, k, target, warmup, qr_interval: fields of `flossing`
            that are given one by one, and replace those of the object.
        of, damping, tolerance, open_gates, input_drive, layers, seed, memory_limit,
            orthonormalization: further fields, likewise.

    Attributes:
        history: a `keras.callbacks.History` with an entry for each flossing step that it
            took in this process on the newest model, or None; `FlossingModel.floss` lists
            its keys. Its `ended` says why flossing ended, in a word: `"flossed"`,
            `"not needed"`, `"gradient arrives"`, `"directions lost"`, `"steps"`, or
            `"slower"` where the race was lost; its `message` in a sentence.

    Raises:
        ValueError: a setting out of its range; when training begins, a model without a
            recurrent layer that can be flossed.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    preflossing = keras_floss.callbacks.Preflossing((x_train, y_train))
    model.fit(x_train, y_train, epochs=10, callbacks=[preflossing])
    preflossing.history.message  # what was done, in a sentence
    preflossing.history.history["flossing_loss"]  # numbers, falling
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """

    def __init__(
        self,
        x: Data,
        steps: int = STEPS,
        *,
        flossing: Flossing | None = None,
        brake: bool = True,
        race_updates: int | Literal["auto"] = "auto",
        save_freq: int = 20,
        optimizer: Optimizer | None = None,
        verbose: Verbose = "auto",
        batch_size: int | None | Unset = UNSET,
        window: Number | Unset = UNSET,
        k: NumberByLayer | Unset = UNSET,
        target: Target | Unset = UNSET,
        warmup: int | Literal["auto"] | Unset = UNSET,
        qr_interval: int | Literal["auto"] | Unset = UNSET,
        of: Seen | Literal["auto"] | Unset = UNSET,
        damping: float | Unset = UNSET,
        tolerance: float | Literal["auto"] | Unset = UNSET,
        open_gates: float | Literal["auto"] | Unset = UNSET,
        input_drive: float | Unset = UNSET,
        layers: Layers | None | Unset = UNSET,
        seed: int | None | Unset = UNSET,
        memory_limit: float | None | Unset = UNSET,
        orthonormalization: Orthonormalization | Unset = UNSET,
    ) -> None:
        super().__init__(
            x,
            steps,
            flossing,
            optimizer,
            verbose,
            batch_size=batch_size,
            window=window,
            k=k,
            target=target,
            warmup=warmup,
            qr_interval=qr_interval,
            of=of,
            damping=damping,
            tolerance=tolerance,
            open_gates=open_gates,
            input_drive=input_drive,
            layers=layers,
            seed=seed,
            memory_limit=memory_limit,
            orthonormalization=orthonormalization,
        )
        check_positive_int("save_freq", save_freq)
        if race_updates not in ("auto", 0):
            check_positive_int("race_updates", race_updates)
        self.brake = brake
        self.race_updates = race_updates
        self.save_freq = save_freq

    def begin(self) -> None:
        super().begin()
        self.history: StepHistory | None = None
        self._fresh: Any = None

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._done = self in _done_with.setdefault(model, weakref.WeakSet())
        if not self._done:
            # Before any callback has restored anything.
            self._fresh = iterations(model.optimizer), model.get_weights()

    # Not in `on_train_begin`: there other callbacks may still restore weights.
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if self._done:
            return
        left = 0 if self._past_first_update(epoch) else self.flosser.claim(self.steps)
        if left:
            back_up = BackUp(self.model, epoch, self.save_freq)
            before = Snapshot(moved(flossed_layers(self.model, self.flossing)))
            self.history = self.floss(
                left, total=self.steps, brake=self.brake, callbacks=[back_up]
            )
            # Of a pass that went on after an interruption `before` is the middle.
            if self.brake and left == self.steps:
                self._race(self.history, before, epoch)
            self.flosser.fulfil()
            back_up.save()
        _done_with[self.model].add(self)
        self._done, self._fresh = True, None

    def _race(self, history: StepHistory, before: Snapshot, epoch: int) -> None:
        """Puts the weights back to what they were before, if the task wants no flossing."""
        updates = self.race_updates
        if updates == "auto":
            updates = updates_of(self.params, epoch)
        put_back = history.ended in (Ended.NOT_NEEDED, Ended.LOST)
        if put_back or not updates or not trains_as_keras(self.model):
            return
        batches = batches_of(self.x, self.params)
        if batches is None or task_of(self.model, batches.element_spec) is None:
            return
        found = race(self.model, batches, before, updates, self.verbosity)
        if found.lost:
            history.ended = Ended.SLOWER.value
            history.message = f"Not flossed: it would learn later. {found.message}"
        else:
            history.message += f" {found.message}"
        if self.verbosity:
            print(history.message if found.lost else found.message)

    def _past_first_update(self, epoch: int) -> bool:
        """Whether the weights are those of a network that was trained."""
        updates, weights = self._fresh
        now = iterations(self.model.optimizer)
        if epoch == 0:
            # Weights came from a backup whose epoch was lost, or not yet written.
            return now > 0 and now != updates
        # Set where BackupAndRestore, and not `initial_epoch`, says where to go on.
        by_backup = epoch_of_backup(self.model)
        # The weights too: a model may be trained by optimisers of its own.
        fresh = now == 0 and all(map(np.array_equal, weights, self.model.get_weights()))
        if by_backup and fresh:
            warnings.warn(
                f"`keras.callbacks.BackupAndRestore` goes on at epoch {epoch}, but there "
                "were no weights in its backup: the model is a fresh one, and is flossed.",
                stacklevel=2,
            )
        return not (by_backup and fresh)


class BackUp(keras.callbacks.Callback):
    """Saves a FlossingModel every so many flossing steps, by its BackupAndRestore."""

    def __init__(self, model: keras.Model, epoch: int, save_freq: int) -> None:
        super().__init__()
        self.save = lambda: model.back_up(epoch) if hasattr(model, "back_up") else None
        self._save_freq = save_freq

    def _times(self) -> int:
        return iterations(self.model.optimizer) // self._save_freq

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._saved = self._times()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._times() > self._saved:
            self._saved = self._times()
            self.save()
