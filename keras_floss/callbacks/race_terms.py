"""Whether a model is raced, for how many updates, and on which data."""

import itertools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_floss.callbacks.race import LEG
from keras_floss.flossing.source import endless
from keras_floss.models import FlossingModel
from keras_floss.utils.autotune import without_autotune
from keras_floss.utils.typing import Data

# Of the updates of `fit` one in so many is worth knowing, but never more than MOST, and
# fewer than one leg tell nothing.
SHARE, MOST = 5, 200


def trains_as_keras(model: keras.Model) -> bool:
    """Whether all that training changes is in the model and its one optimiser.

    The loss of joint flossing says more than how well a task is learned.
    """
    if isinstance(model, FlossingModel) and model.strength is not None:
        return False
    kind = type(model)
    return (
        kind.train_step in (keras.Model.train_step, FlossingModel.train_step)
        and kind.make_train_function is keras.Model.make_train_function
    )


def updates_of(fit: Mapping[str, Any], epoch: int) -> int:
    """How many updates a race is to have in a `fit` that begins at `epoch`.

    Args:
        fit: the `params` of its callbacks.
    """
    if not fit["steps"]:
        return MOST
    share = (fit["epochs"] - epoch) * fit["steps"] // SHARE
    return min(share, MOST) if share >= LEG else 0


def batches_of(x: Data, fit: Mapping[str, Any]) -> tf.data.Dataset | None:
    """The data of a race, without end; None where they cannot be had twice.

    Args:
        x: what `Preflossing` takes, with targets.
        fit: the `params` of its callbacks. Arrays come in as many batches as there.
    """
    if isinstance(x, tf.data.Dataset):
        return endless(x, None)
    if isinstance(x, keras.utils.PyDataset):
        # As Keras tells TensorFlow of one, so that its program serves the race too.
        spec = keras.tree.map_structure(_any_number, x[0])
        source = endless(x, None, seed=0)
        return tf.data.Dataset.from_generator(
            lambda: (source[i] for i in itertools.count()), output_signature=spec
        )
    if not isinstance(x, tuple):
        return None
    arrays = keras.tree.lists_to_tuples(keras.tree.map_structure(_as_fit_has_it, x))
    number = len(keras.tree.flatten(arrays)[0])
    data = tf.data.Dataset.from_tensor_slices(arrays)
    data = data.shuffle(number, seed=0, reshuffle_each_iteration=False).repeat()
    size = -(-number // (fit["steps"] or 1))
    return without_autotune(data.batch(size, drop_remainder=number % size == 0))


def _any_number(batch: Any) -> tf.TensorSpec:
    """The kind of an array of any number of sequences."""
    batch = _as_fit_has_it(batch)
    return tf.TensorSpec((None, *batch.shape[1:]), batch.dtype)


def _as_fit_has_it(array: Any) -> Any:
    """An array of the precision in which Keras's `fit` has it."""
    array = np.asarray(array)
    floating = np.issubdtype(array.dtype, np.floating)
    return array.astype(keras.config.floatx()) if floating else array
