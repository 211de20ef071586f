"""Traces of functions of a layer or model, kept on it."""

import threading

import keras
import tensorflow as tf

from keras_floss.utils.fingerprint import fingerprint
from keras_floss.utils.recent import Recent

# For one layer or model. Each is 2 MiB or more, and is made in a few tenths of a second.
TRACES = 16
# A layer is changed for as long as it is being traced.
_lock = threading.RLock()


def call_kept(owner, key, function, arguments, *reads):
    """`function(*arguments)` in graph mode, by a trace that is kept on the layer or model.

    Args:
        owner: the layer or model. Its traces go when it goes.
        key: hashable, what stands in a trace beside the Python values in `owner` and the
            shapes of `arguments`.
        function: the function.
        arguments: list of structures of tensors or None.
        *reads: objects with other Python values that `function` reads.
    """
    if tf.config.functions_run_eagerly():
        return function(*arguments)
    shapes = [
        (path, None if x is None else (tuple(x.shape), x.dtype))
        for path, x in keras.tree.flatten_with_path(arguments)
    ]
    key = (key, *shapes, keras.config.floatx())
    with _lock:
        # Past the `__setattr__` of Keras.
        traces = vars(owner).setdefault("_keras_floss_traces", Recent(TRACES))
        trace, seen = traces.get(key, (None, None))
        if trace is None or seen != fingerprint(owner, *reads):
            trace = tf.function(function, autograph=False)
            trace.get_concrete_function(*arguments)
            # What the cell itself changes while it is traced makes no new trace.
            traces.keep(key, (trace, fingerprint(owner, *reads)))
    return trace(*arguments)
