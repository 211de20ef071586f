"""The Python values that are read while a layer is traced, and stand in the trace."""

import collections
import dis
import functools
import hashlib
import pathlib
import sys
import types

import keras
import numpy as np
import tensorflow as tf

from keras_floss.utils.private_keras import BOOKS, TRACKED, inner_layers

PLAIN = {type(None), bool, int, float, complex, str, bytes}
# They change all the time, and the forward pass does not depend on them.
PASSED_OVER = (
    keras.KerasTensor,
    keras.Metric,
    keras.Optimizer,
    keras.callbacks.Callback,
    keras.initializers.Initializer,
)
# Packages whose objects have no parts that a user would set.
CLOSED = {*sys.stdlib_module_names, "numpy", "tensorflow", "keras_floss"}
# What is made of a function, and the attributes that are its parts.
WRAPPERS = {
    types.MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args", "keywords"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget",),
}
GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME"}


def fingerprint(*objects):
    """The Python values in objects, to any depth, as a tuple to compare with another.

    It goes through attributes, containers and arrays, through the closures, defaults and
    globals of functions, and through classes; of installed packages it takes the code as it
    is. A variable or a tensor stands for itself. What code finds elsewhere (files, the
    clock, the state of a generator) is not seen.
    """
    tokens, met, todo = [], {}, [*reversed(objects)]
    while todo:
        x = todo.pop()
        kind = type(x)
        if kind in PLAIN:
            tokens += kind, repr(x)  # NaN is unequal to itself, −0.0 equal to 0.0
        elif id(x) in met:
            tokens.append(met[id(x)][0])
        else:
            met[id(x)] = len(met), x
            token, parts = _take_apart(x)
            tokens += kind, token, len(parts)
            todo += reversed(parts)
    return tuple(tokens)


def _take_apart(x):
    """What an object is by itself, and a list of its parts."""
    # Equal to that of no other object: where the first differ no further ones are compared.
    # That it is kept keeps its id from others.
    itself = id(x), x
    if isinstance(x, tf.Variable):
        return itself, [x.trainable]
    if _passed_over(x):
        return None, []
    if isinstance(x, keras.Variable):
        return itself, [x.trainable, x.regularizer, x.constraint]
    if isinstance(x, keras.Layer):
        return None, _parts_of_layer(x)
    if isinstance(x, np.ndarray | np.generic):
        if x.dtype.hasobject:
            return x.shape, x.ravel().tolist()
        return (x.dtype.str, x.shape, hashlib.blake2b(x.tobytes()).digest()), []
    if isinstance(x, list | tuple | collections.deque):
        return None, list(x)
    if isinstance(x, dict):
        return None, [*x.keys(), *x.values()]
    if isinstance(x, set | frozenset):
        return frozenset(map(repr, x)), []
    if isinstance(x, types.FunctionType):
        return x.__code__, _parts_of_function(x)
    for wrapper, names in WRAPPERS.items():
        if isinstance(x, wrapper):
            return None, [getattr(x, name) for name in names]
    if isinstance(x, type):
        if _installed(x.__module__):
            return itself, []
        return itself, [x.__bases__, dict(vars(x))]
    attributes = _attributes(x)
    root = type(x).__module__.partition(".")[0]
    if root in CLOSED and type(x) is not types.SimpleNamespace:
        return itself, []
    return None if attributes else itself, [type(x), attributes]


def _attributes(x):
    slots = {name: getattr(x, name, None) for name in _slots(type(x))}
    # What TensorFlow and this package keep on objects of others.
    kept = (TRACKED, "_keras_floss_")
    return {
        name: value
        for name, value in {**slots, **getattr(x, "__dict__", {})}.items()
        if not name.startswith(kept) and not _passed_over(value)
    }


def _passed_over(x):
    return x is None or isinstance(x, PASSED_OVER) or tf.is_symbolic_tensor(x)


@functools.lru_cache(1024)
def _slots(kind):
    return [
        name
        for base in kind.__mro__
        for name, value in vars(base).items()
        if isinstance(value, types.MemberDescriptorType)
    ]


def _parts_of_layer(layer):
    kind = type(layer)
    parts = [kind, layer.name, layer.dtype_policy, layer.trainable, *inner_layers(layer)]
    # A functional or sequential model depends on nothing else.
    if not (isinstance(layer, keras.Model) and _installed(kind.__module__)):
        own = _attributes(layer).items()
        parts.append({name: value for name, value in own if name not in BOOKS})
    return parts


def _parts_of_function(function):
    module = function.__globals__.get("__name__", "")
    if module.partition(".")[0] == "keras_floss":
        return []
    cells = [c.cell_contents for c in function.__closure__ or () if c != types.CellType()]
    parts = [function.__defaults__, function.__kwdefaults__, *cells]
    if not _installed(module):
        parts += [vars(function), *_globals_of(function)]
    return parts


def _globals_of(function):
    """The values of the global names that a function reads, and in its own modules."""
    names, attributes = _names_in(function.__code__)
    scope = function.__globals__
    found = [scope[name] for name in names if name in scope]
    modules = []
    for x in found:
        new = isinstance(x, types.ModuleType) and all(x is not m for m in modules)
        if new and not _installed(x.__name__):
            modules.append(x)
            found += [vars(x)[name] for name in attributes if name in vars(x)]
    return found


@functools.lru_cache(1024)
def _names_in(code):
    """The global names that a code object reads, and those of attributes."""
    codes = [code]
    for c in codes:
        codes += [x for x in c.co_consts if isinstance(x, types.CodeType)]
    read = [i for c in codes for i in dis.get_instructions(c) if i.opname in GLOBAL]
    attributes = {name for c in codes for name in c.co_names}
    return sorted({i.argval for i in read}), sorted(attributes)


@functools.lru_cache(1024)
def _installed(module):
    """Whether a module is part of Python, of this package, or of an installed one."""
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    folders = pathlib.Path(file).parts
    return root in CLOSED or "site-packages" in folders or "dist-packages" in folders
