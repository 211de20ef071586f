"""The state of a random generator, kept in files beside the weights."""

import keras


class SavedSeed(keras.layers.Layer):
    """Makes Keras save and load the state of a `SeedGenerator`, which it would not.

    In a file the state stands beside the weights of the cell, not among them, where it
    would be one weight too many for an LSTM that loads them. If a file has no state, or
    that of another seed than the generator was given, the generator keeps its own.
    """

    vectorize_tangents = True  # it computes nothing; see CellMap

    def __init__(self, generator):
        super().__init__()
        # In a lambda, or Keras would count the state among the variables a second time.
        self._generator = lambda: generator
        self.built = True

    def save_own_variables(self, store):
        store["state"] = self._generator().state

    def load_own_variables(self, store):
        if "state" in store.keys():  # noqa: SIM118 (no dict, but a group of an HDF5 file)
            state, given = store["state"], self._generator().get_config()["seed"]
            if given in (None, int(state[0])):
                self._generator().state.assign(state)
