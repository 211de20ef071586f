"""Whether a model needs flossing: the public function."""

from __future__ import annotations

import functools
import typing

import keras
import numpy as np
import tensorflow as tf

from keras_floss.advice.diagnosis import Diagnosis, LayerDiagnosis, conclude, judge
from keras_floss.diagnostics.gradient_norms import GradientNorms, gradient_norms
from keras_floss.flossing import arrival
from keras_floss.flossing.arrival import task_batch
from keras_floss.flossing.flossing import Flossing, override
from keras_floss.flossing.flossing_pass import (
    FlossingPass,
    RecurrentLayers,
    flossed_layers,
)
from keras_floss.flossing.gates import gated_units
from keras_floss.flossing.interval import Interval
from keras_floss.flossing.term import summary
from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.fixed_batch import build
from keras_floss.recurrent.recording import record
from keras_floss.utils.checks import check_dense, check_eager
from keras_floss.utils.shapes import as_tensors, extent
from keras_floss.utils.traces import call_kept
from keras_floss.utils.typing import Arrays


def diagnose(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    sample_weight: Arrays | None = None,
    *,
    flossing: Flossing | None = None,
) -> Diagnosis:
    """Says whether a model needs flossing, and what stops its gradient; changes nothing.

    It looks at the exponents of each recurrent layer as a flossing step would, and, where
    there are targets and a loss, at what is left of the gradient of the task at the first
    step. The rule is that of `Preflossing`: a layer whose flossing loss is under the
    tolerance is flossed; one whose gradient arrives (a twentieth of that at the last step
    or more) with exponents near zero (a flossing loss under 0.02) is left alone, if it is
    no LSTM or GRU; all others are flossed.

    Args:
        model: a `keras.Model`, functional, Sequential or subclassed, with recurrent layers.
            If it is not compiled with a loss, the gradient is left out.
        x, y, sample_weight: one batch, as in `fit`. Without `y`, the gradient is left out.
        flossing: the `Flossing` that would be used. Defaults to None, that of the model if
            it carries one, else `Flossing()`.

    Returns:
        A `Diagnosis`, to `print` or to read as data.

    Raises:
        ValueError: a model without a recurrent layer, or one whose recurrent layers cannot
            be reached; inputs or weights that are not finite.

    Example:

    ```python
    inputs = keras.Input((60, 1))
    x = keras.layers.SimpleRNN(32, name="memory")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    diagnosis = keras_floss.diagnose(model, x_train, y_train)
    print(diagnosis)
    diagnosis.layers["memory"].recommendation  # "floss"
    ```
    """
    check_eager("diagnose")
    check_dense(x)
    x, y, sample_weight = as_tensors((x, y, sample_weight))
    carried = getattr(model, "flossing", None)
    if flossing is None and isinstance(carried, Flossing):
        flossing = carried
    flossing = override(flossing)
    if not model.built:
        build(model, x)
    layers = flossed_layers(model, flossing)
    look = functools.partial(_look, model, layers, flossing)
    looks = call_kept(model, ("diagnose", flossing, *layers), look, (x,))
    task = task_batch(model, (x, y, sample_weight))
    gradients = gradient_norms(model, *task, layers=list(layers)) if task else {}
    found = {}
    for name, seen in looks.items():
        seen = keras.tree.map_structure(np.asarray, seen)
        if np.isnan(seen.exponents).any():
            raise ValueError(
                f"The exponents of `{name}` are not numbers: its inputs or its weights are "
                "not finite, or no sequence has a step after the warm-up."
            )
        cell = CellMap(layers[name].cell, name)
        own = [g for key, g in gradients.items() if key.partition("/call_")[0] == name]
        ratio, dimension = _gradient(own)
        facts = LayerDiagnosis(
            steps=int(seen.steps),
            window=int(seen.window),
            exponents=seen.exponents,
            flossing_loss=float(seen.loss),
            tolerance=flossing.tolerance_of(cell, int(seen.steps)),
            lost=float(seen.lost),
            gradient_ratio=ratio,
            effective_dimension=dimension,
            saturation=float(np.median(seen.outputs)),
        )
        found[name] = judge(facts, gated=gated_units(cell) > 0)
    return conclude(found, flossing)


class _Look(typing.NamedTuple):
    """What is seen of a layer: tensors."""

    steps: tf.Tensor
    window: tf.Tensor
    exponents: tf.Tensor
    loss: tf.Tensor
    lost: tf.Tensor
    outputs: tf.Tensor


def _look(
    model: keras.Model, layers: RecurrentLayers, flossing: Flossing, x: Arrays
) -> dict[str, _Look]:
    """`{layer name: _Look}`."""
    flossing_pass = FlossingPass(model, layers, flossing, Interval(1))
    sequences = flossing_pass.sequences(x)
    spectra = flossing_pass.spectra(sequences, 1)
    result = summary(sequences, spectra, flossing, 1)
    recorded, _ = record(model, x, layers)
    return {
        name: _Look(
            tf.reduce_max([extent(run.inputs, 1) for run in runs]),
            tf.reduce_max([extent(cut.inputs, 1) for cut in sequences[name]]),
            result.exponents[name],
            result.losses[name],
            result.lost[name],
            tf.abs(
                tf.concat(
                    [tf.reshape(c.output, [-1]) for run in runs for c in run.calls], axis=0
                )
            ),
        )
        for name, runs in recorded.items()
    }


def _gradient(calls: list[GradientNorms]) -> tuple[float | None, float | None]:
    """What arrives at the first step, and in how many directions, in the worst call."""
    if not calls:
        return None, None
    arriving = [arrival.ratio(c.norms) if c.norms.any() else np.nan for c in calls]
    dimensions = [k.effective_dimension for c in calls for k in c.kernels.values()]
    return float(np.min(arriving)), min(dimensions, default=np.nan)
