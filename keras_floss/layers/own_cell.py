"""A recurrent layer that makes its cell itself."""

import keras

from keras_floss.utils.typing import Config, LayerKeywords


class RNNKeywords(LayerKeywords, total=False):
    """The keywords of `keras.layers.RNN`."""

    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    unroll: bool
    zero_output_for_mask: bool


class OwnCellRNN(keras.layers.RNN):
    """An `RNN` that takes the arguments of its cell beside its own, as LSTM does."""

    @property
    def units(self) -> int:
        """The number of units of the cell."""
        return self.cell.units

    def get_config(self) -> Config:
        # The name and the dtype are the layer's, not the cell's.
        config = {**self.cell.get_config(), **super().get_config()}
        del config["cell"]
        return config

    @classmethod
    def from_config(cls, config: Config) -> "OwnCellRNN":
        return cls(**config)
