"""The model with a flossing optimiser."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras
import numpy as np
from typing_extensions import Unpack

from keras_floss.flossing.engine import Flosser
from keras_floss.flossing.flossing import (
    UNSET,
    Flossing,
    Unset,
    override,
    takes_flossing,
)
from keras_floss.flossing.flossing_optimizer import STEPS
from keras_floss.flow.frame import Orthonormalization
from keras_floss.models.joint_flossing import JointFlossing
from keras_floss.models.own_steps import check_no_own_steps
from keras_floss.models.saved_model import SavedModel
from keras_floss.models.wrapping_model import WrappingModel
from keras_floss.recurrent.output_map import Seen
from keras_floss.utils.private_keras import (
    build_shapes,
    set_build_shapes,
)
from keras_floss.utils.typing import (
    Data,
    LayerKeywords,
    Layers,
    Number,
    NumberByLayer,
    Optimizer,
    Target,
    Verbose,
)


@keras.saving.register_keras_serializable(package="keras_floss")
class FlossingModel(JointFlossing, SavedModel, WrappingModel):
    """A Keras model that can floss its recurrent layers.

    It wraps a model, or is subclassed like `keras.Model`, and trains, evaluates, predicts
    and saves like any Keras model. It adds a second optimiser to `compile`, and the
    methods `floss` and `lyapunov_spectrum`. The callbacks of `keras_floss.callbacks`
    floss it before and during `fit`.

    Its weights are those of the wrapped model, in the same order: `get_weights` and
    `set_weights` go between the two.

    Where the wrapped model is functional, or sequential and built, it has its `inputs` and
    `outputs`, `input_shape` and `output_shape`, and `output_names`, by which losses may go.
    `get_layer`, `summary` and `export` are those of any wrapped model. Its `layers` are
    that model alone, by which Keras names weights in files, and `keras.utils.plot_model`
    draws it as a box, as it does all models that are not functional: give it `.model`.

    Args:
        model: a `keras.Model` to wrap, kept as `.model`; or the inputs of a functional
            model, with `outputs`. None in a subclass that has its own `call`. It is
            compiled and trained as this model, whatever it was compiled with before; one
            with a `train_step` of its own, or another method of training, is an error.
        outputs: the outputs of a functional model.
        inputs: the inputs of a functional model, as a keyword in place of `model`.
        flossing: a `keras_floss.Flossing`, what is flossed and how: by `floss`, by joint
            flossing, and by the callbacks that are not given another one. Saved with the
            model. Defaults to None, `Flossing()`.
        strength: adds `strength · flossing loss` to the loss of every training step:
            joint flossing. Defaults to None, none.
        name: name of the model. Defaults to that of the wrapped one.

    Attributes:
        flossing: the `keras_floss.Flossing` of the model, which cannot be changed.
        strength: variable, of joint flossing; a callback may `assign` to it. At 0 the
            penalty is not computed. None without joint flossing. The logs of training
            then have `flossing_loss`, and `flossing_skipped`, the number of steps of the
            epoch whose penalty was not finite (also where no direction is left in a
            layer) and was left out. `flossing_loss` is the mean over the other steps, NaN
            where there are none.

    Examples:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    outputs = keras.layers.Dense(1)(x)

    model = keras_floss.FlossingModel(keras.Model(inputs, outputs))
    model = keras_floss.FlossingModel(inputs, outputs)  # the same, for short


    class MyModel(keras_floss.FlossingModel):
        def __init__(self):
            super().__init__()
            self.rnn = keras.layers.LSTM(64)
            self.head = keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.head(self.rnn(inputs, training=training))


    model.compile("adam", "mse")
    model.floss(x_train)
    model.fit(x_train, y_train, epochs=10)
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
    """

    def __new__(cls, *args, **kwargs):
        # `keras.Model.__new__` drops the arguments, which Keras makes the config of.
        return keras.Layer.__new__(cls, *args, **kwargs)

    @takes_flossing
    def __init__(
        self,
        model: keras.Model | keras.KerasTensor | None = None,
        outputs: keras.KerasTensor | None = None,
        *,
        inputs: keras.KerasTensor | None = None,
        flossing: Flossing | None = None,
        strength: float | None = None,
        **kwargs: Unpack[LayerKeywords],
    ) -> None:
        if inputs is not None:
            model = inputs
        if outputs is not None:
            # Never to `super().__init__`: Keras would rewrite the bases of this class for
            # the whole process (keras#17270).
            model = keras.Model(model, outputs)
        elif model is not None and not isinstance(model, keras.Model):
            raise ValueError(
                "`FlossingModel` takes a `keras.Model`, or inputs and outputs. "
                f"Received: {model!r}"
            )
        if model is None and type(self).call is WrappingModel.call:
            raise ValueError(
                "`FlossingModel` needs a model to wrap: FlossingModel(model), "
                "FlossingModel(inputs, outputs), or a subclass with a `call` of its own."
            )
        if model is not None:
            check_no_own_steps(model, self, FlossingModel)
            # Inputs are cast by the model itself, which knows what they are to be.
            kwargs = {"dtype": model.dtype_policy, "autocast": False, **kwargs}
        kwargs["name"] = kwargs.get("name") or getattr(model, "name", None)
        super().__init__(**kwargs)
        self.model: Any = model
        self.flossing_optimizer = None
        self._flosser: Callable[[], Flosser] | None = None
        self._backups: Callable[[], tuple] = lambda: ()
        self._flossing = override(flossing)
        self._set_joint_flossing(strength, self._flossing)
        if model is not None and model.built:
            self.built = True
            # Keras notes these shapes when it builds a model, and writers of other formats,
            # TensorFlow Lite's for one, look for them. A functional model has none noted.
            shapes = build_shapes(model)
            if shapes and None in shapes.values():
                shapes = {"input_shape": model.input_shape}
            set_build_shapes(self, shapes)

    @property
    def flossing(self) -> Flossing:
        """What is flossed and how, where nothing else is said."""
        return self._flossing

    def compile(
        self, *args: Any, flossing_optimizer: Optimizer | None = None, **kwargs: Any
    ) -> None:
        """That of `keras.Model`, with an optimiser for flossing.

        Args:
            *args, **kwargs: those of `keras.Model.compile`.
            flossing_optimizer: a `keras.optimizers.Optimizer` or a name. It is separate
                from the task's and keeps its state from one flossing to the next. It
                cannot be `Ftrl` or `ScheduleFreeAdamW`, nor have `use_ema` or
                `gradient_accumulation_steps`.
                Defaults to None, `keras.optimizers.Lamb` with a `global_clipnorm` of 0.1,
                whose learning rate falls from 0.03 to 0.0006 over the steps of `floss` and
                of `Preflossing`, as a cosine does, and is 0.0006 when the model is flossed
                in the middle of training; with an LSTM in it, half of that. Layers without
                gates that are far from flossed have up to three times as much, the less
                the nearer they are. Where the loss rises past 1.5 times its least and 0.02,
                the weights go back to where it was least, and the rate is halved.
        """
        super().compile(*args, **kwargs)
        # Keras keeps what "auto" came to, and not that it was "auto".
        automatic = not args[7:] and kwargs.get("jit_compile", "auto") == "auto"
        flosser = Flosser(self, flossing_optimizer, automatic)
        if self._penalty is not None:
            self._penalty().jit_compile = "auto" if automatic else False
        self.flossing_optimizer = flosser.optimizer
        if self.flossing_optimizer is self.optimizer:
            raise ValueError(
                "`optimizer` and `flossing_optimizer` must be two optimisers: each keeps "
                "state of its own."
            )
        # In a lambda: Keras would track the engine, which refers back to this model, as a
        # part of it.
        self._flosser = lambda: flosser
        if self.built:
            flosser.build_optimizer()

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`."""
        arguments = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        callbacks = arguments.get("callbacks")
        # Take a `keras.callbacks.CallbackList` apart.
        callbacks = keras.tree.flatten(getattr(callbacks, "callbacks", callbacks))
        backups = tuple(
            c for c in callbacks if isinstance(c, keras.callbacks.BackupAndRestore)
        )
        self._backups = lambda: backups
        inherited = type(self).train_step is JointFlossing.train_step
        if self.compiled and self.built and inherited:
            # If the first update builds it, Keras traces the training step twice.
            self._build_optimizer()
        try:
            return super().fit(*args, **kwargs)
        finally:
            self._backups = lambda: ()

    def back_up(self, epoch: int) -> None:
        """Has the BackupAndRestore of the `fit` under way save, to go on at `epoch`."""
        if self._backups():
            # An optimiser that is built on one side only is skipped on loading.
            self._build_optimizer()
        for backup in self._backups():
            save_freq = backup.save_freq
            if save_freq is not False:
                # Whatever its frequency, it saves at the end of the epoch before.
                backup.save_freq = "epoch"
                backup.on_epoch_end(epoch - 1)
                backup.save_freq = save_freq

    def _build_optimizer(self):
        """Builds the optimiser of the task, which Keras leaves to the first update."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def floss(
        self,
        x: Data,
        steps: int = STEPS,
        *,
        flossing: Flossing | None = None,
        brake: bool = True,
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
    ) -> keras.callbacks.History:
        """Moves the Lyapunov exponents of the recurrent layers towards `target`.

        Each step takes a few sequences, computes the exponents of every recurrent layer
        on its own inputs (dropout off, from the layer's own initial state), and takes one
        step of the flossing optimiser on

        `mean over layers, their calls, sequences and i ≤ k of (λ_i − target)²`

        It moves the trainable weights of the recurrent layers (kernel, recurrent kernel,
        bias), but not their initial state, and no other layer. An LSTM or a GRU that is as
        Keras makes it has its gates opened first (`Flossing.open_gates`), and the input
        kernel of a layer with a tanh is turned down where inputs saturate it
        (`Flossing.input_drive`). The inputs of a layer count as data: no gradient goes to
        the layers before it. A step whose loss or gradient is not finite leaves the weights
        alone and is counted; after 10 in a row it stops. So does a step that leaves no
        direction in a layer (or in one of its calls), all exponents being −∞: weights that
        are all zero, units that are all saturated or off. Directions that are lost beside
        others have no part in the loss; `lost_directions` counts them.

        XLA compiles it as it does the model; but where the model was compiled with
        `jit_compile="auto"`, the default, and there is one device and no GPU, it compiles
        passes of 20,000 time steps and more in all (steps times window), of the cells of
        Keras and of this package.

        Args:
            x: inputs: an array or tensor, a batched `tf.data.Dataset`, a
                `keras.utils.PyDataset` or a generator, with or without targets (to which
                `brake` alone looks). It is repeated until flossing ends, arrays and
                PyDatasets in a new order each time.
            steps: number of flossing steps at most. Defaults to 100.
            flossing: a `keras_floss.Flossing`, what is flossed and how. Defaults to None,
                that of the model.
            brake: whether to look at the task, where `x` has targets and the model a loss,
                at the first steps: nothing is flossed where the task's gradient arrives
                already, and flossing stops where it arrives undiminished. Not for LSTM and
                GRU. Defaults to True.
            verbose: that of `fit`. Defaults to `"auto"`, a progress bar.
            batch_size, window, k, target, warmup, qr_interval: fields of `flossing`
                that are given one by one, and replace those of the object.
            of, damping, tolerance, open_gates, input_drive, layers, seed, memory_limit,
                orthonormalization: further fields, likewise.

        Returns:
            A `keras.callbacks.History` with an entry for each step (for each execution,
            where the model is compiled with `steps_per_execution`): `flossing_loss`,
            `lambda_1` and `lambda_k` (mean over the sequences; per time step, natural
            logarithm), `lost_directions` (how many of the k have no finite exponent, mean
            over the sequences), `flossing_skipped` (skipped steps so far), and
            `qr_interval` where that is `"auto"`. With several recurrent layers the
            exponents, and the loss and the lost directions of each, are prefixed
            `<layer>/`. Its `ended` says why flossing ended, in a word: `"flossed"` (the
            mean of the last three losses was under the `tolerance` of `flossing`),
            `"not needed"` or `"gradient arrives"` (`brake`), `"directions lost"` (after
            100 steps or more it had not converged, and more directions than before had no
            finite exponent, as where ReLU units fall silent: the weights are as they
            were), or `"steps"`; its `message` says it in a sentence. Its `opened` says of
            how many units gates were opened, by the name of the layer.

        Raises:
            ValueError: a setting out of its range, no recurrent layer, a layer whose
                inputs cannot be reached, or nothing trainable in them.
            FloatingPointError: 10 steps in a row were not finite, or left no direction.
        """
        flossing = override(
            self.flossing if flossing is None else flossing,
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
        return self.flosser.floss(
            x, steps, flossing, total=steps, brake=brake, verbose=verbose
        )

    def lyapunov_spectrum(
        self,
        x: Data,
        *,
        k: int | Mapping[str, int | None] | None = None,
        of: Seen | Literal["auto"] = "state",
        window: int | None = None,
        warmup: int = 0,
        qr_interval: int | Literal["auto"] = "auto",
        layers: Layers | None = None,
        batch_size: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        verbose: Verbose = 0,
    ) -> dict[str, np.ndarray]:
        """The Lyapunov exponents of every recurrent layer on the inputs that it gets.

        Args:
            x: inputs: an array or tensor, a batched `tf.data.Dataset`, or a
                `keras.utils.PyDataset`, with or without targets.
            k: number of exponents: an int, None for all, or a dict by layer name. Defaults
                to None.
            of: what they are those of, `"state"`, `"output"` or `"auto"`; see `Flossing`.
                Defaults to `"state"`.
            window: number of time steps, from the first valid one of each recurrent
                layer's own input. Defaults to None, all of them.
            warmup: number of first steps that are not counted. Defaults to 0.
            qr_interval: number of steps from one QR to the next, or `"auto"`, as in
                `lyapunov_exponents`. Defaults to `"auto"`.
            layers: recurrent layers to look at, as names or layers. Defaults to None, all.
            batch_size: number of sequences at a time, of arrays. Defaults to None, 32.
            steps: number of batches to take of a `tf.data.Dataset`. Defaults to None, all.
            seed: of the starting frame, and of the noise of cells that draw random
                numbers. Defaults to 0.
            verbose: that of `predict`. Defaults to 0.

        Returns:
            `{layer name: (sequences, k) array}`, per time step, natural logarithm. A
            Bidirectional has `name/forward` and `name/backward`; a layer that is called
            several times has the mean over its calls, but calls that hand the states on
            are one. Where names repeat, `layer.path` is the key.
        """
        return self.flosser.spectrum(
            x,
            Flossing(
                window=window,
                k=k,
                of=of,
                warmup=warmup,
                qr_interval=qr_interval,
                layers=layers,
                seed=seed,
            ),
            batch_size=batch_size,
            steps=steps,
            verbose=verbose,
        )

    @property
    def flosser(self) -> Flosser:
        """The engine that flosses this model with its flossing optimiser."""
        if self._flosser is None:
            raise ValueError("Call `compile` before flossing.")
        return self._flosser()
