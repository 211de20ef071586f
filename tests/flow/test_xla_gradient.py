"""The gradient that the package adds to TensorFlow's XLA operations."""

import numpy as np
import tensorflow as tf

import keras_floss  # noqa: F401  (registers it)


def test_a_slice_has_a_gradient_of_its_gradient_under_xla():
    # Under XLA the gradient of a slice is an update of zeros, and this differentiates it:
    # d/dc of Σ (c · a)² over the slice, twice.
    matrix = tf.constant(np.random.default_rng(0).standard_normal((4, 5)))

    @tf.function(jit_compile=True, autograph=False)
    def slope(matrix, begin):
        with tf.GradientTape() as outer:
            outer.watch(matrix)
            with tf.GradientTape() as inner:
                inner.watch(matrix)
                value = tf.reduce_sum(tf.slice(matrix, begin, (2, 3)) ** 3)
            first = inner.gradient(value, matrix)
            total = tf.reduce_sum(first**2)
        return outer.gradient(total, matrix)

    expected = np.zeros((4, 5))
    # (3 a²)² has the derivative 36 a³.
    expected[1:3, 2:5] = 36 * matrix[1:3, 2:5].numpy() ** 3
    np.testing.assert_allclose(slope(matrix, tf.constant([1, 2])), expected, rtol=1e-12)


def test_what_the_update_covers_has_no_gradient_in_the_operand():
    matrix = tf.constant(np.random.default_rng(0).standard_normal((4, 5)))

    @tf.function(jit_compile=True, autograph=False)
    def both(matrix):
        with tf.GradientTape() as tape:
            tape.watch(matrix)
            with tf.GradientTape() as inner:
                inner.watch(matrix)
                value = tf.reduce_sum(matrix[1:3] * matrix[:2])
            first = inner.gradient(value, matrix)
        return tape.gradient(first, matrix)

    # Σ over rows of x_r · x_{r+1} for r = 0, 1: the Hessian times ones counts neighbours.
    expected = np.repeat([[1.0], [2.0], [1.0], [0.0]], 5, axis=1)
    np.testing.assert_allclose(both(matrix), expected, rtol=1e-12)
