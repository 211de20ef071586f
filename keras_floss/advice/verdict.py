"""What a diagnosis says, in a few sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from keras_floss.flossing.flossing_optimizer import NEARLY

if TYPE_CHECKING:
    from keras_floss.advice.diagnosis import LayerDiagnosis


def verdict(layer: LayerDiagnosis) -> str:
    """What there is to say of a layer."""
    return " ".join(_sentences(layer))


def _sentences(layer: LayerDiagnosis) -> Iterator[str]:
    steps, k, ratio = layer.steps, len(layer.exponents), layer.gradient_ratio
    first, last = layer.exponents[0], layer.exponents[-1]
    if layer.obstacle == "dead" and math.isinf(layer.flossing_loss):
        yield (
            f"None of the {k} directions passes on anything: its units are dead (a ReLU "
            "whose input is negative, a kernel of zeros). Flossing cannot wake them; other "
            "initial weights or another activation may."
        )
    elif layer.obstacle == "dead":
        yield (
            "No gradient of the task reaches the layer: what stands between it and the "
            "loss is dead, or the loss does not depend on it."
        )
    elif layer.obstacle == "saturation":
        yield (
            f"Half of the outputs are beyond ±{layer.saturation:.3g}, where an activation "
            f"passes on little (they saturate), and the gradient vanishes over {steps} "
            "steps. Smaller weights, biases or inputs help."
        )
    elif layer.obstacle == "exploding":
        yield (
            f"Over {steps} steps a gradient grows by a factor {_power(first, steps)} (it "
            "explodes): clip it."
        )
    elif layer.obstacle == "vanishing" and ratio is not None:
        yield (
            f"The gradient of the task at the first of {steps} steps is {ratio:.2g} times "
            "that at the last (it vanishes), so what was long ago cannot be learned."
        )
    elif layer.obstacle == "vanishing":
        yield (
            f"Over {steps} steps a gradient loses a factor {_power(-first, steps)} even in "
            "the best direction (it vanishes), so what was long ago cannot be learned."
        )
    elif layer.obstacle == "few directions":
        yield (
            f"Over {steps} steps a gradient arrives in the best direction, but in the last "
            f"of {k} it is smaller by a factor {_power(first - last, steps)}: it has few "
            "directions."
        )
    elif ratio is not None:
        yield (
            f"The gradient of the task at the first of {steps} steps is {ratio:.2g} times "
            "that at the last: it arrives."
        )
    else:
        yield f"Over {steps} steps a gradient arrives in the best direction."
    if layer.recommendation == "floss" and not _likely(layer):
        yield "Flossing may help."
    elif layer.recommendation == "floss":
        yield "Flossing is likely to help."
    elif layer.recommendation == "not needed":
        yield "Flossing is not needed."
    elif layer.recommendation == "flossed":
        yield "The exponents are where flossing would bring them: it cannot do more."
    if layer.lost and layer.recommendation != "dead":
        yield (
            f"{layer.lost:.0f} of the {k} directions are lost (dead units, or a kernel of "
            "low rank), and flossing cannot bring them back."
        )
    if ratio is None and layer.recommendation in ("floss", "flossed"):
        yield (
            "Whether the gradient of the task arrives is not known without targets and a "
            "compiled loss."
        )


def _likely(layer: LayerDiagnosis) -> bool:
    """Whether flossing not only may help."""
    known = layer.gradient_ratio is not None or layer.flossing_loss >= NEARLY
    # A ReLU network of which some directions were lost was not flossed in 100 steps.
    return known and not layer.lost and layer.obstacle not in (None, "saturation")


def _power(exponent: float, steps: int) -> str:
    """`exp(exponent · steps)` as a power of ten."""
    if math.isinf(exponent):
        return "without bound"
    return f"10^{exponent * steps / math.log(10):.0f}"
