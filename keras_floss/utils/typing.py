"""Types that public functions share. Shapes stand in the docstrings.

TensorFlow and Keras have no types that a checker could read: to it, every class of theirs
is `Any`. They are named here for the reader.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

# One array or tensor, or nested lists of numbers.
Array: TypeAlias = ArrayLike | tf.Tensor
# Arrays, or lists, tuples or dicts of them: the inputs of a model, the states of a cell.
Arrays: TypeAlias = Array | Sequence[Any] | Mapping[Any, Any]
# What `keras.Model.fit` takes as `x`.
Data: TypeAlias = Arrays | tf.data.Dataset | keras.utils.PyDataset | Iterable[Any]

# A recurrent layer, a cell, or a function `step(state, x)` or `step(state)`.
Recurrent: TypeAlias = keras.Layer | Callable[..., Any]
# Recurrent layers of a model: one or several, by name or themselves.
Layers: TypeAlias = str | keras.Layer | Sequence[str | keras.Layer]

# The number of exponents of a layer, and those by layer name; None stands for all.
Number: TypeAlias = int | Literal["auto"] | None
NumberByLayer: TypeAlias = Number | Mapping[str, Number]
# The exponent that is aimed at, or one for each.
Target: TypeAlias = float | Sequence[float] | Literal["auto"]

Activation: TypeAlias = str | Callable[..., Any]
Initializer: TypeAlias = str | Callable[..., Any]
Optimizer: TypeAlias = str | keras.optimizers.Optimizer
# When a callback acts: before or after an epoch, or after so many updates.
Every: TypeAlias = int | Literal["epoch"]
Verbose: TypeAlias = int | Literal["auto"]

Shape: TypeAlias = tuple[int | None, ...]
# What Keras hands to callbacks, and what it makes layers and models of.
Logs: TypeAlias = Mapping[str, Any]
Config: TypeAlias = dict[str, Any]


class LayerKeywords(TypedDict, total=False):
    """The keywords of every Keras layer."""

    name: str | None
    dtype: Any
    trainable: bool
    autocast: bool
    activity_regularizer: Any
    input_shape: Shape
    input_dim: int
