"""What the flossing callbacks share: data, settings, an engine."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_floss.callbacks.fresh_start import FreshStart
from keras_floss.callbacks.run_count import RunCount
from keras_floss.flossing.engine import Flosser
from keras_floss.flossing.flossing import Flossing, override
from keras_floss.flossing.flossing_optimizer import check_flossing_optimizer, optimizer_of
from keras_floss.flossing.history import StepHistory
from keras_floss.models import FlossingModel
from keras_floss.utils.checks import check_positive_int
from keras_floss.utils.typing import Data, Logs, Optimizer, Verbose


def flossing_for(
    model: keras.Model | None, flossing: Flossing | None, **keywords: Any
) -> Flossing:
    """The settings of a callback on a model: keywords, its own `flossing`, the model's."""
    carried = model.flossing if isinstance(model, FlossingModel) else None
    return override(carried if flossing is None else flossing, **keywords)


class FlossingCallback(FreshStart):
    """A callback that flosses the model that it is given to.

    Args:
        x, steps, optimizer, verbose: those of `Preflossing`.
        flossing: a `Flossing`, or None: that of the model.
        **keywords: fields of it that are given for themselves, or UNSET.

    Attributes:
        flossing: the `Flossing` with which the model is flossed.
    """

    shared = ("x", "_given", "optimizer")

    def __init__(
        self,
        x: Data,
        steps: int,
        flossing: Flossing | None,
        optimizer: Optimizer | None,
        verbose: Verbose,
        **keywords: Any,
    ) -> None:
        super().__init__()
        check_positive_int("steps", steps)
        self.x = x
        self.steps = steps
        self._given = flossing, keywords
        self.flossing = flossing_for(None, flossing, **keywords)
        if optimizer is not None:
            check_flossing_optimizer(optimizer)
        self.optimizer = optimizer
        self.verbose = verbose
        self.begin()

    def begin(self) -> None:
        # The engine of a plain model, with its optimiser's state and compiled programs.
        self._flosser: Flosser | None = None
        self._count = RunCount()

    @property
    def flosser(self) -> Flosser:
        """The engine that flosses the model."""
        if isinstance(self.model, FlossingModel):
            return self.model.flosser
        if self._flosser is None:
            given = self.optimizer and optimizer_of(self.model, self.optimizer)
            self._flosser = Flosser(self.model, given)
        return self._flosser

    @property
    def verbosity(self) -> Verbose:
        """The `verbose` of this `fit`."""
        return self.params["verbose"] if self.verbose == "auto" else self.verbose

    @property
    def flossed(self) -> int:
        """The number of flossing steps of this run so far; see `RunCount`."""
        return self._count.value

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if self.optimizer is not None and isinstance(model, FlossingModel):
            raise ValueError(
                "A `FlossingModel` flosses with the `flossing_optimizer` of its `compile`: "
                "leave out `optimizer`."
            )
        flossing, keywords = self._given
        self.flossing = flossing_for(model, flossing, **keywords)
        self.flosser.begin_fit()
        self._count.begin_fit(self.flosser.optimizer)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._count.on_epoch_begin(epoch)

    def floss(
        self,
        steps: int | None = None,
        *,
        flossing: Flossing | None = None,
        total: int | None = None,
        brake: bool = False,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> StepHistory:
        """Takes flossing steps, on data that go on where this run last flossed.

        Args:
            steps: how many at most. Defaults to None, the `steps` of this callback.
            flossing: a `Flossing`. Defaults to None, that of this callback.
            total, brake: those of `Flosser.floss`.
            callbacks: Keras callbacks of the flossing steps.

        Returns:
            Their History.
        """
        return self.flosser.floss(
            self.x,
            steps or self.steps,
            flossing or self.flossing,
            start=self.flossed,
            total=total,
            brake=brake,
            callbacks=callbacks,
            verbose=self.verbosity,
        )
