"""Directions that lose their rank, and sequences without a counted step: never a NaN."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW
from reference import compiled, make_inputs, make_layer, numpy_exponents

from keras_floss import lyapunov_exponents
from keras_floss.flow.loss import flossing_loss

modes = pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])


def exponents_and_gradients(layer, inputs, xla, **options):
    """The exponents, and the gradient of the flossing loss in weights and inputs."""

    def function(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            exponents = lyapunov_exponents(layer, inputs, **options)
            loss = flossing_loss(exponents, tf.ones(inputs.shape[0], tf.int32))
        gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
        return exponents, loss, gradients

    exponents, loss, gradients = compiled(function, xla)(tf.constant(inputs))
    return exponents.numpy(), float(loss), [g.numpy() for g in gradients]


@modes
def test_without_recurrence_every_direction_collapses(xla):
    layer = make_layer("SimpleRNN")
    layer.weights[1].assign(np.zeros((5, 5)))
    exponents, loss, gradients = exponents_and_gradients(layer, make_inputs(2, 8), xla, k=3)
    np.testing.assert_array_equal(exponents, -np.inf)
    assert loss == np.inf  # and not 0, which would be what flossing aims at
    for g in gradients:
        np.testing.assert_array_equal(g, 0)


@pytest.mark.parametrize(
    ("xla", "qr_interval"), [(False, 1), (False, 2), pytest.param(True, 1, marks=SLOW)]
)
def test_dead_units_collapse_and_the_others_do_not(xla, qr_interval):
    # Of five ReLU units three are always on and two are always off: rank 3.
    layer = make_layer("SimpleRNN", activation="relu")
    kernel, recurrent_kernel, _ = layer.get_weights()
    bias = np.array([40.0, 40.0, 40.0, -1e3, -1e3])
    layer.set_weights([0.1 * kernel, 0.3 * recurrent_kernel, bias])
    inputs = make_inputs(2, 8)
    options = {"warmup": 2, "qr_interval": qr_interval}
    exponents, loss, gradients = exponents_and_gradients(layer, inputs, xla, **options)

    alive = numpy_exponents(layer.cell, inputs, k=3, **options)
    assert np.isfinite(alive).all()
    np.testing.assert_allclose(exponents[:, :3], alive, atol=1e-9)
    np.testing.assert_array_equal(exponents[:, 3:], -np.inf)
    np.testing.assert_allclose(loss, np.mean(alive**2), rtol=1e-9)

    # The gradient is that of the directions that are left.
    *_, expected = exponents_and_gradients(layer, inputs, False, k=3, **options)
    for actual, e in zip(gradients, expected, strict=True):
        assert np.isfinite(actual).all()
        np.testing.assert_allclose(actual, e, atol=1e-8 * max(1e-3, np.abs(e).max()))
    assert np.abs(gradients[2]).max() > 1e-3  # of the recurrent kernel


def test_noise_below_the_precision_is_a_collapse_too():
    # A recurrent kernel of rank 2 in floating point: the third stretch is 1e-17.
    rng = np.random.default_rng(0)
    layer = make_layer("SimpleRNN", activation="linear")
    layer.weights[1].assign(rng.standard_normal((5, 2)) @ rng.standard_normal((2, 5)))
    exponents, _, gradients = exponents_and_gradients(layer, make_inputs(2, 8), False)
    assert np.isfinite(exponents[:, :2]).all()
    np.testing.assert_array_equal(exponents[:, 2:], -np.inf)
    assert max(np.abs(g).max() for g in gradients) < 1e3  # noise would give 1e7


def test_the_loss_is_the_mean_squared_distance_of_what_there_is():
    inf, nan = np.inf, np.nan
    exponents = tf.constant([[0.5, -1.0, -inf], [nan, nan, nan], [0.25, -inf, -inf]])
    counted = tf.constant([10, 0, 10])
    with tf.GradientTape() as tape:
        tape.watch(exponents)
        loss = flossing_loss(exponents, counted, target=0.25)
    np.testing.assert_allclose(loss, (0.25**2 + 1.25**2 + 0) / 3, rtol=1e-6)
    # 2 (λ − target) / 3 of what is used, and exactly nothing elsewhere.
    expected = [[0.5 / 3, -2.5 / 3, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(tape.gradient(loss, exponents), expected, rtol=1e-6)


def test_the_loss_has_a_target_for_each_exponent():
    exponents = tf.constant([[1.0, 2.0]])
    loss = flossing_loss(exponents, tf.constant([5]), tf.constant([0.5, -1.0]))
    np.testing.assert_allclose(loss, (0.25 + 9.0) / 2)


def test_the_loss_of_a_collapsed_frame_is_infinite_and_has_no_gradient():
    exponents = tf.constant([[-np.inf, -np.inf], [0.3, 0.4]])
    with tf.GradientTape() as tape:
        tape.watch(exponents)
        loss = flossing_loss(exponents, tf.constant([5, 0]))
    assert np.isposinf(loss)
    np.testing.assert_array_equal(tape.gradient(loss, exponents), 0)
    # One direction that is left in one sequence is enough.
    assert np.isfinite(flossing_loss(exponents, tf.constant([5, 5])))


def test_the_loss_of_nothing_is_zero_and_a_nan_is_not_hidden():
    nothing = flossing_loss(tf.constant([[np.nan]]), tf.constant([0]))
    assert float(nothing) == 0
    assert np.isnan(flossing_loss(tf.constant([[np.nan]]), tf.constant([3])))
    assert np.isinf(flossing_loss(tf.constant([[np.inf]]), tf.constant([3])))


def test_a_sequence_without_a_counted_step_is_nan_with_a_warning():
    layer, inputs = make_layer("GRU"), make_inputs(3, 8)
    mask = np.ones((3, 8), bool)
    mask[1, 3:] = False  # three valid steps, as many as the warm-up
    mask[2] = False
    with pytest.warns(UserWarning, match="no valid step after the 3 steps of warm-up"):
        exponents = lyapunov_exponents(layer, inputs, k=2, mask=mask, warmup=3).numpy()
    assert np.isnan(exponents[1:]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = lyapunov_exponents(layer, inputs[:1], k=2, mask=mask[:1], warmup=3)
    np.testing.assert_allclose(exponents[0], alone[0], atol=1e-12)


@pytest.mark.parametrize("qr_interval", [pytest.param(1, marks=SLOW), 3])
def test_a_sequence_without_a_counted_step_has_no_part_in_the_gradient(qr_interval):
    layer, inputs = make_layer("GRU"), make_inputs(2, 8)
    mask = np.ones((2, 8), bool)
    mask[1, 2:] = False

    def gradients(inputs, mask, counted):
        with tf.GradientTape() as tape:
            exponents = lyapunov_exponents(
                layer, inputs, k=2, mask=mask, warmup=3, qr_interval=qr_interval
            )
            loss = flossing_loss(exponents, counted)
        return tape.gradient(loss, layer.trainable_variables)

    function = compiled(gradients, False)
    both = function(inputs, mask, tf.constant([5, 0]))
    alone = function(inputs[:1], mask[:1], tf.constant([5]))
    for a, b in zip(both, alone, strict=True):
        assert np.abs(b).max() > 1e-5
        np.testing.assert_allclose(a, b, atol=1e-12)
