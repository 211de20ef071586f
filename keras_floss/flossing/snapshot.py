"""The variables that flossing moves, and the way back to what they were."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np


def moved(layers: Mapping[str, keras.layers.RNN]) -> list[keras.Variable]:
    """The variables that flossing moves."""
    return [v for layer in layers.values() for v in layer.trainable_variables]


class Snapshot:
    """The values of variables when it is made."""

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        self._variables = variables
        self._values = [np.array(v.numpy()) for v in variables]

    def now(self) -> "Snapshot":
        """The values that the same variables have now."""
        return Snapshot(self._variables)

    def restore(self) -> None:
        """Gives the variables these values again."""
        for variable, value in zip(self._variables, self._values, strict=True):
            variable.assign(value)
