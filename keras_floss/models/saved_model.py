"""How a FlossingModel is saved and made again."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_floss.flossing.flossing import FIRST_VERSION, Flossing
from keras_floss.utils.private_keras import as_default, makes_own_config
from keras_floss.utils.typing import Config


class SavedModel(keras.Model):
    """A model whose config holds the wrapped one, what is flossed, and both optimisers."""

    @as_default
    def get_config(self) -> Config:
        # For a subclass with an `__init__` of plain arguments Keras makes the config of
        # them, as for any model.
        if self.model is None or makes_own_config(self):
            return super().get_config()
        return {
            "name": self.name,
            "trainable": self.trainable,
            "model": keras.saving.serialize_keras_object(self.model),
            "flossing": keras.saving.serialize_keras_object(self.flossing),
            "strength": None if self.strength is None else float(self.strength.numpy()),
        }

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: Mapping[str, Any] | None = None
    ) -> SavedModel:
        config = dict(config)
        trainable = config.pop("trainable", True)
        if "model" in config:
            if "joint" in config:  # of the first version, with what was not the default
                joint = config.pop("joint")
                automatic = {"warmup": "auto"} if joint.get("warmup") is None else {}
                config["flossing"] = Flossing(**{**FIRST_VERSION, **joint, **automatic})
            for part in ("model", "flossing"):
                if isinstance(config.get(part), dict):
                    config[part] = keras.saving.deserialize_keras_object(
                        config[part], custom_objects=custom_objects
                    )
        # The `__init__` of a subclass may lack the keywords of every Keras model.
        parameters = inspect.signature(cls.__init__).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            config = {name: v for name, v in config.items() if name in parameters}
        result = cls(**config)
        result.trainable = trainable
        return result

    def get_compile_config(self) -> Config | None:
        config = super().get_compile_config()
        if config and self.flossing_optimizer is not None:
            # None is the default one.
            config["flossing_optimizer"] = (
                None
                if self._flosser().settles
                else (keras.saving.serialize_keras_object(self.flossing_optimizer))
            )
            if self._flosser().automatic:
                config["jit_compile"] = "auto"
            # Called on saving: an optimiser that is built on one side only is skipped on
            # loading.
            if self.built:
                self._flosser().build_optimizer()
        return config

    def compile_from_config(self, config: Config) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)
