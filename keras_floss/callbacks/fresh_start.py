"""What a callback keeps, and what it begins anew."""

import copy

import keras


class FreshStart(keras.callbacks.Callback):
    """A callback that begins anew with each model that it is given, and as a copy.

    Given again to the same model, it goes on. A copy has the settings and the data, and
    nothing of what came of them; KerasTuner makes a deep copy for each trial.
    """

    # Names of the attributes that a deep copy shares: data, which cannot always be copied
    # and need not be, and what may refer to a model.
    shared: tuple[str, ...] = ()

    def begin(self) -> None:
        """Sets, as for a new callback, all that belongs to one model."""

    def set_model(self, model: keras.Model) -> None:
        if model is not self.model:
            self.begin()
        super().set_model(model)

    def __copy__(self):
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        keras.callbacks.Callback.set_model(new, None)
        new.begin()
        return new

    def __deepcopy__(self, memo):
        new = memo[id(self)] = copy.copy(self)
        for name, value in vars(new).items():
            if name not in self.shared:
                setattr(new, name, copy.deepcopy(value, memo))
        return new
