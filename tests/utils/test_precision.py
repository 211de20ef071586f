"""How precise matrix products are taken to be."""

import numpy as np
import pytest
import tensorflow as tf
from reference import pretend_gpu

from keras_floss.utils.precision import product_eps

TENSOR_FLOAT_32 = 2.0**-10
SINGLE, DOUBLE = np.finfo("float32").eps, np.finfo("float64").eps


def test_without_a_gpu_a_product_is_as_precise_as_its_type():
    assert product_eps("float32") == SINGLE
    assert product_eps(tf.float64) == DOUBLE


@pytest.mark.parametrize(
    ("details", "single"),
    [
        ({"compute_capability": (7, 5)}, SINGLE),
        ({"compute_capability": (8, 0)}, TENSOR_FLOAT_32),
        ({"compute_capability": (9, 0)}, TENSOR_FLOAT_32),
        ({}, TENSOR_FLOAT_32),
    ],
    ids=str,
)
def test_gpus(monkeypatch, details, single):
    pretend_gpu(monkeypatch, **details)
    assert product_eps("float32") == single
    assert product_eps("float64") == DOUBLE


def test_tensor_float_32_may_be_turned_off(monkeypatch):
    pretend_gpu(monkeypatch, compute_capability=(8, 0))
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        assert product_eps("float32") == SINGLE
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)
