"""A recurrent layer that makes its cell itself."""

import keras


class OwnCellRNN(keras.layers.RNN):
    """An `RNN` that takes the arguments of its cell beside its own, as LSTM does."""

    @property
    def units(self):
        return self.cell.units

    def get_config(self):
        own = self.cell.get_config()
        for key in ("name", "trainable", "dtype"):
            own.pop(key)
        config = super().get_config()
        del config["cell"]
        return {**config, **own}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
