"""What the recurrent layers of a model run over: the public function."""

from __future__ import annotations

import typing

import keras
import tensorflow as tf

from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.fixed_batch import build
from keras_floss.recurrent.recording import (
    by_run,
    choose_layers,
    record,
    recurrent_layers,
)
from keras_floss.utils.checks import check_dense
from keras_floss.utils.typing import Arrays, Layers


class RecurrentInputs(typing.NamedTuple):
    """A recurrent layer and what it runs over: arguments of `lyapunov_statistics`.

    Attributes:
        rnn: the `keras.layers.RNN`; of a Bidirectional, that of one direction.
        inputs: `(batch, time, features)`.
        initial_state: list of states as the model hands them to the layer, or None: the
            layer's own.
        mask: `(batch, time)`, or None.
    """

    rnn: keras.layers.RNN
    inputs: tf.Tensor
    initial_state: list[tf.Tensor] | None
    mask: tf.Tensor | None

    @property
    def states(self) -> int:
        """D, the number of state variables of one sequence."""
        return CellMap(self.rnn.cell, self.rnn.name).dim


def recurrent_inputs(
    model: keras.Model, x: Arrays, *, layers: Layers | None = None
) -> dict[str, RecurrentInputs]:
    """What each recurrent layer of a model runs over when the model is called.

    What `lyapunov_exponents`, `lyapunov_statistics`, `jacobian_singular_values` and
    `condition_number` want to know of a layer that stands behind others in a model. The
    model is called in inference mode, and the states that its layers keep stay as they
    were.

    Args:
        model: a `keras.Model`, functional or subclassed, with recurrent layers; it need not
            be compiled.
        x: inputs of the model, one batch.
        layers: names of recurrent layers, or the layers. Defaults to None, all of them.

    Returns:
        `{layer name: RecurrentInputs}`; Bidirectional: `name/forward`, `name/backward`. A
        layer that is called several times has an entry for each call: `name/call_1`, ...;
        but calls that hand the states on, from one to the next, are one.

    Raises:
        ValueError: a model without a recurrent layer, or one whose recurrent layers cannot
            be reached.

    Example:

    ```python
    inputs = keras.Input((300,))
    x = keras.layers.Embedding(1000, 32, mask_zero=True)(inputs)
    x = keras.layers.LSTM(64, name="memory")(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    words = keras.random.randint((4, 300), 1, 1000)
    memory = keras_floss.recurrent_inputs(model, words)["memory"]
    keras_floss.lyapunov_statistics(**memory._asdict(), k=8)
    ```
    """
    if not tf.executing_eagerly():
        raise ValueError("`recurrent_inputs` calls the model on a batch: call it eagerly.")
    check_dense(x)
    x = keras.tree.map_structure(tf.convert_to_tensor, x)
    chosen = choose_layers(recurrent_layers(model), layers)
    if not model.built:
        build(model, x)
    runs = by_run(record(model, x, chosen)[0])
    return {
        name: RecurrentInputs(run.layer, run.inputs, run.initial_state, run.mask)
        for name, run in runs.items()
    }
