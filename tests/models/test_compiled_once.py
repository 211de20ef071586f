"""Under XLA new weights and new data go through the program that is there."""

import time

import keras
import pytest
import tensorflow as tf
from reference import FEATURES, make_inputs, make_layer

from keras_floss import FlossingModel, lyapunov_exponents


def is_compiled_once(call):
    """Whether later calls take a tenth of the first one, which compiles, at most."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:]) < seconds[0] / 10


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM"])
@pytest.mark.parametrize("shape", [(1, 8), (None, 8), (1, None)], ids=str)
def test_exponents_of_changing_weights(kind, shape):
    layer = make_layer(kind)

    @tf.function(
        jit_compile=True,
        autograph=False,
        input_signature=[tf.TensorSpec((*shape, FEATURES), tf.float64)],
    )
    def gradients(inputs):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(lyapunov_exponents(layer, inputs, 3))
        return tape.gradient(total, [w.value for w in layer.trainable_variables])

    def call():
        for w, d in zip(
            layer.trainable_variables, gradients(make_inputs(1, 8)), strict=True
        ):
            w.assign_add(0.01 * d)

    assert is_compiled_once(call)


@pytest.mark.parametrize(("batch_size", "qr_interval"), [(1, "auto"), (2, 1)])
def test_flossing_steps(batch_size, qr_interval):
    inputs = keras.Input((None, FEATURES))
    states = keras.layers.SimpleRNN(6, return_sequences=True)(inputs)
    model = FlossingModel(inputs, keras.layers.Dense(1)(states))
    model.compile("sgd", "mse", flossing_optimizer="sgd", jit_compile=True)
    x = make_inputs(4, 8).astype("float32")
    options = {"batch_size": batch_size, "qr_interval": qr_interval, "seed": 0}
    # The second call has the program of the first.
    assert is_compiled_once(lambda: model.floss(x, 2, verbose=0, **options))
