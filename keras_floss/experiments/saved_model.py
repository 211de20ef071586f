"""What `keras-floss spectrum` says of a saved model."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from keras_floss import (
    ConditionNumber,
    Flossing,
    FlossingModel,
    LayerDiagnosis,
    RecurrentInputs,
    condition_number,
    diagnose,
    lyapunov_statistics,
    plots,
    recurrent_inputs,
)
from keras_floss.experiments.inputs import first_line, inputs_of, load, read, targets_of
from keras_floss.experiments.output import Path, check_picture, picture_format

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# How many numbers the step Jacobians of a sequence may take in memory.
AT_MOST = 2**27
HORIZONS = 20


@dataclasses.dataclass
class LayerReport:
    """The exponents of a recurrent layer, and what follows from them.

    Attributes:
        layer: its name.
        states: D.
        steps: number of time steps of a sequence.
        exponents: k of them, means over the sequences, per time step.
        standard_error: of each, the larger of that within the sequences and that between.
        dimension: Kaplan–Yorke, median over the sequences.
        horizons: time steps over which the condition number was measured.
        condition: the `ConditionNumber` of one sequence at these horizons.
        diagnosis: the `LayerDiagnosis`.
    """

    layer: str
    states: int
    steps: int
    exponents: list[float]
    standard_error: list[float]
    dimension: float
    horizons: list[int]
    condition: ConditionNumber
    diagnosis: LayerDiagnosis

    def log10_condition(self) -> np.ndarray:
        """The decimal logarithm of the condition number at each horizon, over k."""
        return self.condition.log_measured[0, :, -1] / math.log(10)

    def json(self) -> dict[str, Any]:
        """The report as JSON holds it: what is not finite is None."""
        fields = dataclasses.asdict(self)
        del fields["condition"]
        fields["log10_condition"] = self.log10_condition().tolist()
        exponents = self.diagnosis.exponents.tolist()
        fields["diagnosis"] = self.diagnosis._replace(exponents=exponents)._asdict()
        return json.loads(json.dumps(fields), parse_constant=lambda name: None)


def spectrum(
    model: Path,
    data: Path,
    targets: Path | None = None,
    sequences: int = 4,
    k: int | None = None,
    warmup: int = 0,
    layers: Sequence[str] | None = None,
    as_json: bool = False,
    picture: Path | None = None,
) -> list[LayerReport]:
    """Prints the spectra of the recurrent layers of a saved model, and what they mean.

    Args:
        model: path of a model that Keras has saved (`.keras`).
        data: path of its inputs: `.npy`, or `.npz` of several, under the names of the
            model's inputs, or without names in their order.
        targets: path of the targets, `.npy`, of a model that was saved compiled. None: the
            gradient of the task is not looked at.
        sequences: number of sequences, the first ones.
        k: number of exponents of each layer, all if it has fewer; None: all.
        warmup: number of first steps that are not counted.
        layers: names of recurrent layers; None: all.
        as_json: whether to print JSON instead of text.
        picture: path of a picture to draw, or None.

    Returns:
        A list of `LayerReport`.
    """
    if picture:
        check_picture(picture)
    loaded = load(model, compile=targets is not None)
    inputs = inputs_of(loaded, read(data), sequences, data)
    try:
        found = recurrent_inputs(loaded, inputs, layers=layers)
    except (LookupError, TypeError, tf.errors.OpError) as error:
        shapes = keras.tree.map_structure(lambda a: a.shape, inputs)
        raise ValueError(
            f"The model `{loaded.name}` cannot be called on inputs of shape {shapes}: "
            f"{first_line(error)}"
        ) from error
    given = None if targets is None else targets_of(loaded, inputs, targets)
    settings = loaded.flossing if isinstance(loaded, FlossingModel) else Flossing()
    settings = dataclasses.replace(settings, layers=layers)
    if k is not None:
        states = {layer_of(name): each.states for name, each in found.items()}
        at_most = {name: min(k, number) for name, number in states.items()}
        settings = dataclasses.replace(settings, k=at_most)
    diagnosis = diagnose(loaded, inputs, given, flossing=settings)
    reports = [
        report(name, each, diagnosis.layers[layer_of(name)], k, warmup)
        for name, each in found.items()
    ]
    if as_json:
        print(json.dumps([each.json() for each in reports], indent=2))
    else:
        print("\n\n".join(text(each) for each in reports))
    if picture:
        draw(reports).savefig(picture, dpi=150, format=picture_format(picture))
        if not as_json:
            print(f"\nPicture: {picture}")
    return reports


def layer_of(name: str) -> str:
    """The layer that a call of it is named after."""
    return name.partition("/call_")[0]


def report(
    name: str,
    given: RecurrentInputs,
    diagnosis: LayerDiagnosis,
    k: int | None = None,
    warmup: int = 0,
) -> LayerReport:
    """The report on one layer, given what it runs over."""
    states, steps = given.states, given.inputs.shape[1]
    k = None if k is None else min(k, states)
    statistics = lyapunov_statistics(**given._asdict(), k=k, warmup=warmup)
    used = ~np.isnan(statistics.exponents).all(axis=-1)
    if not used.any():
        raise ValueError(
            f"No sequence of `{name}` has a step after the warm-up of {warmup} steps, or "
            "its states are not finite."
        )
    exponents = statistics.exponents[used].mean(axis=0)
    within = np.sqrt(np.mean(statistics.standard_error[used] ** 2, axis=0) / used.sum())
    with np.errstate(invalid="ignore"):  # −∞ − −∞
        spread = statistics.exponents[used].std(axis=0)
    between = spread / np.sqrt(max(used.sum() - 1, 1))

    first = int(np.argmax(used))
    one = keras.tree.map_structure(
        lambda a: a[first : first + 1] if tf.is_tensor(a) else a, given
    )
    valid = steps if one.mask is None else int(np.sum(one.mask))
    longest = max(1, min(valid - warmup, AT_MOST // states**2))
    horizons = np.unique(np.linspace(1, longest, HORIZONS).round().astype(int)).tolist()
    condition = condition_number(**one._asdict(), horizon=horizons, k=k, warmup=warmup)
    return LayerReport(
        name,
        states,
        steps,
        exponents.tolist(),
        np.fmax(within, between).tolist(),
        float(np.median(statistics.dimension[used])),
        horizons,
        condition,
        diagnosis,
    )


def text(r: LayerReport) -> str:
    """A report as lines of text."""
    shown = sorted({0, 1, 2, len(r.exponents) // 2, len(r.exponents) - 1})
    lines = [
        f"{r.layer}: {r.states} states, {r.steps} time steps; exponents per time step",
        *(
            f"  λ_{i + 1:<4d} {r.exponents[i]:+9.4f} ± {r.standard_error[i]:.4f}"
            for i in shown
            if i < len(r.exponents)
        ),
        f"  Kaplan–Yorke dimension {r.dimension:.3g}",
        f"  condition number over {r.horizons[-1]} steps, {len(r.exponents)} directions: "
        f"10^{r.log10_condition()[-1]:.0f}",
        f"  {r.diagnosis.sentence}",
    ]
    return "\n".join(lines)


def draw(reports: Sequence[LayerReport]) -> Figure:
    """Spectra, and condition numbers over the horizon."""
    figure, (left, right) = plots.figure(columns=2)
    plots.spectra({r.layer: r.exponents for r in reports}, ax=left)
    plots.condition_numbers({r.layer: (r.horizons, r.condition) for r in reports}, ax=right)
    return figure
