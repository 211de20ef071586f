"""What exponents mean for a gradient, in a sentence or two."""

import math
from collections.abc import Sequence

# A factor that no optimiser makes up for.
LOST = 1e3


def verdict(exponents: Sequence[float], steps: int) -> str:
    """What exponents mean for a gradient that is to go back over so many steps."""
    first, last = exponents[0], exponents[-1]
    over = f"over {steps} steps"
    if first * steps < -math.log(LOST):
        lost = _power(-first, steps)
        return (
            f"λ_1 = {first:.3g} per step: a gradient loses a factor {lost} {over} even in "
            "the best direction, so what was long ago cannot be learned. Flossing may help."
        )
    if first * steps > math.log(LOST):
        return (
            f"λ_1 = {first:+.3g} per step: a gradient grows by a factor "
            f"{_power(first, steps)} {over}. Clip it; flossing may help."
        )
    if (first - last) * steps > math.log(LOST):
        return (
            f"λ_1 = {first:.3g} per step: in the best direction a gradient arrives {over}, "
            f"but in the last of these {len(exponents)} it is smaller by a factor "
            f"{_power(first - last, steps)}. A task that needs several directions may "
            "want flossing."
        )
    return (
        f"λ_1 = {first:.3g} per step: a gradient arrives in all of these {len(exponents)} "
        f"directions {over}. There is little left to floss."
    )


def _power(exponent: float, steps: int) -> str:
    """`exp(exponent · steps)` as a power of ten."""
    if math.isinf(exponent):
        return "without bound"
    return f"10^{exponent * steps / math.log(10):.0f}"
