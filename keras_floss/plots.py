"""Pictures of results. Each function takes results and an optional axis, and returns it.

matplotlib is imported when a picture is drawn: `pip install "keras-floss[plots]"`.
"""

import importlib.util
import io
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_floss.lyapunov import ConditionNumber
from keras_floss.utils.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "accuracy_by_delay",
    "condition_numbers",
    "exponents_over_time",
    "figure",
    "gradient_norms",
    "learning_curves",
    "spectra",
]

# Okabe and Ito's colours, which differ for colour-blind readers; markers and line styles
# differ too, for print.
_SEVEN: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#56B4E9", "marker": "v", "linestyle": (0, (6, 2))},
    {"color": "#E69F00", "marker": "P", "linestyle": "-"},
    {"color": "#000000", "marker": "x", "linestyle": "--"},
)
# As many again, each colour with the marker and the line of another one.
STYLES = _SEVEN + tuple(
    {**style, "color": other["color"]}
    for style, other in zip(_SEVEN, _SEVEN[3:] + _SEVEN[:3], strict=True)
)

PREDICTION = r"predicted: $(\lambda_1 - \lambda_m)\,t$"
EXPONENT = r"$\lambda_i$ per time step"


def has_matplotlib() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def require_matplotlib() -> None:
    """Raises an ImportError that says how to install matplotlib if it is missing."""
    if not has_matplotlib():
        raise ImportError('Pictures need matplotlib: pip install "keras-floss[plots]"')


def figure(columns: int = 1) -> "tuple[Figure, Any]":
    """A new figure that no window shows, and its axes: `(figure, axes)`."""
    require_matplotlib()
    from matplotlib.figure import Figure

    result = Figure(figsize=(5.2 * columns, 3.9), layout="constrained")
    return result, result.subplots(1, columns)


def learning_curves(
    curves: Mapping[str, tuple[Array, Array]],
    chance: float | None = None,
    measure: str = "accuracy",
    ax: "Axes | None" = None,
) -> "Axes":
    """Accuracy over updates.

    Args:
        curves: `{label: (updates, accuracies)}`. The accuracies may be `(seeds, updates)`:
            then the line is the median, and a band goes from the 20th to the 80th
            percentile.
        chance: accuracy of guessing, drawn as a line. Defaults to None.
        measure: what is on the vertical axis. Defaults to `"accuracy"`.
        ax: a matplotlib axis. Defaults to None, a new one.

    Returns:
        The axis.
    """
    ax = _axis(ax)
    for (label, (updates, values)), style in zip(curves.items(), itertools.cycle(STYLES)):
        values = np.atleast_2d(values)
        if len(values) > 1:
            low, high = np.percentile(values, [20, 80], axis=0)
            ax.fill_between(updates, low, high, color=style["color"], alpha=0.2, lw=0)
        median = np.median(values, axis=0)
        every = max(1, len(median) // 12)
        ax.plot(updates, median, label=label, markersize=4, markevery=every, **style)
    if chance is not None:
        ax.axhline(chance, color="0.5", linewidth=1, linestyle=":", label="chance")
    ax.set_xlim(left=0)
    if measure.endswith("accuracy"):
        ax.set_ylim(top=1.02)
    return _finish(ax, "updates", measure)


def accuracy_by_delay(
    results: Mapping[str, tuple[Array, Array]],
    chance: float | None = None,
    measure: str = "accuracy",
    ax: "Axes | None" = None,
) -> "Axes":
    """Accuracy over the delay of the task, by method.

    Args:
        results: `{label: (delays, accuracies)}`. The accuracies may be `(seeds, delays)`:
            then the line is the median, and a band goes from the 20th to the 80th
            percentile.
        chance: accuracy of guessing, drawn as a line. Defaults to None.
        measure: what is on the vertical axis. Defaults to `"accuracy"`.
        ax: a matplotlib axis. Defaults to None, a new one.

    Returns:
        The axis.
    """
    ax = learning_curves(results, chance, measure, ax)
    ax.set_xlabel("delay in time steps")
    return ax


def spectra(
    exponents: Mapping[str, Array], flossed: int | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Lyapunov exponents over their index.

    Args:
        exponents: `{label: (k,) array}`, per time step.
        flossed: number of exponents that were flossed, shaded. Defaults to None.
        ax: a matplotlib axis. Defaults to None, a new one.

    Returns:
        The axis.
    """
    ax = _axis(ax)
    for (label, values), style in zip(exponents.items(), itertools.cycle(STYLES)):
        index = range(1, 1 + len(np.asarray(values)))
        ax.plot(index, values, label=label, markersize=3, **style)
    if flossed is not None:
        ax.axvspan(
            0.5,
            flossed + 0.5,
            label="flossed exponents",
            facecolor="0.92",
            edgecolor="0.6",
            zorder=0,
        )
    ax.axhline(0.0, color="0.5", linewidth=1)
    return _finish(ax, "index $i$", EXPONENT)


def exponents_over_time(
    times: Array,
    exponents: Array,
    time: str = "flossing steps",
    ax: "Axes | None" = None,
) -> "Axes":
    """Lyapunov exponents as flossing or training moves them.

    Args:
        times: `(n,)`: flossing steps, updates or epochs.
        exponents: `(n, k)`, per time step: an entry `<layer>/exponents` of
            `LyapunovMonitor.history`.
        time: what the times are. Defaults to `"flossing steps"`.
        ax: a matplotlib axis. Defaults to None, a new one.

    Returns:
        The axis.
    """
    import matplotlib

    ax = _axis(ax)
    exponents = np.asarray(exponents)
    count = exponents.shape[1]
    # From dark to light, in print too, without the lightest, which white would hide.
    colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, count))
    for index, color in enumerate(colors):
        end = index in (0, count - 1)
        ax.plot(
            times,
            exponents[:, index],
            color=color,
            linewidth=1.8 if end else 0.8,
            linestyle="--" if end and index else "-",
            label=rf"$\lambda_{{{index + 1}}}$" if end else None,
        )
    ax.axhline(0.0, color="0.5", linewidth=1)
    return _finish(ax, time, EXPONENT)


def gradient_norms(norms: Mapping[str, Array], ax: "Axes | None" = None) -> "Axes":
    """The norm of the task's gradient in the states over the time step.

    Args:
        norms: `{label: (time,) array}`: the `norms` that `keras_floss.gradient_norms`
            gives for a layer. Norms of 0 are not drawn.
        ax: a matplotlib axis. Defaults to None, a new one.

    Returns:
        The axis.
    """
    ax = _axis(ax)
    for (label, values), style in zip(norms.items(), itertools.cycle(STYLES)):
        values = np.where(np.asarray(values) > 0, values, np.nan)
        every = max(1, len(values) // 12)
        ax.plot(values, label=label, markersize=4, markevery=every, **style)
    ax.set_yscale("log")
    return _finish(ax, "time step $t$", r"$\Vert\partial\,\mathrm{loss}/\partial s_t\Vert$")


def condition_numbers(
    results: Mapping[str, tuple[Array, ConditionNumber]],
    directions: int | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The condition number of the long-term Jacobian over the horizon.

    Args:
        results: `{label: (horizons, ConditionNumber)}`: what
            `keras_floss.condition_number` gives for these horizons. The median over
            sequences is drawn, and the prediction from the exponents as a thin line.
        directions: m, the number of leading directions. Defaults to None, all there are.
        ax: a matplotlib axis. Defaults to None, a new one.

    Returns:
        The axis.
    """
    ax = _axis(ax)
    last = -1 if directions is None else directions - 1
    for (label, (horizons, result)), style in zip(results.items(), itertools.cycle(STYLES)):
        # Decimal logarithms: the numbers themselves would not fit into a float.
        measured, predicted = (
            np.median(np.asarray(x)[:, :, last], axis=0) / np.log(10)
            for x in (result.log_measured, result.log_predicted)
        )
        ax.plot(horizons, measured, label=label, markersize=4, **style)
        ax.plot(horizons, predicted, color=style["color"], linewidth=1, alpha=0.7)
    ax.plot([], [], color="0.4", linewidth=1, label=PREDICTION)
    return _finish(ax, "horizon $t$ in time steps", r"$\log_{10}\,\kappa_m$")


def png(figure: "Figure") -> bytes:
    """The picture as bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _axis(ax):
    if ax is not None:
        return ax
    require_matplotlib()
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def _finish(ax, across, up):
    """What all pictures have: words along the axes, no box, a legend."""
    ax.set(xlabel=across, ylabel=up)
    ax.spines[["top", "right"]].set_visible(False)
    # It may have to lie on a curve, and should be readable there.
    ax.legend(facecolor="white", edgecolor="none", framealpha=0.9)
    return ax
