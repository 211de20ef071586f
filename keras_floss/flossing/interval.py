"""How many steps from one QR to the next, fixed or as the spectrum allows.

Between two QRs the tangents turn towards the directions that grow most. Where the exponents
of a frame lie far apart it must be orthonormalised often, or its last tangents drown in
rounding errors; where they are close, as they are once a network is flossed, almost every
QR can go.
"""

from typing import Any, Literal

import numpy as np
import tensorflow as tf

from keras_floss.flossing.term import Pass
from keras_floss.utils.precision import product_eps

INTERVALS = (1, 2, 5, 10, 20, 50)


class Interval:
    """A number of steps from one QR to the next: always the same, or `"auto"`.

    That is the largest of `INTERVALS` at which the exponents and their gradient are right.
    What decides is the condition of a QR: `max log|R_ii| − min log|R_ii|`, about the
    logarithm of the condition number of the tangents. After each pass the next interval is
    chosen by the condition that it is expected to have; a pass whose condition is too large
    all the same is repeated with the next shorter interval.
    """

    def __init__(self, qr_interval: int | Literal["auto"]) -> None:
        self.qr_interval = qr_interval
        if qr_interval == "auto":
            # Each replica has its own: they pass different sequences.
            self._level = tf.Variable(
                0,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    def run(self, compute: Any) -> Pass:
        """`compute(qr_interval)`, a `Pass`; of `"auto"` one whose condition is right."""
        if self.qr_interval != "auto":
            return compute(self.qr_interval)

        def good(level: tf.Tensor, result: Pass) -> tf.Tensor:
            return (level == 0) | (result.log_condition <= allowed(result.width.dtype))

        def shorter(level, _, result):
            level -= 1
            # A slice in place of `gather` would have XLA compile a program for each level.
            result = compute(tf.gather(INTERVALS, level))
            return level, good(level, result), result

        level = tf.convert_to_tensor(self._level)
        if tf.executing_eagerly():
            result = compute(tf.gather(INTERVALS, level))
            start = level, good(level, result), result
        else:
            # Traced once, for the first pass and for those that repeat it.
            compute = tf.function(compute, autograph=False)
            spec = tf.TensorSpec((), tf.int32)
            outputs = compute.get_concrete_function(spec).structured_outputs
            nothing = tf.nest.map_structure(lambda x: tf.zeros(x.shape, x.dtype), outputs)
            start = level + 1, tf.constant(False), nothing
        level, _, result = tf.while_loop(lambda _, done, __: ~done, shorter, start)
        self._level.assign(self._next(level, result))
        return result

    def _next(self, level: tf.Tensor, result: Pass) -> tf.Tensor:
        """The level to begin the next pass with: at most one up."""
        up = tf.minimum(level + 1, len(INTERVALS) - 1)
        steps = tf.gather(INTERVALS, up) - tf.gather(INTERVALS, level)
        expected = result.log_condition + tf.cast(steps, result.width.dtype) * result.width
        # False for NaN and ∞.
        safe = expected <= 0.9 * allowed(result.width.dtype)
        return tf.where(safe, up, level)


def allowed(dtype: tf.DType) -> float:
    """The `log_condition` up to which exponents and gradient are right to about 1 %.

    The gradient's error is about eps times the condition number of the tangents, squared.
    """
    return 0.5 * np.log(0.01 / product_eps(dtype))
