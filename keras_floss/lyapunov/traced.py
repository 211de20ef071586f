"""Calls from eager code, traced once per layer, shape, dtype and options."""

import functools
import weakref

import tensorflow as tf

from keras_floss.lyapunov.checkpoints import memory_limit
from keras_floss.lyapunov.checks import check_positive_int, check_schedule
from keras_floss.lyapunov.recurrent import as_sequence, prepare


# In a function that AutoGraph converts it would convert all of this as well, for seconds,
# and change nothing.
@tf.autograph.experimental.do_not_convert
def call_traced(function, rnn, inputs, initial_state, mask, **settings):
    """`function(sequence, **settings)` of a layer and its arguments, in graph mode.

    Args:
        function: takes a `Sequence` and the settings, and returns tensors.
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
    arguments = prepare(rnn, inputs, initial_state, mask)
    functions = _functions_of(rnn)
    key = (function, memory_limit(), *settings.items())
    if key not in functions:
        # A `partial` counts as a function of its own when TensorFlow looks for one that
        # is traced over and over; closures of one definition do not.
        call = functools.partial(_call, function, _reference(rnn), settings)
        functions[key] = tf.function(call, autograph=False)
    return functions[key](*arguments)


def _call(function, rnn, settings, inputs, initial_state, mask):
    return function(as_sequence(rnn(), inputs, initial_state, mask), **settings)


# id of a layer -> {(function, settings): tf.function}. The functions hold the layer by a
# weak reference, and go when it goes.
_traces = {}


def _functions_of(rnn):
    if id(rnn) not in _traces:
        try:
            weakref.finalize(rnn, _traces.pop, id(rnn), None)
        except TypeError:  # has no weak references, so nothing of it can be kept
            return {}
        _traces[id(rnn)] = {}
    return _traces[id(rnn)]


def _reference(rnn):
    try:
        return weakref.ref(rnn)
    except TypeError:
        return lambda: rnn
