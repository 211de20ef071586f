"""How precise arithmetic is: that of a type, and that of a matrix product."""

import numpy as np
import tensorflow as tf


def eps(dtype):
    """The spacing of numbers at 1."""
    return np.finfo(tf.as_dtype(dtype).as_numpy_dtype).eps


def product_eps(dtype):
    """The spacing of numbers at 1 to which the factors of a matrix product are rounded.

    That of the type; but a GPU from NVIDIA's compute capability 8.0 on rounds float32 to
    TensorFloat-32, of ten bits, unless TensorFlow is told not to.
    """
    on = tf.config.experimental.tensor_float_32_execution_enabled()
    gpus = tf.config.list_physical_devices("GPU")
    details = map(tf.config.experimental.get_device_details, gpus)
    # A GPU that does not tell is assumed to round.
    rounds = (d.get("compute_capability", (8, 0)) >= (8, 0) for d in details)
    if tf.as_dtype(dtype) == tf.float32 and on and any(rounds):
        return 2.0**-10
    return eps(dtype)
