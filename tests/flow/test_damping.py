"""The damped gradient of flossing: its formula, and that it is exact without damping."""

import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import compiled, make_inputs, make_layer

from keras_floss import lyapunov_exponents
from keras_floss.flow.damping import Damping
from keras_floss.flow.frame import initial_frame
from keras_floss.flow.spectrum import trajectory_spectrum
from keras_floss.recurrent.trajectory import as_trajectory

TARGET, DAMPING = -0.1, 0.7
X = make_inputs(2, 7)


def gradient(layer, xla, damping, x=X, **settings):
    def run():
        with tf.GradientTape() as tape:
            trajectory = as_trajectory(layer, tf.constant(x))
            spectrum = trajectory_spectrum(trajectory, 3, damping, **settings)
            loss = tf.reduce_sum(spectrum.exponents**2)
        return tape.gradient(loss, [v.value for v in layer.trainable_weights])

    return compiled(run, xla)()


def unrolled(layer):
    """The same for a SimpleRNN by autodiff of the loop, in which the state is damped."""
    kernel, recurrent, bias = (v.value for v in layer.trainable_weights)
    found = np.asarray(lyapunov_exponents(layer, X, k=3))
    rms = np.sqrt(np.mean((found - TARGET) ** 2, axis=-1, keepdims=True))
    keep = np.exp(-DAMPING * rms)
    frame = tf.broadcast_to(initial_frame(3, 5, 0).T, (2, 5, 3))
    with tf.GradientTape() as tape:
        state, total = tf.zeros((2, 5), tf.float64), 0.0
        for t in range(X.shape[1]):
            # The state itself, with a gradient of `keep`.
            state = keep * state + (1 - keep) * tf.stop_gradient(state)
            state = tf.tanh(X[:, t] @ kernel + state @ recurrent + bias)
            slope = (1 - state**2)[:, :, None]
            frame, r = tf.linalg.qr(slope * tf.matmul(recurrent, frame, transpose_a=True))
            total += tf.math.log(tf.abs(tf.linalg.diag_part(r)))
        loss = tf.reduce_sum((total / X.shape[1]) ** 2)
    return tape.gradient(loss, (kernel, recurrent, bias))


@pytest.mark.parametrize(
    ("xla", "settings"),
    cells(
        MODES,
        {"whole": {}, "blocks": {"memory_limit": 1.0}},
        always=["graph-*", "xla-whole"],
    ),
)
def test_the_gradient_through_the_state_is_damped_at_every_step(xla, settings):
    layer = make_layer("SimpleRNN")
    found = gradient(layer, xla, Damping(DAMPING, TARGET), **settings)
    for one, other in zip(found, unrolled(layer), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_at_the_target_the_gradient_is_exact_and_far_from_it_damped():
    layer, x = make_layer("LSTM"), X[:1]
    exact = gradient(layer, False, None, x)
    own = np.asarray(lyapunov_exponents(layer, x, k=3))[0]
    for damping in (Damping(0.0, TARGET), Damping(DAMPING, own)):
        for one, other in zip(gradient(layer, False, damping, x), exact, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    far = gradient(layer, False, Damping(DAMPING, own + 3), x)
    assert not np.allclose(far[1], exact[1], rtol=0.1)
