"""The pictures that LyapunovMonitor puts into TensorBoard."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_floss import plots
from keras_floss.diagnostics import GradientNorms

EXPONENTS = "/exponents"


def pictures(
    history: dict[str, list[Any]], time: str, gradients: Mapping[str, GradientNorms]
) -> dict[str, Any]:
    """Figures by name, of what a monitor has seen.

    Args:
        history: `LyapunovMonitor.history`.
        time: what its `time` counts.
        gradients: what `gradient_norms` gives for its batch, or empty.
    """
    figures = {}
    for key in (name for name in history if name.endswith(EXPONENTS)):
        values = np.array(history[key])
        figure, (left, right) = plots.figure(columns=2)
        plots.spectra({"first look": values[0], "now": values[-1]}, ax=left)
        plots.exponents_over_time(history["time"], values, time, ax=right)
        figures[f"{key.removesuffix(EXPONENTS)}/spectrum"] = figure
    if gradients:
        figure, axis = plots.figure()
        plots.gradient_norms({n: g.norms for n, g in gradients.items()}, ax=axis)
        figures["gradient_norms"] = figure
    return figures
