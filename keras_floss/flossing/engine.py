"""The flossing engine: flosses any Keras model, and reads its spectra.

A flossing step is the `train_step` of a small Keras model over the same weights, driven
by its own `fit`. Data, progress bar, callbacks, XLA and distribution come from Keras.
"""

import dataclasses
import functools
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_floss.flossing.arrival import arrival, task_batch
from keras_floss.flossing.bar import FlossingBar
from keras_floss.flossing.compilation import choose_jit_compile
from keras_floss.flossing.drive import limit_drive
from keras_floss.flossing.ending import Ending
from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.flossing_optimizer import (
    Settling,
    check_flossing_optimizer,
    default_optimizer,
    suit,
)
from keras_floss.flossing.flossing_pass import RecurrentLayers, flossed_layers
from keras_floss.flossing.gates import any_gated, open_gates
from keras_floss.flossing.history import StepHistory
from keras_floss.flossing.program import FlossingProgram
from keras_floss.flossing.snapshot import Snapshot, moved
from keras_floss.flossing.source import endless, from_batch, inputs_of, peek
from keras_floss.flossing.task_watch import TaskWatch
from keras_floss.flossing.update import iterations
from keras_floss.flow.checkpoints import settle_memory_limit
from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.fixed_batch import build, fixed_batch
from keras_floss.recurrent.recording import recurrent_layers
from keras_floss.utils.checks import check_dense, check_positive_int
from keras_floss.utils.recent import Recent
from keras_floss.utils.typing import Arrays, Data, Optimizer, Verbose

# Programs that an engine keeps. Each takes about 12 MiB, and seconds to compile; a model
# that is flossed by callbacks and watched by a monitor has three or four.
PROGRAMS = 8


class Flosser:
    """Flosses a Keras model with an optimiser of its own.

    Args:
        model: any `keras.Model` with a recurrent layer.
        optimizer: a `keras.optimizers.Optimizer`, or a name. Defaults to None, the
            `default_optimizer`, whose learning rate is set in every pass.
        automatic: whether the model was compiled with `jit_compile="auto"`, so that XLA
            may compile flossing steps on a CPU, where Keras never has it.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Optimizer | None = None,
        automatic: bool = False,
    ) -> None:
        self.model = model
        self.settles = optimizer is None
        self.automatic = automatic
        with model.distribute_strategy.scope():  # where it may be made
            self.optimizer = check_flossing_optimizer(optimizer or default_optimizer())
        self._programs = Recent(PROGRAMS)
        self._claimed = 0
        # Two threads cannot share a program, whose starting frame is a variable.
        self._lock = threading.RLock()

    @property
    def iterations(self) -> int:
        """The number of flossing steps taken, without skipped ones."""
        return iterations(self.optimizer)

    def begin_fit(self) -> None:
        """Tells that a `fit` begins, before anything is restored."""
        self._claimed = self.iterations

    def claim(self, steps: int) -> int:
        """Claims the next `steps` steps of this `fit`.

        Returns how many are left to do: some may have been done before the `fit` was
        interrupted and restored.
        """
        done = min(max(self.iterations - self._claimed, 0), steps)
        self._claimed += steps
        return steps - done

    def fulfil(self) -> None:
        """Counts all steps that are claimed as done, where flossing ended before them.

        The count is part of the optimiser, and so of what is saved: a run that is killed
        from here on is not flossed again.
        """
        if self.iterations < self._claimed:
            self.optimizer.iterations.assign(self._claimed)

    def floss(
        self,
        x: Data,
        steps: int,
        flossing: Flossing,
        *,
        start: int = 0,
        total: int | None = None,
        brake: bool = False,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: Verbose = "auto",
    ) -> StepHistory:
        """Takes `steps` flossing steps at most; see `FlossingModel.floss`.

        Args:
            flossing: a `Flossing`.
            start: number of batches of `x` to pass over first.
            total: number of steps of which these are the last, where the others were done
                before an interruption. None: it is flossed during training, in small steps.
            brake: whether to look at the task's gradient, where `x` has targets.
            callbacks: Keras callbacks of the flossing steps.
        """
        check_positive_int("steps", steps)
        with self._lock:
            layers = flossed_layers(self.model, flossing)
            if self.settles:
                suit(self.optimizer, gated=any_gated(layers.values()))
            program, source, first = self._prepare(
                x, start, flossing, self.model.steps_per_execution, steps
            )
            self.build_optimizer()
            history = StepHistory(program.layer_names)
            task = (x if isinstance(x, tuple) else first) if brake else None
            time = _longest(inputs_of(first))
            before, begun = Snapshot(moved(layers)), self.iterations
            if total is not None:
                window = flossing.steps_of(time)
                history.opened = open_gates(layers, flossing.opened_of, window)
            trained = iterations(getattr(self.model, "optimizer", None))
            if total == steps and flossing.input_drive and not trained:
                history.scaled = limit_drive(
                    self.model, inputs_of(first), layers, flossing.input_drive
                )
            ending = self._ending(history, flossing, layers, before, time, task)
            ending.whole = total in (None, steps)
            settling = Settling(layers, total, (total or steps) - steps)
            bar = [FlossingBar(history, verbose)] if verbose else []
            try:
                program.fit(
                    source,
                    steps_per_epoch=steps,
                    shuffle=False,
                    verbose=0,
                    callbacks=[
                        history,
                        ending,
                        *callbacks,
                        *[settling] * self.settles,
                        *bar,
                    ],
                )
            except Exception:
                if self.iterations == begun:  # no step was taken
                    before.restore()
                raise
            if verbose:
                print(history.message)
        return history

    def task(self, x: Data, flossing: Flossing) -> TaskWatch:
        """What watches the task, on a batch of `x` if that has targets."""
        first = x if isinstance(x, tuple) else peek(endless(x, 1))[0]
        layers = flossed_layers(self.model, flossing)
        return TaskWatch(self.model, task_batch(self.model, first), layers)

    def look(self, x: Data, flossing: Flossing, *, start: int = 0) -> dict[str, float]:
        """What a flossing step on batch `start` of `x` would log, as a dict of floats."""
        with self._lock:
            program, source, _ = self._prepare(x, start, flossing, steps_per_execution=1)
            logs = program.evaluate(source, steps=1, verbose=0, return_dict=True)
        return {name: float(value) for name, value in logs.items()}

    def spectrum(
        self,
        x: Data,
        flossing: Flossing,
        *,
        batch_size: int | None = None,
        steps: int | None = None,
        verbose: Verbose = 0,
    ) -> dict[str, np.ndarray]:
        """Exponents by layer; see `FlossingModel.lyapunov_spectrum`."""
        flossing = dataclasses.replace(flossing, batch_size=None)
        x = inputs_of(x) if isinstance(x, tuple) else x
        if isinstance(x, tf.data.Dataset):
            if steps is None and x.cardinality() == tf.data.INFINITE_CARDINALITY:
                raise ValueError("The dataset has no end: pass the number of `steps`.")
            x = x if steps is None else x.take(steps)
        elif steps is not None:
            raise ValueError("`steps` is the number of batches of a `tf.data.Dataset`.")
        known = isinstance(x, tf.data.Dataset | keras.utils.PyDataset)
        if not known:
            check_dense(x)
        first = (
            inputs_of(peek(x)[0]) if known else keras.tree.map_structure(lambda a: a[:1], x)
        )
        with self._lock:
            program = self._program(flossing, first, self.model.steps_per_execution)
            if not known:
                batch_size = batch_size or fixed_batch(self.model)[0]
            return program.predict(x, batch_size=batch_size, verbose=verbose)

    def build_optimizer(self) -> None:
        """Builds the optimiser on the weights of all recurrent layers, frozen or not."""
        if not self.optimizer.built:
            variables = [
                weight
                for layer in recurrent_layers(self.model).values()
                for weight in getattr(layer.cell, "weights", [])
                if keras.backend.is_float_dtype(weight.dtype)
            ]
            with self.model.distribute_strategy.scope():
                self.optimizer.build(variables)

    def _prepare(
        self,
        x: Data,
        start: int,
        flossing: Flossing,
        steps_per_execution: int,
        steps: int = 1,
    ) -> tuple[FlossingProgram, Any, Any]:
        """The program of these settings for a pass of so many steps, its data, a batch."""
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        # A batch of arrays is divided between the replicas.
        batch_size = flossing.batch_size and flossing.batch_size * replicas
        first, source = peek(endless(x, batch_size, flossing.seed))
        program = self._program(flossing, inputs_of(first), steps_per_execution, steps)
        return program, from_batch(source, start), first

    def _ending(
        self,
        history: StepHistory,
        flossing: Flossing,
        layers: RecurrentLayers,
        before: Snapshot,
        time: int,
        task: Any,
    ) -> Ending:
        """What ends a pass; it looks at a batch of the task, if that is not None."""
        cells = {name: CellMap(layer.cell, name) for name, layer in layers.items()}
        tolerances = {name: flossing.tolerance_of(x, time) for name, x in cells.items()}
        batch = None if task is None else task_batch(self.model, task)
        # Of a gated layer the units that are not flossed shall forget: that the gradient
        # arrives in one direction is not enough.
        arrives = None
        if batch is not None and not any_gated(layers.values()):
            arrives = functools.partial(arrival, self.model, batch, list(layers))
        return Ending(history, tolerances, before, arrives)

    def _program(
        self, flossing: Flossing, batch: Arrays, steps_per_execution: int, steps: int = 1
    ) -> FlossingProgram:
        """The Keras model that takes flossing steps with these settings."""
        shapes = [np.shape(a) for a in keras.tree.flatten(batch)]
        if any(0 in shape for shape in shapes):
            raise ValueError(
                "There must be one sequence or more, of one time step or more. Received "
                f"inputs of shapes {shapes}."
            )
        if not self.model.built:
            first = keras.tree.map_structure(lambda a: tf.convert_to_tensor(a[:1]), batch)
            build(self.model, first)
        layers = flossed_layers(self.model, flossing)
        window = flossing.steps_of(_longest(batch))
        jit_compile = choose_jit_compile(self.model, layers, steps * window, self.automatic)
        seed, limit = flossing.seed, settle_memory_limit(flossing.memory_limit)
        # What is not traced is not part of what a program is kept for.
        flossing = dataclasses.replace(
            flossing,
            seed=None,
            memory_limit=limit,
            tolerance="auto",
            open_gates=0.0,
            input_drive=0.0,
        )
        key = (flossing, steps_per_execution, jit_compile)
        program = self._programs.get(key)
        if program is None or not program.answers():
            with self.model.distribute_strategy.scope():
                program = FlossingProgram(self.model, layers, flossing)
                program.compile(
                    self.optimizer,
                    jit_compile=jit_compile,
                    steps_per_execution=steps_per_execution,
                    auto_scale_loss=False,
                )
            self._programs.keep(key, program)
        program.set_seed(seed or 0)
        return program


def _longest(inputs: Arrays) -> int:
    """The steps of the longest input, if its second axis is time."""
    shapes = [np.shape(a) for a in keras.tree.flatten(inputs)]
    return max((shape[1] for shape in shapes if len(shape) > 1), default=0)
