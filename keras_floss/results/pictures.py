"""The pictures and the tables of the results, from the runs that are done."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from keras_floss import ConditionNumber, plots
from keras_floss.results.figures import Figure, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture


class Row(TypedDict):
    """A run as it is kept."""

    measure: str
    knobs: dict[str, Any]
    result: dict[str, Any]
    seconds: float
    date: str
    machine: str
    versions: dict[str, str]


Rows: TypeAlias = Sequence[tuple[Part, Row]]
LEARNED = 0.95
# So many curves leave room for a legend among them.
FEW = 5
# Collapsed: so much worse at the end than at its best.
COLLAPSED = 0.1
# Of the pictures of the condition number: how many directions, and over how many steps.
DIRECTIONS, HORIZON, HORIZON_BY_GAIN = 40, 200, 100


def over(figure: Figure, rows: Rows) -> Picture:
    """The last score over the axis: median and 20th to 80th percentile by arm."""
    picture, axis = plots.figure()
    curves = {}
    for arm in figure.seeds:
        if points := by_point(rows, arm):
            curves[arm] = _lines(points)
    plots.learning_curves(curves, figure.task.chance, figure.task.label, axis)
    _name_across(axis, figure)
    if len(curves) > FEW:
        picture.set_size_inches(8, 4)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return picture


def collapse(figure: Figure, rows: Rows) -> Picture:
    """The same over learning rates."""
    picture = over(figure, rows)
    picture.axes[0].set_xscale("log")
    return picture


def gradient(figure: Figure, rows: Rows) -> Picture:
    """Over the updates: how much of the gradient reaches the first step, and the score."""
    picture, (left, right) = plots.figure(columns=2)
    arrives = _curves(figure, rows, "update", "log_ratio")
    learns = {
        arm: (updates[1:], scores)  # there is none before the first update
        for arm, (updates, scores) in _curves(
            figure, rows, "update", figure.task.measure
        ).items()
    }
    plots.learning_curves(arrives, None, r"$\log_{10}$ of the gradient: first / last", left)
    plots.learning_curves(learns, figure.task.chance, figure.task.label, right)
    return picture


def transfer(figure: Figure, rows: Rows) -> Picture:
    """The score over the updates, and of the trained networks over longer delays."""
    picture, (left, right) = plots.figure(columns=2)
    learns = _curves(figure, rows, "update", figure.task.measure)
    carries = _curves(figure, rows, "transfer_delay", "transfer")
    plots.learning_curves(learns, figure.task.chance, figure.task.label, left)
    plots.learning_curves(carries, figure.task.chance, figure.task.label, right)
    right.set_xlabel("delay of the test")
    return picture


def paths(figure: Figure, rows: Rows) -> Picture:
    """Over the axis: how much of the gradient comes through c at first, and the score."""
    picture, (left, right) = plots.figure(columns=2)
    shares, scores = {}, {}
    for arm in figure.seeds:
        first = _by_point(rows, arm, lambda result: result["cell_share"][0])
        if first:
            shares[arm] = _lines(first)
            scores[arm] = _lines(by_point(rows, arm))
    plots.learning_curves(shares, None, "share of the gradient through c", left)
    plots.learning_curves(scores, figure.task.chance, figure.task.label, right)
    for axis in (left, right):
        _name_across(axis, figure)
    return picture


def first_exponent(figure: Figure, rows: Rows) -> Picture:
    """The first exponent over the flossing steps."""
    picture, axis = plots.figure()
    curves = _curves(figure, rows, "step", "lambda_1")
    plots.learning_curves(curves, None, r"$\lambda_1$ per time step", axis)
    axis.set_xlabel("flossing steps")
    return picture


def spectra(figure: Figure, rows: Rows) -> Picture:
    """The spectrum before flossing, and after that of each arm: means over seeds."""
    picture, axis = plots.figure()
    lines = {
        "before": _mean(row["result"]["before"]["exponents"] for _, row in rows),
        **{
            arm: _mean(result["after"]["exponents"] for result in _results(rows, arm))
            for arm in figure.seeds
        },
    }
    plots.spectra({name: line for name, line in lines.items() if len(line)}, ax=axis)
    return picture


def condition(figure: Figure, rows: Rows) -> Picture:
    """The condition number over the horizon, and over the number of directions."""
    picture, (left, right) = plots.figure(columns=2)
    results = {"before": [row["result"]["before"] for _, row in rows]}
    for arm in figure.seeds:
        results[arm] = [result["after"] for result in _results(rows, arm)]
    results = {name: runs for name, runs in results.items() if runs}
    plots.condition_numbers(
        {name: _condition(runs) for name, runs in results.items()}, DIRECTIONS, left
    )
    curves = {}
    for name, runs in results.items():
        horizons, numbers = _condition(runs)
        at = _nearest(horizons, HORIZON)
        measured, predicted = (x[:, at] / np.log(10) for x in numbers)
        directions = range(1, 1 + measured.shape[1])
        curves[name] = (directions, measured)
        right.plot(directions, np.median(predicted, axis=0), color="0.4", linewidth=1)
    plots.learning_curves(curves, None, r"$\log_{10}\,\kappa_m$", right)
    right.set_xlabel("directions $m$")
    return picture


def condition_by_gain(figure: Figure, rows: Rows) -> Picture:
    """The condition number over the gain."""
    picture, axis = plots.figure()
    curves = {}
    for when, label in (("before", "before"), ("after", figure.parts[0].arm)):
        for what in ("measured", "predicted"):
            points: dict[float, list[float]] = {}
            for part, row in rows:
                horizons, numbers = _condition([row["result"][when]])
                at = _nearest(horizons, HORIZON_BY_GAIN)
                value = getattr(numbers, f"log_{what}")[0, at, DIRECTIONS - 1]
                points.setdefault(part.across or 0.0, []).append(value / np.log(10))
            curves[f"{label}, {what}"] = _lines(points)
    plots.learning_curves(curves, None, rf"$\log_{{10}}\,\kappa_{{{DIRECTIONS}}}$", axis)
    _name_across(axis, figure)
    return picture


PICTURES: dict[str, Callable[[Figure, Rows], Picture]] = {
    "over": over,
    "collapse": collapse,
    "gradient": gradient,
    "paths": paths,
    "transfer": transfer,
    "first exponent": first_exponent,
    "spectra": spectra,
    "condition": condition,
    "condition by gain": condition_by_gain,
}


def png(figure: Figure, rows: Rows) -> bytes:
    """The picture of a figure, as bytes of a PNG."""
    buffer = io.BytesIO()
    PICTURES[figure.picture](figure, rows).savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def table(figure: Figure, rows: Rows) -> list[dict[str, str]]:
    """A line an arm: medians, and how many seeds have learned, or where flossing ended."""
    training = all("score" in row["result"] for _, row in rows)
    lines = []
    for arm in figure.seeds:
        own = [row for part, row in rows if part.arm == arm]
        line = {"": arm}
        if training:
            points = sorted({part.across or 0.0 for part in figure.parts})
            scores = by_point(rows, arm)
            for point in points:
                head = f"{figure.over} {point:.3g}" if figure.over else "score"
                line[head] = _score(figure, scores.get(point, []))
            if figure.picture == "collapse" and own:
                line["collapsed"] = _collapsed(rows, arm, next(iter(figure.seeds)))
        else:
            losses = [row["result"]["flossing_loss"][-1] for row in own]
            steps = [len(row["result"]["step"]) for row in own]
            line["runs"] = str(len(own))
            line["steps"] = f"{np.median(steps):.0f}" if own else "–"
            line["flossing loss"] = f"{np.median(losses):.2g}" if own else "–"
        line["s"] = f"{np.median([row['seconds'] for row in own]):.0f}" if own else "–"
        lines.append(line)
    return lines


def by_point(rows: Rows, arm: str) -> dict[float, list[float]]:
    """The scores of an arm, seed by seed, at each point of the axis."""
    return _by_point(rows, arm, lambda result: result["score"])


def _by_point(
    rows: Rows, arm: str, value: Callable[[dict[str, Any]], float]
) -> dict[float, list[float]]:
    points: dict[float, list[float]] = {}
    for part, row in rows:
        if part.arm == arm:
            points.setdefault(part.across or 0.0, []).append(value(row["result"]))
    return points


def _results(rows: Rows, arm: str) -> list[dict[str, Any]]:
    """What the runs of an arm came to."""
    return [row["result"] for part, row in rows if part.arm == arm]


def _curves(
    figure: Figure, rows: Rows, across: str, value: str
) -> dict[str, tuple[list[float], list[list[float]]]]:
    """Of each arm one list of its results over another, which all its runs share."""
    results = {arm: _results(rows, arm) for arm in figure.seeds}
    return {
        arm: (runs[0][across], [run[value] for run in runs])
        for arm, runs in results.items()
        if runs
    }


def _lines(points: dict[float, list[float]]) -> tuple[list[float], list[list[float]]]:
    """Points of the axis, and a line a seed: those seeds that all points have."""
    seeds = min(map(len, points.values()))
    return list(points), [[values[n] for values in points.values()] for n in range(seeds)]


def _score(figure: Figure, scores: Sequence[float]) -> str:
    if not scores:
        return "–"
    text = f"{np.median(scores):.3f}"
    if figure.task.measure == "error" or figure.picture == "collapse":
        return text
    learned = sum(score >= LEARNED for score in scores)
    return f"{text} ({learned}/{len(scores)})"


def _collapsed(rows: Rows, arm: str, other: str) -> str:
    """How many runs of an arm did, and whether that differs from another by chance."""

    def counted(arm: str) -> tuple[int, int]:
        results = _results(rows, arm)
        return sum(r["best"] - r["score"] >= COLLAPSED for r in results), len(results)

    (ours, n), (theirs, m) = counted(arm), counted(other)
    text = f"{ours} of {n}"
    return text if arm == other else f"{text} (p = {fisher(ours, n, theirs, m):.2g})"


def fisher(a: int, n: int, b: int, m: int) -> float:
    """Fisher's exact test: p of a of n beside b of m, where both have the same odds."""
    ways = [
        math.comb(n, k) * math.comb(m, a + b - k)
        for k in range(max(0, a + b - m), min(n, a + b) + 1)
    ]
    ours = math.comb(n, a) * math.comb(m, b)
    return sum(way for way in ways if way <= ours) / math.comb(n + m, a + b)


def _name_across(axis: Any, figure: Figure) -> None:
    """Names the axis of a figure, which need not begin at 0 as updates do."""
    axis.set_xlabel(figure.over.replace("_", " "))
    axis.autoscale(axis="x")


def _nearest(horizons: Sequence[int], to: int) -> int:
    return min(range(len(horizons)), key=lambda n: abs(horizons[n] - to))


def _mean(lines: Any) -> np.ndarray:
    lines = list(lines)
    return np.mean(lines, axis=0) if lines else np.zeros(0)


def _condition(runs: Sequence[dict[str, Any]]) -> tuple[list[int], ConditionNumber]:
    """Horizons, and condition numbers of shape `(runs, horizons, directions)`."""
    values = np.array([run["log_singular_values"] for run in runs])
    exponents = np.array([run["exponents"] for run in runs])[:, None]
    horizons = runs[0]["horizons"]
    return horizons, ConditionNumber(
        values[..., :1] - values,
        (exponents[..., :1] - exponents) * np.array(horizons)[:, None],
    )
