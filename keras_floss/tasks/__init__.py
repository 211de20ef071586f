"""Tasks that need a long memory: `tf.data` pipelines of fresh sequences, and images."""

from keras_floss.tasks.adding import adding_problem
from keras_floss.tasks.copying import copying_accuracy, copying_memory
from keras_floss.tasks.delays import (
    continuous_xor,
    delayed_copy,
    hierarchical_xor,
    spatial_xor,
    temporal_xor,
)
from keras_floss.tasks.first_symbol import first_symbol
from keras_floss.tasks.mnist1d import mnist1d
from keras_floss.tasks.pixels import sequential_digits, sequential_mnist

__all__ = [
    "adding_problem",
    "continuous_xor",
    "copying_accuracy",
    "copying_memory",
    "delayed_copy",
    "first_symbol",
    "hierarchical_xor",
    "mnist1d",
    "sequential_digits",
    "sequential_mnist",
    "spatial_xor",
    "temporal_xor",
]
