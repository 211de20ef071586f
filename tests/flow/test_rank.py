"""Small is not lost: float32 knows exponents far below the largest, and drops noise."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import compiled

import keras_floss
from keras_floss import lyapunov_exponents, lyapunov_statistics
from keras_floss.flow.loss import flossing_loss

modes = pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])


def layer_of(recurrent, bias=0.0, dtype="float32", activation="tanh"):
    """A SimpleRNN of a given recurrent kernel, whose inputs do nothing."""
    units = len(recurrent)
    layer = keras.layers.SimpleRNN(units, activation=activation, dtype=dtype)
    layer.build((None, None, 1))
    layer.set_weights([np.zeros((1, units)), recurrent, bias + np.zeros(units)])
    return layer


@functools.cache
def flow(layer, xla, time, **options):
    """Exponents, and the gradient of the flossing loss in kernel and bias."""

    def both(inputs):
        with tf.GradientTape() as tape:
            exponents = lyapunov_exponents(layer, inputs, **options)
            loss = flossing_loss(exponents, tf.ones(1, tf.int32))
        return exponents[0], tape.gradient(loss, layer.trainable_variables[1:])

    exponents, gradients = compiled(both, xla)(tf.zeros((1, time, 1), layer.dtype))
    return exponents.numpy(), [g.numpy() for g in gradients]


# A unit with a slope of 1e-9, of 1e-17 and of 1e-26 beside one that is open. The first
# frame is a random one: both tangents then are the same but for the last of these digits.
@pytest.mark.parametrize(
    ("bias", "xla"), cells([10.0, 20.0, 30.0], MODES, always=["10.0-graph"])
)
def test_a_saturated_unit_beside_an_open_one(bias, xla):
    recurrent, bias = np.array([[0.5, 0.1], [0.2, 0.5]]), np.array([0.0, bias])
    expected, slopes = flow(layer_of(recurrent, bias, "float64"), False, 20)
    assert expected[1] < -19
    exponents, gradients = flow(layer_of(recurrent, bias), xla, 20)
    np.testing.assert_allclose(exponents, expected, rtol=1e-5)
    for actual, e in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(actual, e, rtol=0, atol=1e-5 * np.abs(e).max())


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_the_gradient_of_a_part_of_the_frame(xla):
    # Two tangents in three dimensions: what is orthogonal to both has a part in it.
    recurrent = np.array([[0.5, 0.1, 0.3], [0.2, 0.5, -0.4], [-0.3, 0.2, 0.4]])
    bias = np.array([0.0, 10.0, 13.0])
    expected, slopes = flow(layer_of(recurrent, bias, "float64"), False, 12, k=2)
    exponents, gradients = flow(layer_of(recurrent, bias), xla, 12, k=2)
    np.testing.assert_allclose(exponents, expected, rtol=1e-5)
    for actual, e in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(actual, e, rtol=0, atol=1e-3 * np.abs(e).max())


def test_the_gradient_of_a_rescued_direction_is_that_of_finite_differences():
    # d/db of (λ_1² + λ_2²) / 2, in float64 by the definition.
    recurrent = np.array([[0.5, 0.1], [0.2, 0.5]])

    def loss(bias):
        layer = layer_of(recurrent, np.array([0.0, bias]), "float64")
        return np.mean(lyapunov_exponents(layer, np.zeros((1, 20, 1))).numpy() ** 2)

    step = 1e-4
    expected = (loss(10.0 + step) - loss(10.0 - step)) / (2 * step)
    for xla in (False, True):
        _, (_, bias) = flow(layer_of(recurrent, np.array([0.0, 10.0])), xla, 20)
        np.testing.assert_allclose(bias[1], expected, rtol=1e-3)


@modes
@pytest.mark.parametrize("options", cells([{}, {"qr_interval": 2}], always=["{}"]))
def test_the_published_example(options, xla):
    # By hand, with the slope of the second unit: 0.5 · (1 − tanh²(10 + s/2)), s = 1.
    slope = 0.5 / np.cosh(10.5) ** 2
    layer = layer_of(np.diag([0.5, 0.5]), np.array([0.0, 10.0]))
    exponents, _ = flow(layer, xla, 40, warmup=2, **options)
    np.testing.assert_allclose(exponents, np.log([0.5, slope]), rtol=1e-5)


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_checkpoints_and_masks_say_the_same(xla, request):
    before = keras_floss.memory_limit()
    request.addfinalizer(lambda: keras_floss.set_memory_limit(before))
    layer = layer_of(np.diag([0.5, 0.5]), np.array([0.0, 20.0]))
    inputs, mask = tf.zeros((2, 12, 1)), np.ones((2, 12), bool)
    mask[1, 7:] = False

    def exponents(inputs):
        return lyapunov_exponents(layer, inputs, mask=mask, qr_interval=2)

    expected = compiled(exponents, xla)(inputs)
    assert np.isfinite(expected).all()
    keras_floss.set_memory_limit(1)
    np.testing.assert_allclose(compiled(exponents, xla)(inputs), expected, rtol=1e-6)


@modes
@pytest.mark.parametrize("seed", cells(range(3), always=["0"]))
def test_non_normal_matrices(seed, xla):
    # Entries of up to 1e6 above a diagonal of ordinary size. Once the frame is aligned,
    # each exponent is the logarithm of a number on the diagonal; before that the last
    # directions are 1e-40 of the first and lost.
    rng = np.random.default_rng(seed)
    recurrent = np.triu(1e6 * rng.standard_normal((8, 8)), 1)
    diagonal = np.sort(rng.uniform(0.5, 2.0, 8))[::-1] * 0.8 ** np.arange(8)
    layer = layer_of((recurrent + np.diag(diagonal)).T, activation="linear")
    exponents, _ = flow(layer, xla, 300, warmup=200)
    np.testing.assert_allclose(exponents[0], np.log(diagonal[0]), atol=1e-3)
    assert not np.isnan(exponents).any()


def noise(kind, dtype):
    """Kernels of five rows that have a rank of three, to rounding."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    return {
        "product": rng.standard_normal((5, 3)) @ rng.standard_normal((3, 5)),
        "symmetric": (basis * [0.9, 0.8, 0.5, 0.0, 0.0]) @ basis.T,
        "doubled": rng.standard_normal((5, 5))[:, [0, 1, 2, 0, 1]],
        "graded": rng.standard_normal((5, 3))
        @ rng.standard_normal((3, 5))
        * [1, 1e-2, 1e-4, 1, 1e-3],
    }[kind].astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "kind", "warmup", "xla"),
    cells(
        ["float32", "float64"],
        ["product", "symmetric", "doubled", "graded"],
        [0, 3],
        MODES,
        always=[
            "float32-*-0-graph",
            "float64-*-3-graph",
            "float32-product-0-xla",
            "float64-graded-3-xla",
        ],
    ),
)
def test_what_is_noise_is_lost_as_before(kind, dtype, warmup, xla):
    layer = layer_of(noise(kind, dtype), dtype=dtype, activation="linear")
    exponents, gradients = flow(layer, xla, 12, warmup=warmup)
    assert np.isfinite(exponents[:3]).all()
    np.testing.assert_array_equal(exponents[3:], -np.inf)
    for g in gradients:
        assert np.abs(g).max() < 1e5  # of noise it would be 1e7 and more


@pytest.mark.filterwarnings("ignore:Between two QRs", "ignore:.*standard errors")
def test_statistics_tell_small_from_lost():
    layer = layer_of(np.diag([0.5, 0.5]), np.array([0.0, 10.0]))
    small = lyapunov_statistics(layer, np.zeros((1, 60, 1)), warmup=2)
    np.testing.assert_array_equal(small.lost, 0)
    np.testing.assert_allclose(small.exponents[0, 1], -20.3069, rtol=1e-4)
    layer.cell.recurrent_kernel.assign(np.diag([0.5, 0.0]))
    lost = lyapunov_statistics(layer, np.zeros((1, 60, 1)), warmup=2)
    np.testing.assert_array_equal(lost.lost, [[0, 58]])
