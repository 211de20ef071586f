"""What must not change the exponents."""

import numpy as np
import pytest
from cells import SLOW
from reference import DIMS, make_inputs, make_layer, numpy_exponents

from keras_floss import lyapunov_exponents


def test_a_short_frame_has_the_first_exponents_of_the_full_one():
    layer, inputs = make_layer("LSTM"), make_inputs(2, 10)
    full = lyapunov_exponents(layer, inputs)
    short = lyapunov_exponents(layer, inputs, k=3)
    # QR works from the left: only rounding is between them.
    np.testing.assert_allclose(short, full[:, :3], atol=1e-10)


def test_every_sequence_is_on_its_own():
    layer, inputs = make_layer("LSTM"), make_inputs(4, 9)
    together = lyapunov_exponents(layer, inputs, k=4).numpy()
    # The sequences differ, so that a mix-up would show.
    assert np.abs(together - together[::-1]).max() > 1e-3
    order = [2, 0, 3, 1]
    permuted = lyapunov_exponents(layer, inputs[order], k=4)
    np.testing.assert_allclose(permuted, together[order], atol=1e-12)
    alone = lyapunov_exponents(layer, inputs[1:2], k=4)
    np.testing.assert_allclose(alone[0], together[1], atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "qr_interval"),
    [
        pytest.param("SimpleRNN", 2, marks=SLOW),
        ("GRU", 5),
        ("LSTM", 2),
        pytest.param("stacked", 5, marks=SLOW),
    ],
)
def test_the_interval_between_two_qrs(kind, qr_interval):
    layer, inputs = make_layer(kind), make_inputs(2, 12)
    options = {"k": DIMS[kind] // 2, "warmup": 2}
    every = lyapunov_exponents(layer, inputs, **options)
    fewer = lyapunov_exponents(layer, inputs, qr_interval=qr_interval, **options)
    # R is multiplicative. Half of the spectrum over five steps has a condition number
    # below 1e7, which leaves 1e-9.
    np.testing.assert_allclose(fewer, every, atol=1e-8)


def test_an_interval_as_long_as_the_sequence_has_one_qr():
    layer, inputs = make_layer("GRU"), make_inputs(2, 6)
    once = lyapunov_exponents(layer, inputs, k=2, qr_interval=6)
    every = lyapunov_exponents(layer, inputs, k=2)
    np.testing.assert_allclose(once, every, atol=1e-8)


def test_the_frame_to_start_from_is_forgotten_after_warmup():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(1, 300)
    one, other = (
        lyapunov_exponents(layer, inputs, 2, warmup=200, seed=seed) for seed in (0, 1)
    )
    # The leading directions part from the rest by a gap of more than 0.1 per step.
    np.testing.assert_allclose(one, other, atol=1e-6)
    # Without warm-up the start is seen, so that `seed` is not ignored.
    first, second = (lyapunov_exponents(layer, inputs[:, :5], seed=s) for s in (0, 1))
    assert np.abs(first - second).max() > 1e-3


def test_exponents_are_per_time_step():
    layer, inputs = make_layer("GRU"), make_inputs(1, 8)
    a = numpy_exponents(layer.cell, inputs, k=2, warmup=0)
    total = 8 * lyapunov_exponents(layer, inputs, k=2)
    first = 5 * lyapunov_exponents(layer, inputs[:, :5], k=2)
    rest = 3 * lyapunov_exponents(layer, inputs, k=2, warmup=5)
    # The sum over a sequence is that over its beginning and its end.
    np.testing.assert_allclose(first + rest, total, atol=1e-10)
    np.testing.assert_allclose(total, 8 * a, atol=1e-10)
