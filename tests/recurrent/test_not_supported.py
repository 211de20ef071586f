"""What is not supported is said in a sentence, and what to do instead."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import FlossingModel, gradient_norms, lyapunov_exponents
from keras_floss.callbacks import LyapunovMonitor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 2)).astype("float32")
L, ops = keras.layers, keras.ops
RAGGED = tf.RaggedTensor.from_tensor(X, lengths=[6, 3, 2])
OBJECTS = np.array([np.ones((2, 2)), np.ones((3, 2))], dtype=object)


class Cell(keras.Layer):
    """tanh(k x + r s), and what a test makes of it."""

    def __init__(self, result=lambda h: (h, [h]), **kwargs):
        super().__init__(**kwargs)
        self.state_size = 3
        self.result = result

    def build(self, shape):
        self.k = self.add_weight(shape=(shape[-1], 3))
        self.r = self.add_weight(shape=(3, 3))

    def call(self, x, states, training=False):
        return self.result(ops.tanh(x @ self.k + states[0] @ self.r))


class AttentionCell(Cell):
    context = None

    def call(self, x, states, training=False):
        return super().call(x + ops.mean(self.context), states)


class AttentionRNN(L.RNN):
    def call(self, sequences, context, initial_state=None, mask=None, training=False):
        self.cell.context = context
        try:
            return super().call(sequences, initial_state, mask, training)
        finally:
            self.cell.context = None


def compiled(net, **kwargs):
    model = FlossingModel(net)
    model.compile("adam", "mse", **kwargs)
    return model


def plain():
    return compiled(keras.Sequential([keras.Input((None, 2)), L.SimpleRNN(3), L.Dense(1)]))


def test_a_cell_that_its_layer_feeds():
    inputs, context = keras.Input((6, 2)), keras.Input((4,))
    layer = AttentionRNN(AttentionCell(), name="attention")
    model = compiled(keras.Model([inputs, context], layer(inputs, context)))
    data = [X, np.ones((3, 4), "float32")]
    with pytest.raises(ValueError, match=r"`attention`.*context\. .*concatenate"):
        model.lyapunov_spectrum(data)
    with pytest.raises(ValueError, match="`attention`.*concatenate"):
        lyapunov_exponents(layer, X)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (RAGGED, "RaggedTensor.*to_tensor"),
        (tf.sparse.from_dense(X), "SparseTensor.*to_dense"),
        (OBJECTS, "pad_sequences"),
    ],
    ids=["ragged", "sparse", "objects"],
)
def test_sequences_that_are_not_dense(data, what):
    for method in (
        lambda: lyapunov_exponents(L.SimpleRNN(3), data),
        lambda: plain().lyapunov_spectrum(data),
        lambda: plain().floss(data, 1, verbose=0),
        lambda: gradient_norms(plain(), data, np.ones((3, 1))),
        lambda: LyapunovMonitor(data),
    ):
        with pytest.raises(ValueError, match=what):
            method()


def test_a_dataset_of_ragged_batches():
    dataset = tf.data.Dataset.from_tensor_slices(RAGGED).batch(2)
    for method in (plain().lyapunov_spectrum, lambda x: plain().floss(x, 1, verbose=0)):
        with pytest.raises(ValueError, match="RaggedTensor.*to_tensor"):
            method(dataset)


def test_a_model_that_runs_eagerly_only():
    class Eager(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = L.SimpleRNN(3), L.Dense(1)

        def call(self, x):
            return self.head(self.rnn(x * float(x.numpy().max())))

    model = compiled(Eager(), run_eagerly=True)
    model.fit(X, np.ones((3, 1)), verbose=0)
    for method in (
        lambda: model.lyapunov_spectrum(X),
        lambda: model.floss(X, 1, verbose=0),
        lambda: gradient_norms(model, X, np.ones((3, 1))),
    ):
        with pytest.raises(ValueError, match=r"`run_eagerly=True`.*`\.numpy\(\)`"):
            method()
    # What can be traced works all the same.
    net = keras.Sequential([keras.Input((6, 2)), L.SimpleRNN(3, name="rnn"), L.Dense(1)])
    spectra = compiled(net, run_eagerly=True).lyapunov_spectrum(X)
    np.testing.assert_allclose(spectra["rnn"], compiled(net).lyapunov_spectrum(X)["rnn"])


@pytest.mark.parametrize("cell", [L.SimpleRNNCell(3), Cell()], ids=["keras", "own"])
def test_recompute_grad(cell):
    # Without the error a cell of one's own had −∞ there.
    cell.build((3, 2))
    recomputed = tf.recompute_grad(lambda x: lyapunov_exponents(cell, x, 2))
    for function in (recomputed, tf.function(recomputed)):
        with pytest.raises(ValueError, match=r"`tf.recompute_grad`.*outside"):
            function(tf.constant(X))


@pytest.mark.slow
def test_forward_accumulator():
    rnn, x = L.SimpleRNN(3), tf.constant(X)
    rnn.build(X.shape)

    def derivative():
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            exponents = lyapunov_exponents(rnn, x, 2)
        return accumulator.jvp(exponents)

    with pytest.raises(ValueError, match=r"ForwardAccumulator.*eagerly"):
        tf.function(derivative)()
    step = 1e-3
    high, low = (lyapunov_exponents(rnn, x + d, 2) for d in (step, -step))
    # Central differences of float32 exponents: 1e-7 / 1e-3 and a truncation of 1e-4.
    difference = (high - low) / (2 * step)
    np.testing.assert_allclose(derivative(), difference, rtol=5e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("result", "what"),
    [
        (lambda h: h, r"return `\(output, states\)`"),
        (lambda h: ("h", ["s"]), "states as tensors"),
        (lambda h: (h, [h[:, :2]]), "states as tensors"),
        (lambda h: (h, [h, h]), "states as tensors"),
    ],
    ids=["no pair", "no tensor", "another size", "too many"],
)
def test_a_cell_that_returns_something_else(result, what):
    with pytest.raises(ValueError, match=f"`odd`.*{what}"):
        lyapunov_exponents(Cell(result, name="odd"), X)


def test_weights_in_half_precision():
    with pytest.raises(ValueError, match='`half`.*float16.*"mixed_float16"'):
        lyapunov_exponents(L.GRU(3, dtype="float16", name="half"), X.astype("float16"))


@pytest.mark.parametrize("x", [X[:0], X[:, :0]], ids=["no sequence", "no step"])
def test_nothing_to_look_at(x):
    with pytest.raises(ValueError, match="one time step or more|one sequence or more"):
        plain().floss(x, 1, verbose=0)
    with pytest.raises(ValueError, match="one time step or more|one sequence or more"):
        plain().lyapunov_spectrum(x)
    if len(x):
        with pytest.raises(ValueError, match="no time step"):
            lyapunov_exponents(L.SimpleRNN(3), x)


@pytest.mark.parametrize("shape", [(6, 2), (3, 5, 6, 2), None, (None, None, None)])
def test_inputs_of_another_rank(shape):
    call = tf.function(
        lambda x: lyapunov_exponents(L.SimpleRNN(3), x),
        input_signature=[tf.TensorSpec(shape)],
    )
    with pytest.raises(ValueError, match=r"`simple_rnn\w*` must be of shape \(batch, time"):
        call.get_concrete_function()
