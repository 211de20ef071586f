"""What is traced and compiled is so once, and new weights and data go through it."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW, cells
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


@pytest.mark.parametrize(
    ("shape", "kind"),
    cells(
        {"(1, 8)": [1, 8], "(None, 8)": [None, 8], "(1, None)": [1, None]},
        ["SimpleRNN", "LSTM"],
        always=["(None, 8)-SimpleRNN"],
    ),
)
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


@pytest.mark.parametrize(
    ("batch_size", "qr_interval"), [(1, "auto"), pytest.param(2, 1, marks=SLOW)]
)
def test_flossing_steps(batch_size, qr_interval):
    inputs = keras.Input((None, FEATURES))
    states = keras.layers.SimpleRNN(6, return_sequences=True)(inputs)
    model = FlossingModel(inputs, keras.layers.Dense(1)(states))
    model.compile("sgd", "mse", flossing_optimizer="sgd", jit_compile=True)
    x = make_inputs(4, 8).astype("float32")
    options = {"batch_size": batch_size, "qr_interval": qr_interval, "seed": 0}
    # The second call has the program of the first.
    assert is_compiled_once(lambda: model.floss(x, 2, verbose=0, **options))


def test_fit_traces_a_training_step_once():
    traced = []

    class Model(FlossingModel):
        def compute_loss(self, *args, **kwargs):
            traced.append(True)
            return super().compute_loss(*args, **kwargs)

    inputs = keras.Input((8, FEATURES))
    model = Model(inputs, keras.layers.SimpleRNN(2)(inputs))
    model.compile("adam", "mse", metrics=[keras.metrics.MeanAbsoluteError()])
    model.fit(make_inputs(4, 8), np.zeros((4, 2)), epochs=2, verbose=0)
    assert len(traced) == 1


def test_fit_leaves_the_optimizer_to_a_training_step_of_ones_own():
    class Head(FlossingModel):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean((self(x) - y) ** 2)
            weights = self.model.layers[-1].trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    inputs = keras.Input((8, FEATURES))
    x = keras.layers.SimpleRNN(2)(inputs)
    model = Head(inputs, keras.layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(make_inputs(4, 8), np.zeros((4, 1)), verbose=0)
    momenta = [v for v in model.optimizer.variables if "momentum" in v.path]
    assert len(momenta) == 2  # of the Dense layer, and none of the recurrent one


@pytest.mark.parametrize("source", ["array", pytest.param("dataset", marks=SLOW)])
def test_flossing_knows_the_shape_of_a_single_sequence(source):
    shapes = set()

    class Cell(keras.layers.SimpleRNNCell):
        def call(self, sequence, states, training=False):
            shapes.add(tuple(sequence.shape))
            return super().call(sequence, states, training)

    inputs = keras.Input((8, FEATURES))
    model = FlossingModel(inputs, keras.layers.RNN(Cell(4))(inputs))
    model.compile("sgd", "mse")
    x = make_inputs(5, 8).astype("float32")
    # The last batch of three has two. Only a single sequence is known to be there.
    data = {"array": x, "dataset": tf.data.Dataset.from_tensor_slices(x).batch(3)}[source]
    shapes.clear()
    model.floss(data, 3, batch_size=1, verbose=0)
    assert (1, FEATURES) in shapes
    assert all(None not in shape for shape in shapes)
