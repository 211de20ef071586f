"""A model that stands for the one that it wraps."""

from __future__ import annotations

from typing import Any

import keras

from keras_floss.utils.private_keras import as_default, own_metrics
from keras_floss.utils.typing import Arrays

# What a model of Keras has only where it is a graph of layers, functional or sequential.
OF_A_GRAPH = (
    "inputs",
    "outputs",
    "input_shape",
    "output_shape",
    "output_names",
    "operations",
)


class WrappingModel(keras.Model):
    """A model that answers for the model in `model`, where that is not None.

    A subclass with a `call` of its own may add to what it wraps, or wrap nothing. It has
    no graph, like any model with a `call` of its own.
    """

    @property
    def _stands_in(self) -> bool:
        """Whether it is the wrapped model and nothing else."""
        own_call = type(self).call is not WrappingModel.call
        return vars(self).get("model") is not None and not own_call

    def __getattr__(self, name: str) -> Any:
        # Not as properties: then no subclass could have such an attribute of its own.
        if name not in OF_A_GRAPH:
            return super().__getattribute__(name)  # raises what says why
        if not self._stands_in:
            raise AttributeError(
                f"`{name}` is what a functional model has, or one that wraps it. "
                f"`{type(self).__name__}` has a `call` of its own."
            )
        try:
            return getattr(self.model, name)
        except AttributeError as error:
            raise AttributeError(
                f"`{name}` of a `{type(self).__name__}` is that of the model that it "
                f"wraps, which must be functional, or sequential and built. {error}"
            ) from error

    def call(self, inputs: Arrays, training: bool | None = None) -> Any:
        # None would take the place of the model's own default.
        given = {} if training is None else {"training": training}
        return self.model(inputs, **given)

    # Not `layers`: they are what Keras names the weights by in the files that it writes.
    def get_layer(self, name: str | None = None, index: int | None = None) -> keras.Layer:
        """As `keras.Model.get_layer`, of the wrapped model."""
        shown: Any = self.model if self._stands_in else super()
        return shown.get_layer(name, index)

    @property
    def input(self) -> Any:
        return self.model.input if self._is_graph else super().input

    @property
    def output(self) -> Any:
        return self.model.output if self._is_graph else super().output

    @property
    def _is_graph(self) -> bool:
        return self._stands_in and hasattr(self.model, "inputs")

    @as_default
    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        shown: Any = self.model if self._stands_in else super()
        return shown.compute_output_shape(*args, **kwargs)

    @property
    def input_dtype(self) -> str:
        # Keras's default is the dtype of the arithmetic, wrong for the indices of words.
        inputs = keras.tree.flatten(getattr(self.model, "inputs", None))
        dtypes = {x.dtype for x in inputs if isinstance(x, keras.KerasTensor)}
        return dtypes.pop() if len(dtypes) == 1 else super().input_dtype

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        # Keras leaves out the metrics of a model within a model.
        own = [] if self.model is None else own_metrics(self.model)
        return [*super().metrics, *own]

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """The layers of the wrapped model, or of this one where it has its own `call`."""
        shown: Any = super() if self.model is None else self.model
        shown.summary(*args, **kwargs)

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.export`; what is exported is the wrapped model."""
        exported: Any = self.model if self._stands_in else super()
        return exported.export(*args, **kwargs)
