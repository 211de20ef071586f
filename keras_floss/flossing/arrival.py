"""How much of the gradient of a task arrives at the first time step."""

from typing import Any

import keras
import numpy as np

from keras_floss.diagnostics.gradient_norms import gradient_norms
from keras_floss.recurrent.fixed_batch import fixed_batch
from keras_floss.utils.private_keras import compiled_loss
from keras_floss.utils.shapes import first_rows
from keras_floss.utils.typing import Layers

# Sequences that are enough to tell.
SEQUENCES = 32


def task_of(model: keras.Model, batch: Any) -> tuple | None:
    """The `(x, y, sample_weight)` of a batch of a task, or of its specs.

    None where it has no targets, or where the model has no loss: one that trains in its own
    way may leave out that of `compile`.
    """
    if not isinstance(batch, tuple) or not model.compiled or compiled_loss(model) is None:
        return None
    task = keras.utils.unpack_x_y_sample_weight(batch)
    return None if task[1] is None else task


def task_batch(model: keras.Model, batch: Any) -> tuple | None:
    """A few sequences of a `task_of`, or None."""
    task = task_of(model, batch)
    return task and first_rows(task, fixed_batch(model)[0] or SEQUENCES)


def arrival(model: keras.Model, batch: tuple, layers: Layers | None = None) -> float:
    """The norm of the task's gradient at the first time step over that at the last.

    Of several layers it is the least. The last step is that at which the gradient begins.
    """
    found = gradient_norms(model, *batch, layers=layers)
    return min(ratio(gradient.norms) for gradient in found.values())


def ratio(norms: np.ndarray) -> float:
    """The first norm over the last one that is not 0; 0 where all are."""
    begun = norms[norms > 0]
    return float(norms[0] / begun[-1]) if begun.size else 0.0
