"""Pictures of results. Each function takes results and an optional axis, and returns it.

matplotlib is imported when a picture is drawn: `pip install "keras-floss[plots]"`.
"""

import itertools

import numpy as np

# Okabe and Ito's colours, which differ for colour-blind readers; markers and line styles
# differ too, for print.
STYLES = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#56B4E9", "marker": "v", "linestyle": (0, (6, 2))},
)


def require_matplotlib():
    """Raises ImportError that says how to install matplotlib, where it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'Pictures need matplotlib: pip install "keras-floss[plots]"'
        ) from error


def figure(columns=1):
    """A new figure that no window shows, and its axes: `(figure, axes)`."""
    require_matplotlib()
    from matplotlib.figure import Figure

    result = Figure(figsize=(5.2 * columns, 3.9), layout="constrained")
    axes = result.subplots(1, columns)
    return result, axes


def learning_curves(curves, chance=None, measure="accuracy", ax=None):
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
        every = max(1, len(updates) // 12)
        median = np.median(values, axis=0)
        ax.plot(updates, median, label=label, markersize=4, markevery=every, **style)
    if chance is not None:
        ax.axhline(chance, color="0.5", linewidth=1, linestyle=":", label="chance")
    ax.set_xlabel("updates")
    ax.set_ylabel(measure)
    ax.set_xlim(left=0)
    if measure.endswith("accuracy"):
        ax.set_ylim(top=1.02)
    return _finish(ax)


def spectra(exponents, flossed=None, ax=None):
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
        index = range(1, 1 + len(values))
        ax.plot(index, values, label=label, markersize=3, **style)
    if flossed is not None:
        shade = {"facecolor": "0.92", "edgecolor": "0.6", "zorder": 0}
        ax.axvspan(0.5, flossed + 0.5, label="flossed exponents", **shade)
    ax.axhline(0.0, color="0.5", linewidth=1)
    ax.set_xlabel("index $i$")
    ax.set_ylabel(r"$\lambda_i$ per time step")
    return _finish(ax)


def _axis(ax):
    if ax is not None:
        return ax
    require_matplotlib()
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def _finish(ax):
    ax.spines[["top", "right"]].set_visible(False)
    # Where it cannot but lie on a curve, it is to be read all the same.
    ax.legend(facecolor="white", edgecolor="none", framealpha=0.9)
    return ax
