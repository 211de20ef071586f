"""Every private attribute of Keras and TensorFlow that this package uses.

There is no public way to any of them. tests/utils/test_private_keras.py fails, and names
the attribute, where a new version no longer has it.
"""

import contextlib
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import ops

# Attributes in which Keras keeps its own state of a layer or model, never a user's.
BOOKS = {
    *vars(keras.Layer(name="layer")),
    *vars(keras.Model(name="model")),
    "_compile_config",
    "_compiled_trainable_state",
    "_eval_epoch_iterator",
    "stop_evaluating",
    "stop_predicting",
    "stop_training",
}
# How the attributes begin that TensorFlow adds to the objects that it tracks.
TRACKED = "_self_"


def inner_layers(layer: keras.Layer) -> list[keras.Layer]:
    """The layers that are attributes of a layer, or in its lists, without those in them."""
    return layer._flatten_layers(include_self=False, recursive=False)


def all_layers(layer: keras.Layer) -> list[keras.Layer]:
    """A layer and all layers in it, each once, from the outside in."""
    found, waiting = {}, [layer]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in found:
            found[id(layer)] = layer
            # Keras itself, when it is asked for all of them, reverses their order.
            waiting += reversed(inner_layers(layer))
    return list(found.values())


# Functions of a model. The metrics that are its attributes, without those that it compiled:
own_metrics = attrgetter("_metrics")
# The loss as it was last compiled with it, a new object each time:
compiled_loss = attrgetter("_compile_loss")
# The epoch at which `keras.callbacks.BackupAndRestore` has `fit` go on, or None:
epoch_of_backup = attrgetter("_initial_epoch")
# The shapes that it was built with, by the names of the arguments of `build`, or None:
build_shapes = attrgetter("_build_shapes_dict")


def set_build_shapes(model: keras.Model, shapes: dict | None) -> None:
    """Has Keras, and writers of other formats, take a model for built with such shapes."""
    model._build_shapes_dict = shapes


def makes_own_config(layer: keras.Layer) -> bool:
    """Whether Keras makes the config of the arguments that `__init__` was called with."""
    return layer._auto_config is not None


def as_default(method: Any) -> Any:
    """A method that Keras takes for the default one that it replaces.

    A `get_config` does not keep Keras from making the config where it can, and a
    `compute_output_shape` is not called where Keras can call the layer itself.
    """
    method._is_default = True
    return method


def custom_gradient_of(op: tf.Operation) -> tuple[str | None, dict]:
    """The name and the entry of the custom gradient of an op in TensorFlow's registry.

    The function is under "type" in the entry. `(None, {})` where the op has none.
    """
    if op.type != "IdentityN" or "_gradient_op_type" not in op.node_def.attr:
        return None, {}
    name = op.get_attr("_gradient_op_type").decode()
    return name, ops.gradient_registry._registry[name]


@contextlib.contextmanager
def replaced_operations(replace: Callable[[str], tf.Tensor | None]) -> Iterator[None]:
    """A block in a graph in which operations give other tensors than they would.

    A copy of a graph would lose the gradients that are functions in Python.

    Args:
        replace: a function of the type of an operation that is to be made. It returns the
            tensor of the graph that stands for its result, or None where it shall be made.
    """
    graph = tf.compat.v1.get_default_graph()
    create = graph._create_op_internal

    def create_op(kind, *args, **kwargs):
        tensor = replace(kind)
        return create(kind, *args, **kwargs) if tensor is None else _Replaced(tensor)

    graph._create_op_internal = create_op
    try:
        yield
    finally:
        del graph._create_op_internal


class _Replaced:
    """In place of an operation, its result."""

    inputs = ()

    def __init__(self, output):
        self.outputs = [output]

    def get_attr(self, name):
        """Nothing: TensorFlow would record it for a gradient with respect to its inputs."""

    _get_attr_int = _get_attr_type = _get_attr_bool = get_attr
