"""Traces are kept while they are of use, not longer, and no more of them than a few."""

import copy
import gc
import pickle
import queue
import threading
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import FEATURES, make_inputs, make_layer

from keras_floss import jacobian_singular_values, lyapunov_exponents, lyapunov_statistics

X = make_inputs(1, 8)


class Counting(keras.layers.SimpleRNNCell):
    """A cell that counts how often Python runs it, which is while it is traced."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.queue = queue.SimpleQueue()  # in which no trace sees anything change

    @property
    def calls(self):
        return self.queue.qsize()

    def call(self, x, states, training=False):
        self.queue.put(None)
        return super().call(x, states, training)


def counting_layer():
    cell = Counting(3, dtype="float64")
    return keras.layers.RNN(cell, dtype="float64"), cell


def test_seeds_share_a_trace_and_have_the_frames_that_they_had():
    layer, cell = counting_layer()
    values = [lyapunov_exponents(layer, X, 2, seed=0).numpy()]
    calls = cell.calls
    values += [lyapunov_exponents(layer, X, 2, seed=s).numpy() for s in range(1, 30)]
    assert cell.calls == calls
    assert len({v.tobytes() for v in values}) == 30
    # A Python int in a function of the user's: to the last bits of another trace.
    in_graph = [
        tf.function(lambda x, s=s: lyapunov_exponents(layer, x, 2, seed=s))(X)
        for s in (0, 3)
    ]
    np.testing.assert_allclose([values[0], values[3]], in_graph, rtol=1e-12)


@pytest.mark.parametrize(
    "look",
    [
        lambda layer, x: lyapunov_exponents(layer, x),
        lambda layer, x: lyapunov_statistics(layer, x, seed=int(1e6 * x[0, 0, 0]) % 99),
        lambda layer, x: jacobian_singular_values(layer, x),
    ],
)
def test_new_data_and_weights_and_training_go_through_a_trace(look):
    layer, cell = counting_layer()
    model = keras.Sequential([keras.Input((8, FEATURES)), layer])
    model.compile("sgd", "mse")
    model.fit(X, np.ones((1, 3)), verbose=0)
    look(layer, X)
    calls = cell.calls
    for seed in range(3):
        look(layer, make_inputs(1, 8, seed=seed))
        layer.weights[0].assign_add(layer.weights[0])
    look(layer, X)
    assert cell.calls == calls
    model.fit(X, np.ones((1, 3)), verbose=0)
    model.predict(X, verbose=0)
    calls = cell.calls  # Keras traced its own prediction
    look(layer, X)
    assert cell.calls == calls


def test_what_a_trace_itself_changes_makes_no_new_one():
    class Cell(keras.layers.SimpleRNNCell):
        calls = 0

        def call(self, x, states, training=False):
            self.calls += 1
            self.last = states[0]
            return super().call(x, states, training)

    layer = keras.layers.RNN(Cell(3))
    lyapunov_exponents(layer, X)
    calls = layer.cell.calls
    lyapunov_exponents(layer, X)
    assert layer.cell.calls == calls


def alive(make, count=5):
    """How many of some objects are left after they were looked at and let go."""
    references = []
    for _ in range(count):
        references += map(weakref.ref, make())
    gc.collect()
    return sum(reference() is not None for reference in references)


def looked_at_function():
    rate = tf.constant(3.7, tf.float64)

    def step(s):
        return rate * s * (1 - s)

    with tf.GradientTape() as tape:
        start = tf.constant([[0.3]], tf.float64)
        tape.watch(start)
        exponents = lyapunov_exponents(step, 20, initial_state=start)
    tape.gradient(exponents, start)
    return [step]


def looked_at_layer(kind="LSTM"):
    layer = make_layer(kind)
    with tf.GradientTape() as tape:
        exponents = lyapunov_exponents(layer, X)
    tape.gradient(exponents, layer.trainable_variables[0].value)
    jacobian_singular_values(layer, X)
    return [layer, layer.cell]


def looked_at_cell():
    cell = keras.layers.GRUCell(3)
    # It refers back to what it belongs to.
    cell.activation = lambda x: keras.ops.tanh(x) * len(cell.name)
    lyapunov_exponents(cell, X)
    return [cell, cell.activation]


def with_a_custom_gradient():
    layer = keras.layers.GRU(3, activation="silu")
    with tf.GradientTape() as tape:
        exponents = lyapunov_exponents(layer, X)
    tape.gradient(exponents, layer.trainable_variables[0].value)
    return [layer.cell]


@pytest.mark.parametrize(
    "make",
    [
        looked_at_function,
        pytest.param(looked_at_layer, marks=pytest.mark.slow),
        pytest.param(looked_at_cell, marks=pytest.mark.slow),
        pytest.param(with_a_custom_gradient, marks=pytest.mark.slow),
    ],
    ids=lambda f: f.__name__,
)
def test_what_was_looked_at_goes(make):
    assert alive(make) == 0


@pytest.mark.slow
def test_graphs_go_with_their_layers():
    def graphs():
        gc.collect()
        return sum(isinstance(x, tf.Graph) for x in gc.get_objects())

    alive(looked_at_layer, 1)
    before = graphs()
    alive(looked_at_layer, 3)
    assert graphs() == before


@pytest.mark.slow
def test_of_many_settings_few_traces_are_kept():
    layer, cell = counting_layer()
    activations = []
    for time in range(2, 40):
        # Each trace refers to an activation of its own.
        cell.activation = lambda x: x
        activations.append(weakref.ref(cell.activation))
        lyapunov_exponents(layer, make_inputs(1, time))
    gc.collect()
    assert sum(reference() is not None for reference in activations) <= 20


@pytest.mark.slow
def test_a_trace_that_is_used_again_and_again_is_kept():
    layer, cell = counting_layer()
    lyapunov_exponents(layer, X)
    for time in range(2, 30):
        lyapunov_exponents(layer, make_inputs(1, time))
        calls = cell.calls
        lyapunov_exponents(layer, X)
        assert cell.calls == calls


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_copies_have_no_traces_of_the_original(how):
    class Cell:
        state_size = 2
        gain = 1.0

        def __call__(self, x, states):
            return states[0], [self.gain * states[0]]

    cell = Cell()
    zero = np.zeros((1, 5, 1))
    lyapunov_exponents(cell, zero)
    other = how(cell)
    other.gain = 2.0
    np.testing.assert_allclose(lyapunov_exponents(other, zero), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(lyapunov_exponents(cell, zero), 0, atol=1e-6)


def test_a_layer_that_was_looked_at_is_saved_and_copied(tmp_path):
    layer = make_layer("SimpleRNN")
    model = keras.Sequential([keras.Input((8, FEATURES)), layer])
    expected = lyapunov_exponents(layer, X)
    model.save(tmp_path / "model.keras")
    for other in (
        keras.models.load_model(tmp_path / "model.keras"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        # Its seed generator aside, in other float64 operations of the same kind.
        np.testing.assert_allclose(
            lyapunov_exponents(other.layers[0], X), expected, rtol=1e-9
        )
    model.export(tmp_path / "exported", verbose=False)


@pytest.mark.slow
def test_threads_that_trace_one_layer_at_once_do_not_disturb_each_other():
    def make():
        keras.utils.set_random_seed(0)
        layer = keras.layers.LSTM(4, dtype="mixed_float16")
        layer.build((1, 8, FEATURES))
        return layer

    # Each setting is traced while others are, and so in float32 in place of float16.
    x, settings = X.astype("float32"), [(k, w) for k in (2, 5) for w in range(4)]
    expected = [lyapunov_exponents(make(), x, k, warmup=w) for k, w in settings]
    layer, results = make(), [None] * len(settings)
    barrier = threading.Barrier(len(settings))

    def look(i, k, warmup):
        barrier.wait()
        results[i] = lyapunov_exponents(layer, x, k, warmup=warmup)

    threads = [
        threading.Thread(target=look, args=(i, *pair)) for i, pair in enumerate(settings)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, wanted in zip(results, expected, strict=True):
        # Two traces of the same float32 operations; float16 is 1e-3 away.
        np.testing.assert_allclose(result, wanted, rtol=1e-4)
    assert layer.dtype_policy.name == "mixed_float16"
