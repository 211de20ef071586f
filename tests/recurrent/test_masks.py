"""A masked step is no step: a padded sequence is the sequence without its padding."""

import numpy as np
import pytest
import tensorflow as tf
from reference import compiled, make_inputs, make_layer, numpy_exponents

from keras_floss import lyapunov_exponents


def padded(where, filling=np.nan):
    """Inputs whose second sequence is padded, their mask, and the sequences cut short."""
    inputs = make_inputs(2, 9)
    mask = np.ones((2, 9), bool)
    padding = {"right": slice(6, 9), "left": slice(0, 3), "middle": slice(2, 5)}[where]
    mask[1, padding] = False
    cut = [inputs[b : b + 1, mask[b]] for b in range(2)]
    return np.where(mask[..., None], inputs, filling), mask, cut


@pytest.mark.parametrize(
    ("where", "options", "xla"),
    [
        pytest.param("right", {"k": 4}, False, marks=pytest.mark.slow),
        pytest.param("left", {"k": 4}, False, marks=pytest.mark.slow),
        ("right", {"k": 3, "warmup": 2, "qr_interval": 3}, False),
        ("left", {"k": 3, "warmup": 2, "qr_interval": 3}, True),
    ],
)
def test_padding_changes_nothing(where, options, xla):
    layer = make_layer("LSTM")
    inputs, mask, cut = padded(where)
    function = compiled(lambda x, m: lyapunov_exponents(layer, x, mask=m, **options), xla)
    exponents = function(inputs, mask)
    for row, sequence in zip(exponents, cut, strict=True):
        alone = lyapunov_exponents(layer, sequence, **options)[0]
        # The same operations on the same numbers; XLA has a QR of its own, though.
        np.testing.assert_allclose(row, alone, atol=1e-10 if xla else 1e-12)


def test_a_gap_in_the_middle_changes_nothing():
    layer = make_layer("GRU")
    inputs, mask, cut = padded("middle")
    options = {"warmup": 1, "qr_interval": 2}
    exponents = lyapunov_exponents(layer, inputs, mask=mask, **options)
    expected = np.vstack([numpy_exponents(layer.cell, c, **options) for c in cut])
    np.testing.assert_allclose(exponents, expected, atol=1e-9)


def test_masks_with_go_backwards():
    layer = make_layer("GRU", go_backwards=True)
    inputs, mask, cut = padded("right")
    exponents = lyapunov_exponents(layer, inputs, mask=mask)
    expected = [numpy_exponents(layer.cell, c[:, ::-1])[0] for c in cut]
    np.testing.assert_allclose(exponents, expected, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("where", "qr_interval"), [("left", 1), ("right", 3)])
def test_gradients_see_no_padding(where, qr_interval):
    layer = make_layer("LSTM")
    options = {"k": 3, "warmup": 1, "qr_interval": qr_interval}
    inputs, mask, cut = padded(where)

    def gradients(inputs, mask):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            exponents = lyapunov_exponents(layer, inputs, mask=mask, **options)
            value = tf.reduce_sum(exponents * tf.constant([1.0, -2.0, 3.0], tf.float64))
        return tape.gradient(value, [inputs, *layer.trainable_variables])

    function = compiled(gradients, False)
    d_inputs, *d_weights = function(tf.constant(inputs), mask)
    np.testing.assert_array_equal(d_inputs.numpy()[~mask], 0)  # NaN stands there
    alone = [function(tf.constant(c), np.ones(c.shape[:2], bool)) for c in cut]
    for b, (d_alone, *_) in enumerate(alone):
        np.testing.assert_allclose(d_inputs[b][mask[b]], d_alone[0], atol=1e-9)
    for i, d in enumerate(d_weights, start=1):
        np.testing.assert_allclose(d, alone[0][i] + alone[1][i], atol=1e-9)


def test_a_mask_of_ones_is_no_mask():
    layer, inputs = make_layer("GRU"), make_inputs(2, 8)
    for dtype in (bool, np.float32, np.int64):
        mask = np.ones((2, 8), dtype)
        np.testing.assert_allclose(
            lyapunov_exponents(layer, inputs, mask=mask),
            lyapunov_exponents(layer, inputs),
            atol=1e-12,
        )
