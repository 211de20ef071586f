"""Errors for settings that make no sense, in one voice: name, value, what is allowed."""

import math
import numbers

import keras
import numpy as np
import tensorflow as tf


def check_eager(name):
    """Not while a graph is traced."""
    if not tf.executing_eagerly():
        raise ValueError(f"`{name}` gives NumPy arrays: call it eagerly.")


def check_int(name, value):
    """A whole number."""
    _require(_is_int(value), name, value, "an integer")


def check_positive_int(name, value, least=1):
    """A whole number of at least 1, or more."""
    _require(
        _is_int(value) and value >= least, name, value, f"an integer of at least {least}"
    )


def check_positive(name, value):
    """A finite number of more than 0."""
    _require(
        _is_number(value) and 0 < value < math.inf, name, value, "a finite number above 0"
    )


def check_not_negative(name, value):
    """A finite number of at least 0."""
    _require(
        _is_number(value) and 0 <= value < math.inf,
        name,
        value,
        "a finite number of at least 0",
    )


def check_choice(name, value, choices):
    """One of several words."""
    _require(
        isinstance(value, str) and value in choices,
        name,
        value,
        f"one of {', '.join(map(repr, choices))}",
    )


def check_probability(name, value):
    """A number from 0 to 1."""
    _require(_is_number(value) and 0 <= value <= 1, name, value, "a number from 0 to 1")


def check_k(k, most, owner, seen="state"):
    """The number of exponents of the state, or the output; None stands for all of them."""
    if k is None:
        return most
    _require(
        _is_int(k) and 1 <= k <= most,
        "k",
        k,
        f"an integer from 1 to {most}, the number of {seen} variables of `{owner}`, or "
        "None for all of them",
    )
    return int(k)


def check_schedule(warmup, qr_interval, window=None):
    """Warm-up and QR interval, against the number of steps where that is known."""
    steps = "" if window is None else f" and less than the {window} steps of the window"
    known = math.inf if window is None else window
    if known < 1:
        raise ValueError(f"There is no time step to floss: the window is {window} long.")
    _require(
        _is_int(warmup) and 0 <= warmup < known,
        "warmup",
        warmup,
        f"an integer of at least 0{steps}",
    )
    check_positive_int("qr_interval", qr_interval)
    _require(
        qr_interval <= known,
        "qr_interval",
        qr_interval,
        f"an integer from 1 to {window}, the number of steps of the window",
    )


def check_interval(qr_interval):
    """`"auto"`, or a positive integer."""
    if not (isinstance(qr_interval, str) and qr_interval == "auto"):
        _require(
            _is_int(qr_interval) and qr_interval >= 1,
            "qr_interval",
            qr_interval,
            '"auto" or an integer of at least 1',
        )


def check_target(target, k=None):
    """`"auto"`, a finite number, or `k` of them."""
    if isinstance(target, str) and target == "auto":
        return
    values = np.asarray(target)
    _require(
        values.dtype.kind in "iuf" and np.all(np.isfinite(values)),
        "target",
        target,
        'a finite number, or one for each exponent, or "auto"',
    )
    _require(
        values.ndim == 0 or (values.ndim == 1 and k in (None, len(values))),
        "target",
        target,
        f"one number, or a list of {'k' if k is None else k} numbers, one for each "
        "exponent",
    )


def check_dense(inputs):
    """Sequences in tensors or arrays that are neither ragged nor sparse."""
    for x in keras.tree.flatten(inputs):
        if isinstance(x, tf.RaggedTensor | tf.SparseTensor):
            way = (
                "fill it up with `.to_tensor()`, and mask what was filled in"
                if isinstance(x, tf.RaggedTensor)
                else "make it dense with `tf.sparse.to_dense`"
            )
            raise ValueError(
                "Sequences must be dense: (batch, time, ...) with the same number of steps "
                f"for all. Received a {type(x).__name__}: {way}."
            )
        rows = isinstance(x, np.ndarray) and x.dtype.hasobject and x.size
        if rows and isinstance(x.flat[0], np.ndarray | list):
            raise ValueError(
                "Sequences must be arrays of numbers, with as many steps in each. Received "
                "an array of arrays: fill up the shorter ones with "
                "`keras.utils.pad_sequences`, and mask what was filled in."
            )


def _require(holds, name, value, what):
    """Raises ValueError unless it holds that a value is what it must be."""
    if not holds:
        raise ValueError(f"`{name}` must be {what}. Received: {value!r}")


def _is_int(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
