"""Damping of the gradient of exponents that are far from where they shall be.

The gradient of an exponent goes through the tangents and through the states at which the
Jacobians are taken. The second way back is the gradient of the network itself: far from a
target of 0 it vanishes or explodes over a window, and where it explodes it drowns all else
(in a chaotic SimpleRNN of 64 units, λ_1 = 0.1, the norm of the gradient over 55 steps is
180 in the median and past 10⁵). So in a flossing step the cotangent of the state is
multiplied at each step by

    γ = exp(−damping · √(mean_i (λ_i − target)²)),

the exponents being those of the same pass: 0.4 at a loss of 3.4, 0.85 at 0.1, 0.97 at
0.004. As the loss goes to 0 the gradient becomes exact. The cotangent of the frame stays as
it is.
"""

import typing
from collections.abc import Sequence

import tensorflow as tf


class Damping(typing.NamedTuple):
    """How much, and the exponents that are aimed at: a number or a sequence of k."""

    damping: float
    target: float | Sequence[float]


def kept(damping, stretch, lost, steps):
    """γ, `(batch, 1)`, of what a forward sweep has measured.

    Args:
        damping: a `Damping`.
        stretch, lost: `(batch, k)`, what `tangent_flow` returns.
        steps: `(batch or 1,)`, the number of counted steps.
    """
    exponents = stretch / tf.cast(tf.maximum(steps, 1), stretch.dtype)[:, None]
    used = tf.cast(~lost, stretch.dtype)
    square = tf.reduce_sum(used * (exponents - damping.target) ** 2, axis=-1, keepdims=True)
    number = tf.maximum(tf.reduce_sum(used, axis=-1, keepdims=True), 1.0)
    return tf.exp(-damping.damping * tf.sqrt(square / number))
