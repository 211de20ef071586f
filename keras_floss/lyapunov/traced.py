"""Calls from eager code, traced once per layer, shape, dtype, options and configuration."""

import functools
import threading

import keras
import tensorflow as tf

from keras_floss.lyapunov.checkpoints import memory_limit
from keras_floss.lyapunov.checks import check_k, check_positive_int, check_schedule
from keras_floss.lyapunov.fingerprint import fingerprint
from keras_floss.lyapunov.frame import initial_frame
from keras_floss.lyapunov.functions import is_function
from keras_floss.lyapunov.noise import noise_seed
from keras_floss.lyapunov.recent import Recent
from keras_floss.lyapunov.recurrent import as_map, as_sequence, prepare

# Of a layer or model; each is 2 MiB and more, and made again in a few tenths of a second.
TRACES = 16


# In a function that AutoGraph converts it would convert all of this as well, for seconds,
# and change nothing.
@tf.autograph.experimental.do_not_convert
def call_traced(function, rnn, inputs, initial_state, mask, **settings):
    """`function(sequence, **settings)` of a layer and its arguments, in graph mode.

    Args:
        function: takes a `Sequence` and the settings, and returns tensors. Where there is
            a `seed` among these it also takes a `frame` in place of `k`, and a tensor as
            `seed`, which is then that of the noise.
        rnn, inputs, initial_state, mask: as in `lyapunov_exponents`.
        **settings: `k`, `warmup`, `qr_interval` and others.
    """
    # Before the look for a trace, where True is 1 and 2.0 is 2.
    if settings["k"] is not None:
        check_positive_int("k", settings["k"])
    check_schedule(settings["warmup"], settings["qr_interval"])
    if not tf.executing_eagerly():
        return function(as_sequence(rnn, inputs, initial_state, mask), **settings)
    # Variables cannot be made while a function is traced for the second time.
    arguments = [*prepare(rnn, inputs, initial_state, mask), None, None]
    if "seed" in settings:
        # An argument of the trace, which is then the same for every seed.
        step = as_map(rnn, *arguments[:2])
        k = check_k(settings.pop("k"), step.dim, step.name)
        seed = settings.pop("seed")
        frame = tf.constant(initial_frame(k, step.dim, seed), step.dtype)
        arguments[-2:] = frame, noise_seed(seed)
    call = functools.partial(_call, function, rnn, settings)
    # What a function reads, from anywhere, no fingerprint would know for certain.
    if is_function(rnn) or not hasattr(rnn, "__dict__"):
        return tf.function(call, autograph=False)(*arguments)
    return call_kept(rnn, (function, *settings.items()), call, arguments)


def _call(function, rnn, settings, inputs, initial_state, mask, frame, seed):
    if frame is not None:
        settings = {**settings, "frame": frame, "seed": seed}
    return function(as_sequence(rnn, inputs, initial_state, mask), **settings)


# Whoever traces a layer changes it for as long as that takes.
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
    key = (key, *shapes, memory_limit(), keras.config.floatx())
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
