"""A saved model, and its inputs from a file."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_floss import FlossingModel

Arrays = Mapping[str, np.ndarray]


def load(path: str | os.PathLike[str]) -> keras.Model:
    """The model in a file, not compiled: nothing is trained here."""
    _check_file(path)
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise ValueError(
            f"{path} could not be loaded as a Keras model: it is none, or damaged, or has "
            "layers of your own, which must be registered and imported: use "
            "`keras_floss.lyapunov_statistics` in a script that does. Keras says: "
            f"{first_line(error)}"
        ) from error


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """`{name: array}` of an `.npz`; the array of an `.npy` is `arr_0`."""
    _check_file(path)
    try:
        data = np.load(path)
        arrays = {"arr_0": data} if isinstance(data, np.ndarray) else dict(data)
    except Exception as error:  # as above
        raise ValueError(
            f"{path} must hold arrays of numbers, as numpy.save or numpy.savez write them: "
            f"it does not, or is damaged. NumPy says: {first_line(error)}"
        ) from error
    if not arrays or not all(isinstance(a, np.ndarray) for a in arrays.values()):
        raise ValueError(
            f"{path} must hold arrays of numbers, as numpy.save or numpy.savez write them."
        )
    return arrays


def inputs_of(
    model: keras.Model, arrays: Arrays, sequences: int, path: str | os.PathLike[str]
) -> Any:
    """The first sequences of the arrays, as the model takes its inputs.

    Arrays are matched by name, those that `numpy.savez` was given without a name by their
    order; an only array is the input of a model that has one. Of a model with a `call` of
    its own no names are known: it gets an only array as it is, a list, or a dict.
    """
    while isinstance(model, FlossingModel) and model.model is not None:
        model = model.model
    # As it was given to `keras.Model`; a Sequential has none.
    structure = getattr(model, "input", getattr(model, "inputs", None))
    nested = keras.tree.is_nested
    by_key = isinstance(structure, dict) and not any(map(nested, structure.values()))
    if structure is None:
        by_key = not _unnamed(arrays) and len(arrays) > 1
        expected = dict.fromkeys(arrays)
    else:
        expected = structure if by_key else {t.name: t for t in model.inputs}
        arrays = _match(arrays, expected, by_key, path)
    for name, tensor in expected.items():
        _check_array(name, arrays[name], tensor, path)
    # A batch of fixed size is wanted whole.
    sizes = [tensor.shape[0] for tensor in expected.values() if tensor is not None]
    sequences = next(filter(None, sizes), sequences)
    arrays = {name: arrays[name][:sequences] for name in expected}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"{path} must hold as many sequences of each input. Received: {lengths}"
        )
    if by_key:
        return arrays
    values = list(arrays.values())
    if len(values) == 1:
        return values[0]
    return values if structure is None else keras.tree.pack_sequence_as(structure, values)


def first_line(error: Exception) -> str:
    """What an error says, or its kind; the rest is for who debugs."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unnamed(arrays: Arrays) -> bool:
    """Whether `numpy.savez` was given no names."""
    return all(name == f"arr_{i}" for i, name in enumerate(arrays))


def _match(
    arrays: Arrays, expected: Mapping[str, Any], by_key: bool, path: str | os.PathLike[str]
) -> Arrays:
    """The arrays under the names of the inputs."""
    if set(expected) <= set(arrays):
        return arrays
    # Keras takes a dict in the order of its names, which need not be that of the model.
    ordered = not by_key or list(expected) == sorted(expected)
    ordered = ordered and (_unnamed(arrays) or len(arrays) == 1)
    if not ordered or len(arrays) != len(expected):
        raise ValueError(
            f"{path} holds arrays named {', '.join(arrays)}; the inputs of the model are "
            f"{', '.join(expected)}. Save them under these names: numpy.savez(file, "
            f"{', '.join(f'{name}=...' for name in expected)})."
        )
    return dict(zip(expected, arrays.values(), strict=True))


def _check_array(name, array, tensor, path):
    """Numbers (or what else the input takes), one sequence at least, of its shape."""
    shape, wanted = array.shape, None if tensor is None else tuple(tensor.shape)
    kinds = "US" if tensor is not None and tensor.dtype == "string" else "biuf"
    if array.dtype.kind not in kinds:
        raise ValueError(
            f"{path} must hold {'strings' if kinds == 'US' else 'real numbers'}, not "
            f"{array.dtype} (array `{name}`)."
        )
    if not array.size or not array.ndim:
        raise ValueError(f"{path} holds no sequence: array `{name}` has the shape {shape}.")
    if wanted is None:
        return
    # As Keras, which adds or drops a last axis of one.
    fits = any(
        len(each) == len(wanted)
        and all(w in (None, n) for w, n in zip(wanted[1:], each[1:], strict=True))
        for each in (shape, (*shape, 1), shape[:-1] if shape[-1] == 1 else ())
    )
    if not fits or (wanted[0] or 0) > len(array):
        raise ValueError(
            f"{path} does not fit the input `{name}` of the model, of shape {wanted}. "
            f"Received an array of shape {shape}."
        )


def _check_file(path):
    if not pathlib.Path(path).exists():
        raise ValueError(f"There is no file {path}.")
