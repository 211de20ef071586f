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
    if not _is_int(value):
        raise ValueError(f"`{name}` must be an integer. Received: {value!r}")


def check_positive_int(name, value, least=1):
    """A whole number of at least 1, or more."""
    if not _is_int(value) or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. Received: {value!r}"
        )


def check_positive(name, value):
    """A finite number of more than 0."""
    if not _is_number(value) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"`{name}` must be a finite number above 0. Received: {value!r}")


def check_choice(name, value, choices):
    """One of several words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: {value!r}"
        )


def check_probability(name, value):
    """A number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be a number from 0 to 1. Received: {value!r}")


def check_k(k, dim, owner):
    """The number of exponents, None standing for all `dim` of them."""
    if k is None:
        return dim
    if not _is_int(k) or not 1 <= k <= dim:
        raise ValueError(
            f"`k` must be an integer from 1 to {dim}, the number of state variables of "
            f"`{owner}`, or None for all of them. Received: {k!r}"
        )
    return int(k)


def check_schedule(warmup, qr_interval, window=None):
    """Warm-up and QR interval, against the number of steps where that is known."""
    steps = "" if window is None else f" and less than the {window} steps of the window"
    if window is not None and window < 1:
        raise ValueError(f"There is no time step to floss: the window is {window} long.")
    if not _is_int(warmup) or warmup < 0 or (window is not None and warmup >= window):
        raise ValueError(
            f"`warmup` must be an integer of at least 0{steps}. Received: {warmup!r}"
        )
    check_positive_int("qr_interval", qr_interval)
    if window is not None and qr_interval > window:
        raise ValueError(
            f"`qr_interval` must be an integer from 1 to {window}, the number of steps of "
            f"the window. Received: {qr_interval!r}"
        )


def check_target(target, k=None):
    """A finite number, or `k` of them."""
    values = np.asarray(target)
    if values.dtype.kind not in "iuf" or not np.all(np.isfinite(values)):
        raise ValueError(
            "`target` must be a finite number, or one for each exponent. "
            f"Received: {target!r}"
        )
    if values.ndim > 1 or (values.ndim == 1 and k is not None and len(values) != k):
        raise ValueError(
            f"`target` must be one number, or a list of {'k' if k is None else k} numbers, "
            f"one for each exponent. Received: {target!r}"
        )


def check_strength(strength):
    """A finite weight of at least 0."""
    if not _is_number(strength) or not math.isfinite(strength) or strength < 0:
        raise ValueError(
            f"`strength` must be a finite number of at least 0. Received: {strength!r}"
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


def _is_int(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
