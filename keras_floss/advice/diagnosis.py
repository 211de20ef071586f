"""What is found out about recurrent layers before anything is changed."""

from __future__ import annotations

import dataclasses
import math
import textwrap
import typing
from typing import Literal, TypeAlias

import numpy as np

from keras_floss.advice.verdict import verdict
from keras_floss.flossing.ending import ARRIVES, not_needed
from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.flossing_optimizer import NEARLY

Recommendation: TypeAlias = Literal["floss", "not needed", "flossed", "dead"]
Obstacle: TypeAlias = Literal[
    "dead", "saturation", "exploding", "vanishing", "few directions"
]

# A factor, from the first to the last step, that no optimiser makes up for.
LOST = 1e3
# Half of the outputs of a tanh are beyond: there it passes a fifth of a gradient at most.
SATURATED = 0.9

HEADS = {
    "floss": "To be flossed: keras_floss.callbacks.Preflossing(train)",
    "not needed": "Flossing is not needed",
    "flossed": "Flossed already",
    "dead": "Flossing cannot help",
}


class LayerDiagnosis(typing.NamedTuple):
    """What `diagnose` says of a recurrent layer.

    Attributes:
        steps: the number of time steps that the layer runs over.
        window: the number of those, from the first, that a flossing step looks at.
        exponents: `(k,)` NumPy array. Per time step, of the window, the mean over the
            sequences that a flossing step looks at.
        flossing_loss: float. The mean square of their distance from the target.
        tolerance: float. The flossing loss at which a layer is flossed.
        lost: float. The number of directions without a finite exponent.
        gradient_ratio: float. The norm of the gradient of the task's loss in the states, at
            the first step over the last at which there is one; NaN where there is none.
            None without targets or without a loss.
        effective_dimension: float. About how many directions the gradient in the recurrent
            kernel has (see `KernelGradient`). None likewise.
        saturation: float. The median of the absolute outputs.
        obstacle: what stops the gradient. `"dead"`: there is none; `"exploding"`;
            `"vanishing"`; `"saturation"`: it vanishes, since most outputs are near ±1;
            `"few directions"`: it arrives, but in most directions it does not. None where
            nothing does.
        recommendation: `"floss"`: it may help; `"not needed"`: the gradient of the task
            arrives as it is; `"flossed"`: the exponents are where flossing would bring
            them; `"dead"`: nothing passes, and flossing cannot change that.
        sentence: both in words.
    """

    steps: int
    window: int
    exponents: np.ndarray
    flossing_loss: float
    tolerance: float
    lost: float
    gradient_ratio: float | None
    effective_dimension: float | None
    saturation: float
    obstacle: Obstacle | None = None
    recommendation: Recommendation = "floss"
    sentence: str = ""

    def __str__(self) -> str:
        k = len(self.exponents)
        lines = [
            *textwrap.wrap(self.sentence, 78),
            f"exponents per step, of {self.window}: λ_1 {self.exponents[0]:+.3g}, "
            f"λ_{k} {self.exponents[-1]:+.3g}",
            f"flossing loss {self.flossing_loss:.2g}, flossed at {self.tolerance:.2g}",
            f"median absolute output {self.saturation:.2g}",
        ]
        if self.gradient_ratio is not None:
            lines.append(
                f"gradient of the task, first step over last: {self.gradient_ratio:.2g}, "
                f"effective dimension {self.effective_dimension:.2g}"
            )
        return "\n".join(f"  {line}" for line in lines)


class Diagnosis(typing.NamedTuple):
    """What `diagnose` says of a model; `print` shows it as text.

    Attributes:
        recommendation: `"floss"` if a layer should be flossed, else `"dead"` if one is,
            else `"flossed"` if all are, else `"not needed"`.
        layers: dict of `LayerDiagnosis` by layer name; Bidirectional: `name/forward`,
            `name/backward`.
        flossing: the `Flossing` to floss with: that of the diagnosis, for the layers that
            should be. None where there is none.
    """

    recommendation: Recommendation
    layers: dict[str, LayerDiagnosis]
    flossing: Flossing | None

    def __str__(self) -> str:
        head = HEADS[self.recommendation]
        flossed = [n for n, x in self.layers.items() if x.recommendation == "floss"]
        if flossed and len(flossed) < len(self.layers):
            head += f", of the layers {', '.join(flossed)}"
        parts = [f"{name}:\n{layer}" for name, layer in self.layers.items()]
        return "\n\n".join([f"{head}.", *parts])


def judge(facts: LayerDiagnosis, gated: bool = False) -> LayerDiagnosis:
    """What follows from the numbers of a layer, which are all but the last three fields.

    Args:
        facts: the numbers.
        gated: whether its units hold what they have by a gate. That the gradient arrives in
            one direction is then not enough.
    """
    ratio, recommendation = facts.gradient_ratio, facts.recommendation
    obstacle = _obstacle(facts)
    if obstacle == "dead":
        recommendation = "dead"
    elif facts.flossing_loss <= facts.tolerance:
        recommendation = "flossed"
    elif ratio is not None and not gated and not_needed(ratio, facts.flossing_loss):
        recommendation = "not needed"
    found = facts._replace(obstacle=obstacle, recommendation=recommendation)
    return found._replace(sentence=verdict(found))


def conclude(layers: dict[str, LayerDiagnosis], flossing: Flossing) -> Diagnosis:
    """What follows for a model from what is said of its layers."""
    said = {layer.recommendation for layer in layers.values()}
    if "floss" in said:
        names = [n for n, layer in layers.items() if layer.recommendation == "floss"]
        if len(said) > 1:
            flossing = dataclasses.replace(flossing, layers=names)
        return Diagnosis("floss", layers, flossing)
    if "dead" in said:
        return Diagnosis("dead", layers, None)
    return Diagnosis("flossed" if said == {"flossed"} else "not needed", layers, None)


def _obstacle(facts: LayerDiagnosis) -> Obstacle | None:
    """What stops a gradient on its way over all steps."""
    first, last = facts.exponents[0] * facts.steps, facts.exponents[-1] * facts.steps
    arriving = facts.gradient_ratio
    if arriving is None:
        # The gradient in the best direction stands for that of the task.
        arriving = math.exp(min(first, 0.0))
    if math.isinf(facts.flossing_loss) or math.isnan(arriving):
        return "dead"
    if first > math.log(LOST):
        return "exploding"
    if arriving < ARRIVES:
        return "saturation" if SATURATED < facts.saturation <= 1 else "vanishing"
    if facts.flossing_loss >= NEARLY and first - last > math.log(LOST):
        return "few directions"
    return None
