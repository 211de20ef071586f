"""What the flossing callbacks share: data, settings, an engine."""

import keras

from keras_floss.lyapunov.checks import check_positive_int
from keras_floss.models import Flosser, FlossingModel
from keras_floss.models.settings import Settings


class FlossingCallback(keras.callbacks.Callback):
    """A callback that flosses the model that it is given to.

    The arguments are those of `Preflossing`.
    """

    def __init__(
        self,
        x,
        steps=500,
        *,
        batch_size=1,
        window=None,
        k=None,
        target=0.0,
        warmup=None,
        qr_interval=1,
        layers=None,
        seed=None,
        optimizer=None,
        verbose="auto",
    ):
        super().__init__()
        check_positive_int("steps", steps)
        self.x = x
        self.steps = steps
        self.settings = {
            "batch_size": batch_size,
            "window": window,
            "k": k,
            "target": target,
            "warmup": warmup,
            "qr_interval": qr_interval,
            "layers": layers,
            "seed": seed,
        }
        Settings(**self.settings)  # raises here what is wrong with them
        self.optimizer = optimizer
        self.verbose = verbose
        self.history = None
        self._flosser = None

    @property
    def flosser(self):
        """The engine that flosses the model."""
        if isinstance(self.model, FlossingModel):
            return self.model.flosser
        # Kept, for the state of its optimiser and its compiled programs.
        if self._flosser is None or self._flosser.model is not self.model:
            self._flosser = Flosser(self.model, self.optimizer or "adam")
        return self._flosser

    @property
    def flossed(self):
        """The number of flossing steps of this `fit` so far, before a kill too."""
        return self.flosser.iterations - self._before

    def set_model(self, model):
        super().set_model(model)
        if self.optimizer is not None and isinstance(model, FlossingModel):
            raise ValueError(
                "A `FlossingModel` flosses with the `flossing_optimizer` of its `compile`: "
                "leave out `optimizer`."
            )
        # Before any callback has restored anything.
        self._before = self.flosser.begin_fit()
        self._begun = False

    def on_epoch_begin(self, epoch, logs=None):
        # Not restored in this `fit`, but by whoever passed `initial_epoch`.
        if epoch > 0 and not self._begun and not self.flossed:
            self._before = 0
        self._begun = True

    def floss(self, steps=None, callbacks=()):
        """Takes flossing steps, on data that go on where this `fit` last flossed.

        Args:
            steps: how many. Defaults to None, the `steps` of this callback.
            callbacks: Keras callbacks of the flossing steps.

        Returns:
            Their History.
        """
        verbose = self.params["verbose"] if self.verbose == "auto" else self.verbose
        return self.flosser.floss(
            self.x,
            steps or self.steps,
            start=self.flossed,
            callbacks=callbacks,
            verbose=verbose,
            **self.settings,
        )
