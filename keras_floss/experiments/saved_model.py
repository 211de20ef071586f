"""What `keras-floss spectrum` says of a saved model."""

import dataclasses
import json
import math

import keras
import numpy as np
import tensorflow as tf

from keras_floss import plots
from keras_floss.experiments.inputs import first_line, inputs_of, load, read
from keras_floss.experiments.output import check_picture, picture_format
from keras_floss.experiments.verdict import verdict
from keras_floss.lyapunov import ConditionNumber, condition_number, lyapunov_statistics
from keras_floss.recurrent.cells import CellMap
from keras_floss.recurrent.recording import by_run, choose_layers, record, recurrent_layers
from keras_floss.utils.checks import check_positive_int

# Numbers that the step Jacobians of a sequence may take in memory.
AT_MOST = 2**27
HORIZONS = 20


@dataclasses.dataclass
class LayerReport:
    """The exponents of a recurrent layer and what follows from them.

    Attributes:
        layer: its name.
        states: D.
        steps: number of time steps of a sequence.
        exponents: k of them, means over the sequences, per time step.
        standard_error: of each, the larger of that within the sequences and that between.
        dimension: Kaplan–Yorke, median over the sequences.
        horizons: time steps over which the condition number was measured.
        condition: the `ConditionNumber` of one sequence at these horizons.
        verdict: a sentence or two.
    """

    layer: str
    states: int
    steps: int
    exponents: list
    standard_error: list
    dimension: float
    horizons: list
    condition: ConditionNumber
    verdict: str

    def log10_condition(self):
        """The decimal logarithm of the condition number at each horizon, over k."""
        return self.condition.log_measured[0, :, -1] / math.log(10)

    def json(self):
        """The report as what JSON has: what is not finite is null."""
        fields = dataclasses.asdict(self)
        del fields["condition"]
        fields["log10_condition"] = self.log10_condition().tolist()
        return {name: _plain(value) for name, value in fields.items()}


def spectrum(
    model, data, sequences=4, k=None, warmup=0, layers=None, as_json=False, picture=None
):
    """Prints the spectra of the recurrent layers of a saved model, and what they mean.

    Args:
        model: path of a model that Keras has saved (`.keras`).
        data: path of its inputs: `.npy`, or `.npz` of several, under the names of the
            model's inputs, or without names in their order.
        sequences: number of sequences, the first ones.
        k: number of exponents of each layer, all if it has fewer; None: all.
        warmup: number of first steps that are not counted.
        layers: names of recurrent layers; None: all.
        as_json: whether to print JSON instead of text.
        picture: path of a picture to draw, or None.

    Returns:
        A list of `LayerReport`.
    """
    check_positive_int("sequences", sequences)
    if picture:
        plots.require_matplotlib()
        check_picture(picture)
    model = load(model)
    inputs = inputs_of(model, read(data), sequences, data)
    reports = [
        report(name, call, k, warmup) for name, call in calls(model, inputs, layers).items()
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


def calls(model, inputs, layers=None):
    """`{name: Run}` of the recurrent layers when the model gets these inputs."""
    inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
    available = choose_layers(recurrent_layers(model), layers)
    try:
        return by_run(record(model, inputs, available)[0])
    except (LookupError, TypeError, tf.errors.OpError) as error:
        shapes = keras.tree.map_structure(lambda a: tuple(a.shape), inputs)
        raise ValueError(
            f"The model `{model.name}` cannot be called on inputs of shape {shapes}: "
            f"{first_line(error)}"
        ) from error


def report(name, call, k=None, warmup=0):
    """The `LayerReport` of one `Run`."""
    states = CellMap(call.layer.cell, name).dim
    steps = call.inputs.shape[1]
    k = None if k is None else min(k, states)
    arguments = {"initial_state": call.initial_state, "mask": call.mask, "warmup": warmup}
    statistics = lyapunov_statistics(call.layer, call.inputs, k, **arguments)
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
    valid = steps if call.mask is None else int(np.sum(call.mask[first]))
    longest = max(1, min(valid - warmup, AT_MOST // states**2))
    horizons = np.unique(np.linspace(1, longest, HORIZONS).round().astype(int)).tolist()
    inputs, state, mask = keras.tree.map_structure(
        lambda a: None if a is None else a[first : first + 1],
        (call.inputs, call.initial_state, call.mask),
    )
    condition = condition_number(
        call.layer,
        inputs,
        horizons,
        k,
        initial_state=state,
        mask=mask,
        warmup=warmup,
    )
    return LayerReport(
        name,
        states,
        steps,
        exponents.tolist(),
        np.fmax(within, between).tolist(),
        float(np.median(statistics.dimension[used])),
        horizons,
        condition,
        verdict(exponents, steps),
    )


def text(report):
    """A report as lines of text."""
    r = report
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
        f"  {r.verdict}",
    ]
    return "\n".join(lines)


def draw(reports):
    """Spectra, and condition numbers over the horizon."""
    figure, (left, right) = plots.figure(columns=2)
    plots.spectra({r.layer: r.exponents for r in reports}, ax=left)
    plots.condition_numbers({r.layer: (r.horizons, r.condition) for r in reports}, ax=right)
    return figure


def _plain(value):
    """Numbers, or a list of them, with None for what is not finite."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
