"""A saved model, and its inputs from a file."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_floss import FlossingModel
from keras_floss.experiments.output import Path
from keras_floss_command.files import check_file

Arrays = Mapping[str, np.ndarray]


def load(path: Path, compile: bool = False) -> keras.Model:
    """The model in a file, compiled only where its loss is wanted."""
    check_file(path)
    try:
        return keras.models.load_model(path, compile=compile)
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise ValueError(
            f"{path} could not be loaded as a Keras model: it is none, or damaged, or has "
            "layers of your own, which must be registered and imported. In that case use "
            "`keras_floss.recurrent_inputs` in a script that does. Keras says: "
            f"{first_line(error)}"
        ) from error


def read(path: Path) -> dict[str, np.ndarray]:
    """`{name: array}` of an `.npz`; the array of an `.npy` is `arr_0`."""
    check_file(path)
    try:
        data = np.load(path)
        arrays = {"arr_0": data} if isinstance(data, np.ndarray) else dict(data)
    except Exception as error:  # as above
        raise ValueError(
            f"{path} must hold arrays of numbers, as numpy.save or numpy.savez write them. "
            f"It does not, or is damaged. NumPy says: {first_line(error)}"
        ) from error
    if not arrays or not all(isinstance(a, np.ndarray) for a in arrays.values()):
        raise ValueError(
            f"{path} must hold arrays of numbers, as numpy.save or numpy.savez write them."
        )
    return arrays


def targets_of(model: keras.Model, inputs: Any, path: Path) -> np.ndarray:
    """The targets of the sequences that the inputs hold, of a model that has a loss."""
    arrays, rows = list(read(path).values()), len(keras.tree.flatten(inputs)[0])
    if len(arrays) > 1 or arrays[0].dtype.kind not in "biuf" or len(arrays[0]) < rows:
        raise ValueError(
            f"{path} must hold one array of real numbers, with a target for each of the "
            f"{rows} sequences. Received arrays of shapes {[a.shape for a in arrays]}."
        )
    if not model.compiled:
        raise ValueError(
            f"The model `{model.name}` was saved without a loss, so its targets say "
            "nothing: compile it before it is saved."
        )
    return arrays[0][:rows]


def inputs_of(model: keras.Model, arrays: Arrays, sequences: int, path: Path) -> Any:
    """The first sequences of the arrays, as the model takes its inputs.

    Arrays are matched by name, or by their order where `numpy.savez` was given none. A
    single array is the input of a model that has one. A model with a `call` of its own has
    inputs without known names: it gets a single array as it is, a list, or a dict.
    """
    while isinstance(model, FlossingModel) and model.model is not None:
        model = model.model
    # As it was given to `keras.Model`; a Sequential model has none.
    structure = getattr(model, "input", getattr(model, "inputs", None))
    by_key = isinstance(structure, dict) and not any(
        keras.tree.is_nested(part) for part in structure.values()
    )
    if structure is None:
        by_key = not _unnamed(arrays) and len(arrays) > 1
        expected = dict.fromkeys(arrays)
    else:
        expected = structure if by_key else {t.name: t for t in model.inputs}
        arrays = _match(arrays, expected, by_key, path)
    for name, tensor in expected.items():
        _check_array(name, arrays[name], tensor, path)
    # A model with a fixed batch size takes no smaller batch.
    sizes = [tensor.shape[0] for tensor in expected.values() if tensor is not None]
    sequences = next(filter(None, sizes), sequences)
    arrays = {name: arrays[name][:sequences] for name in expected}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"{path} must hold the same number of sequences for each input. "
            f"Received: {lengths}"
        )
    if by_key:
        return arrays
    values = list(arrays.values())
    if len(values) == 1:
        return values[0]
    return values if structure is None else keras.tree.pack_sequence_as(structure, values)


def first_line(error: Exception) -> str:
    """What an error says, or its kind; the rest is for debugging."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unnamed(arrays: Arrays) -> bool:
    """Whether `numpy.savez` was given no names."""
    return all(name == f"arr_{i}" for i, name in enumerate(arrays))


def _match(arrays: Arrays, expected: Mapping[str, Any], by_key: bool, path: Path) -> Arrays:
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
    # Keras, too, adds or drops a last axis of one.
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
