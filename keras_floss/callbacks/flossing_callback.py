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

    def on_train_begin(self, logs=None):
        if self.optimizer is not None and isinstance(self.model, FlossingModel):
            raise ValueError(
                "A `FlossingModel` flosses with the `flossing_optimizer` of its `compile`: "
                "leave out `optimizer`."
            )

    def floss(self):
        """Takes the flossing steps; returns their History."""
        if isinstance(self.model, FlossingModel):
            floss = self.model.floss
        else:
            # Kept, for the state of its optimiser and its compiled program.
            if self._flosser is None or self._flosser.model is not self.model:
                self._flosser = Flosser(self.model, self.optimizer or "adam")
            floss = self._flosser.floss
        verbose = self.params["verbose"] if self.verbose == "auto" else self.verbose
        return floss(self.x, self.steps, verbose=verbose, **self.settings)
