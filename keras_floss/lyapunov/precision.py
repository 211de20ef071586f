"""How precise a matrix product is, which may be less than its type."""

import numpy as np
import tensorflow as tf


def product_eps(dtype):
    """The spacing of numbers at 1 to which the factors of a matrix product are rounded.

    That of the type; but a GPU from NVIDIA's compute capability 8.0 on rounds float32 to
    TensorFloat-32, of ten bits, unless TensorFlow is told not to.
    """
    dtype = tf.as_dtype(dtype)
    rounded = tf.config.experimental.tensor_float_32_execution_enabled()
    if dtype == tf.float32 and rounded and any(map(_rounds, _gpus())):
        return 2.0**-10
    return np.finfo(dtype.as_numpy_dtype).eps


def _gpus():
    return tf.config.list_physical_devices("GPU")


def _rounds(gpu):
    # Of one that does not tell the worst is assumed.
    details = tf.config.experimental.get_device_details(gpu)
    return details.get("compute_capability", (8, 0)) >= (8, 0)
