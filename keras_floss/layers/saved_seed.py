"""The state of a random generator, kept in files beside the weights."""

import keras


class SavedSeed(keras.layers.Layer):
    """Has Keras save and load the state of a `SeedGenerator`, which it does not by itself.

    It stands in files beside what it belongs to: among the weights of an HDetachLSTMCell
    it would be one too many for an LSTM that loads them. Where a file has no state, or one
    of another seed than the generator was given, the state stays as it is.
    """

    vectorize_tangents = True  # it computes nothing; see CellMap

    def __init__(self, generator):
        super().__init__()
        # In a lambda: Keras would count the state among the variables a second time.
        self._generator = lambda: generator
        self.built = True

    def save_own_variables(self, store):
        store["state"] = self._generator().state

    def load_own_variables(self, store):
        if "state" in store.keys():  # noqa: SIM118 (no dict, but a group of an HDF5 file)
            state, given = store["state"], self._generator().get_config()["seed"]
            if given in (None, int(state[0])):
                self._generator().state.assign(state)
