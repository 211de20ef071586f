"""What the flossing callbacks share: data, settings, an engine."""

from keras_floss.callbacks.fresh_start import FreshStart
from keras_floss.callbacks.run_count import RunCount
from keras_floss.flossing.engine import Flosser
from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.flossing_optimizer import check_flossing_optimizer, optimizer_of
from keras_floss.models import FlossingModel
from keras_floss.utils.checks import check_positive_int


class FlossingCallback(FreshStart):
    """A callback that flosses the model that it is given to.

    The arguments are those of `Preflossing`.
    """

    shared = ("x", "flossing", "optimizer")

    def __init__(
        self,
        x,
        steps=500,
        *,
        batch_size=1,
        window=None,
        k=None,
        target=0.0,
        warmup="auto",
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
        self.flossing = Flossing(
            batch_size=batch_size,
            window=window,
            k=k,
            target=target,
            warmup=warmup,
            qr_interval=qr_interval,
            layers=layers,
            seed=seed,
        )
        if optimizer is not None:
            check_flossing_optimizer(optimizer)
        self.optimizer = optimizer
        self.verbose = verbose
        self.begin()

    def begin(self):
        # Of a plain model; kept for the state of its optimiser and its compiled programs.
        self._flosser = None
        self._count = RunCount()

    @property
    def flosser(self):
        """The engine that flosses the model."""
        if isinstance(self.model, FlossingModel):
            return self.model.flosser
        if self._flosser is None:
            optimizer = optimizer_of(self.model, self.optimizer or "adam")
            self._flosser = Flosser(self.model, optimizer)
        return self._flosser

    @property
    def flossed(self):
        """The number of flossing steps of this run so far; see `RunCount`."""
        return self._count.value

    def set_model(self, model):
        super().set_model(model)
        if self.optimizer is not None and isinstance(model, FlossingModel):
            raise ValueError(
                "A `FlossingModel` flosses with the `flossing_optimizer` of its `compile`: "
                "leave out `optimizer`."
            )
        self.flosser.begin_fit()
        self._count.begin_fit(self.flosser.optimizer)

    def on_epoch_begin(self, epoch, logs=None):
        self._count.on_epoch_begin(epoch)

    def floss(self, steps=None, callbacks=()):
        """Takes flossing steps, on data that go on where this run last flossed.

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
            self.flossing,
            start=self.flossed,
            callbacks=callbacks,
            verbose=verbose,
        )
