"""Turns h-detach off towards the end of training."""

from keras_floss.callbacks.fresh_start import FreshStart
from keras_floss.layers import HDetachLSTMCell
from keras_floss.utils.checks import check_int
from keras_floss.utils.private_keras import all_layers
from keras_floss.utils.typing import Logs


class HDetachAnnealing(FreshStart):
    """Lets the whole gradient through from some epoch on, in every `HDetachLSTM`.

    Before that epoch each layer blocks the gradient at its `detach_rate`, and from it on
    never. The rates themselves are not changed: a model that is saved in such an epoch, or
    trained again without this callback, still has them.

    Args:
        start: the first epoch without h-detach, as each `fit` numbers them: from 0, or
            from its `initial_epoch`. A negative number counts from the end of the `fit`.
            The paper's choice is the last 40 epochs, `start=-40`.

    Raises:
        ValueError: `start` is no integer; when training begins, the model has no
            `HDetachLSTM`.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras_floss.layers.HDetachLSTM(64)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    annealing = keras_floss.callbacks.HDetachAnnealing(start=-40)
    model.fit(x_train, y_train, epochs=200, callbacks=[annealing])
    ```

    References:
        [Kanuparthi, Arpit et al., ICLR 2019](https://arxiv.org/abs/1810.03023), released
        code
    """

    def __init__(self, start: int) -> None:
        super().__init__()
        check_int("start", start)
        self.start = start

    def begin(self) -> None:
        self._cells: list[HDetachLSTMCell] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._cells = [c for c in all_layers(self.model) if isinstance(c, HDetachLSTMCell)]
        if not self._cells:
            raise ValueError(
                f"The model `{self.model.name}` has no `HDetachLSTM` whose detach rate "
                "could be annealed."
            )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        start = self.start if self.start >= 0 else self.params["epochs"] + self.start
        self._set(1.0 if epoch < start else 0.0)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._set(1.0)

    def _set(self, value):
        for cell in self._cells:
            cell.annealing.assign(value)
