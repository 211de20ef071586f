"""`tf.custom_gradient` without its leak.

TensorFlow registers the gradient of every call that it traces under a name of its own, for
ever, and the gradient holds the graph, 2 MiB and more, and whatever it computes with: the
layer, the user's function. Here the registry has a weak reference, and the graph holds its
gradients: they go when it goes.
"""

import functools
import weakref

import tensorflow as tf

from keras_floss.utils.private_keras import custom_gradient_of


@tf.autograph.experimental.do_not_convert
def tie_gradients():
    """Ties every custom gradient in the graph that is traced now to that graph."""
    if not tf.executing_eagerly():
        for op in tf.compat.v1.get_default_graph().get_operations():
            _tie(op)


def custom_gradient(function):
    """As `tf.custom_gradient`, but for what the module says."""
    with_gradient = tf.custom_gradient(function)

    @tf.autograph.experimental.do_not_convert
    @functools.wraps(function)
    def call(*arguments):
        results = with_gradient(*arguments)
        first = tf.nest.flatten(results)[0]
        if tf.is_symbolic_tensor(first):
            _tie(first.op)
        return results

    return call


def _tie(op):
    """Ties the gradient of an op to its graph, where it has one of its own."""
    name, entry = custom_gradient_of(op)
    tied = getattr(op.graph, "tied_gradients", {})
    if name is not None and name not in tied:
        tied[name] = entry["type"]
        op.graph.tied_gradients = tied
        gradient = weakref.ref(entry["type"])
        entry["type"] = lambda op, *d_results: gradient()(op, *d_results)
