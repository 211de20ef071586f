"""Flossing before training."""

import keras

from keras_floss.lyapunov.checks import check_positive_int
from keras_floss.models import Flosser, FlossingModel
from keras_floss.models.settings import Settings


class Preflossing(keras.callbacks.Callback):
    """Flosses the recurrent layers of a model before its first update.

    Works with a `FlossingModel` and with any other `keras.Model`. It flosses once: when
    the same callback is given to `fit` again, it does nothing. Nor does it when training
    goes on from a later epoch than the first, by `initial_epoch` or because
    `keras.callbacks.BackupAndRestore` found an interrupted run: the weights are then
    those of a network that was flossed.

    Args:
        x: inputs to floss on: an array or tensor, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a generator, with or without targets.
        steps: number of flossing steps. Defaults to 500.
        batch_size, window, k, target, warmup, qr_interval, layers, seed: as in
            `FlossingModel.floss`, with its defaults.
        optimizer: the flossing optimiser, or its name, for a plain Keras model. A
            `FlossingModel` brings its own. Defaults to None, Adam with a learning rate of
            1e-3.
        verbose: as in `fit`. Defaults to `"auto"`, the verbosity of the `fit` that it is
            given to.

    Attributes:
        history: a `keras.callbacks.History` with an entry for each flossing step once it
            has flossed, else None; `FlossingModel.floss` lists its keys.

    Raises:
        ValueError: a setting out of its range; when training begins, a model without a
            recurrent layer that can be flossed.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    preflossing = keras_floss.callbacks.Preflossing(x_train, steps=500, window=55, k=32)
    model.fit(x_train, y_train, epochs=10, callbacks=[preflossing])
    preflossing.history.history["flossing_loss"]  # 500 numbers, falling
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306)
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

    def on_train_begin(self, logs=None):
        if self.optimizer is not None and isinstance(self.model, FlossingModel):
            raise ValueError(
                "A `FlossingModel` flosses with the `flossing_optimizer` of its `compile`: "
                "leave out `optimizer`."
            )

    # Not in `on_train_begin`: there other callbacks may still restore weights.
    def on_epoch_begin(self, epoch, logs=None):
        if self.history is not None or epoch > 0:
            return
        if isinstance(self.model, FlossingModel):
            floss = self.model.floss
        else:
            floss = Flosser(self.model, self.optimizer or "adam").floss
        verbose = self.params["verbose"] if self.verbose == "auto" else self.verbose
        self.history = floss(self.x, self.steps, verbose=verbose, **self.settings)
