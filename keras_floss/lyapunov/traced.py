"""Calls from eager code, traced once per layer, shape, dtype, options and configuration."""

import tensorflow as tf

from keras_floss.flow.alone import check_jit_compile
from keras_floss.flow.checkpoints import settle_memory_limit
from keras_floss.flow.frame import check_orthonormalization, initial_frame
from keras_floss.recurrent.functions import is_function
from keras_floss.recurrent.noise import noise_seed
from keras_floss.recurrent.trajectory import as_map, as_trajectory, prepare
from keras_floss.utils.checks import (
    check_interval,
    check_k,
    check_positive_int,
    check_schedule,
)
from keras_floss.utils.traces import call_kept


# Called from a function that AutoGraph converts, all of this would be converted as well:
# that takes seconds and changes nothing.
@tf.autograph.experimental.do_not_convert
def call_traced(function, rnn, inputs, initial_state, mask, **settings):
    """`function(trajectory, **settings)` of a layer and its arguments, in graph mode.

    Args:
        function: takes a `Trajectory` and the settings, and returns tensors. Where there is
            a `seed` among these it also takes a `frame`, and a tensor as `seed`, which is
            then that of the noise.
        rnn, inputs, initial_state, mask: as in `lyapunov_exponents`.
        **settings: `k`, `warmup`, `qr_interval` and others, if any. Where there is a `seed`
            among these there is a `k`, and with a `memory_limit` an `orthonormalization`.
    """
    # Before a trace is looked up, where True equals 1 and 2.0 equals 2.
    if settings.get("k") is not None:
        check_positive_int("k", settings["k"])
    check_interval(settings.get("qr_interval", 1))
    check_schedule(settings.get("warmup", 0), 1)
    if "memory_limit" in settings:
        settings["memory_limit"] = settle_memory_limit(settings["memory_limit"])
        check_orthonormalization(settings["orthonormalization"])
    if "jit_compile" in settings:
        check_jit_compile(settings["jit_compile"])
        if settings["jit_compile"] == "auto" and tf.executing_eagerly():
            settings["jit_compile"] = False  # one look is done sooner in graph mode
    if not tf.executing_eagerly():
        return function(as_trajectory(rnn, inputs, initial_state, mask), **settings)
    # Variables cannot be made while a function is traced for the second time.
    arguments = [*prepare(rnn, inputs, initial_state, mask), None, None]
    if "seed" in settings:
        # An argument of the trace, which is then the same for every seed.
        step = as_map(rnn, *arguments[:2])
        k = check_k(settings["k"], step.dim, step.name)
        seed = settings.pop("seed")
        frame = tf.constant(initial_frame(k, step.dim, seed), step.dtype)
        arguments[-2:] = frame, noise_seed(seed)

    def call(inputs, initial_state, mask, frame, seed):
        drawn = {} if frame is None else {"frame": frame, "seed": seed}
        trajectory = as_trajectory(rnn, inputs, initial_state, mask)
        return function(trajectory, **settings, **drawn)

    # No fingerprint knows for certain what a function reads.
    if is_function(rnn) or not hasattr(rnn, "__dict__"):
        return tf.function(call, autograph=False)(*arguments)
    return call_kept(rnn, (function, *settings.items()), call, arguments)
