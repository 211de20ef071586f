"""The same flossing from every kind of data."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells

import keras_floss
from keras_floss import FlossingModel, lyapunov_exponents
from keras_floss.flossing.source import endless

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 8, 2)).astype("float32")
Y = RNG.normal(size=(6, 1)).astype("float32")
SETTINGS = {"k": 2, "target": 0.0, "warmup": 0, "input_drive": 0.0, "verbose": 0}


def still(net):
    """A FlossingModel whose flossing steps move nothing, so that data alone matter."""
    model = FlossingModel(net)
    model.compile("adam", "mse", flossing_optimizer=keras.optimizers.SGD(0.0))
    return model


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 2))
    x = keras.layers.SimpleRNN(3, name="rnn")(inputs)
    return still(keras.Model(inputs, keras.layers.Dense(1)(x)))


@pytest.fixture(scope="module")
def pair():
    keras.utils.set_random_seed(1)
    a, b = keras.Input((8, 2), name="a"), keras.Input((8, 2), name="b")
    x = keras.layers.Subtract()([a, b])
    return still(keras.Model([a, b], keras.layers.SimpleRNN(3)(x)))


def each_loss(model, x=X):
    """The flossing loss of each single sequence."""
    rnn = model.model.get_layer("rnn")
    return np.mean(np.asarray(lyapunov_exponents(rnn, x, 2)) ** 2, axis=1)


def losses(model, x, steps=3, batch_size=6):
    history = model.floss(x, steps, batch_size=batch_size, **SETTINGS)
    return history.history["flossing_loss"]


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, size):
        super().__init__()
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return len(self.x) // self.size

    def __getitem__(self, index):
        part = slice(index * self.size, (index + 1) * self.size)
        return (self.x[part], self.y[part])


def generator(*batch):
    while True:
        yield batch


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays)


SOURCES = {
    "array": lambda: X,
    "float64 array": lambda: X.astype("float64"),
    "tensor": lambda: tf.constant(X),
    "(x,)": lambda: (X,),
    "(x, y)": lambda: (X, Y),
    "(x, y, weight)": lambda: (X, Y, Y[:, 0]),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices(X).batch(6),
    "dataset with targets": lambda: dataset(X, Y).batch(6),
    "dataset with weights": lambda: dataset(X, Y, Y[:, 0]).batch(6),
    "PyDataset": lambda: Batches(X, Y, 6),
    "generator": lambda: generator(X),
    "generator with targets": lambda: generator(X, Y),
}


@pytest.mark.parametrize(
    "source",
    cells(
        [*SOURCES],
        always=["array", "tensor", "(x, y*)", "dataset", "PyDataset", "generator"],
    ),
)
def test_every_source_gives_the_loss_of_its_sequences(model, source):
    expected = each_loss(model).mean()
    # A batch has all sequences and nothing moves: each step gives the same. Two float32
    # traces apart.
    found = losses(model, SOURCES[source]())
    np.testing.assert_allclose(found, [expected] * 3, rtol=1e-4)


PAIRS = {
    "dict": lambda a, b: {"a": a, "b": b},
    "list": lambda a, b: [a, b],
    "(dict, y)": lambda a, b: ({"a": a, "b": b}, Y),
    "(list, y)": lambda a, b: ([a, b], Y),
    "dataset": lambda a, b: dataset({"a": a, "b": b}, Y).batch(6),
}


@pytest.mark.parametrize("source", PAIRS)
def test_a_model_with_two_inputs_gets_both(pair, source):
    noise = RNG.normal(size=X.shape).astype("float32")
    rnn = pair.model.layers[-1]
    expected = np.mean(np.asarray(lyapunov_exponents(rnn, X - noise, 2)) ** 2)
    found = losses(pair, PAIRS[source](X, noise), steps=1)
    np.testing.assert_allclose(found, [expected], rtol=1e-4)


@pytest.mark.parametrize("with_targets", [False, True])
def test_a_short_dataset_is_repeated(model, with_targets):
    data = dataset(X, Y) if with_targets else tf.data.Dataset.from_tensor_slices(X)
    of_each = each_loss(model)
    # Five steps of a dataset of three batches, in its own order.
    expected = [of_each[i : i + 2].mean() for i in (0, 2, 4, 0, 2)]
    found = losses(model, data.batch(2), steps=5)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_batch_size_takes_the_first_sequences_of_each_batch(model):
    of_each = each_loss(model)
    halves = (batch for batch in [(X[:3], Y[:3]), (X[3:], Y[3:])])
    for source in (dataset(X, Y).batch(3), halves):
        found = losses(model, source, steps=2, batch_size=1)
        np.testing.assert_allclose(found, of_each[[0, 3]], rtol=1e-4)
    found = losses(model, Batches(X, Y, 3), steps=2, batch_size=1)
    np.testing.assert_allclose(sorted(found), sorted(of_each[[0, 3]]), rtol=1e-4)


@pytest.mark.parametrize("source", [X, Batches(X, Y, 1)], ids=["array", "PyDataset"])
def test_each_pass_has_every_sequence_once_in_a_new_order(model, source):
    found = np.reshape(losses(model, source, steps=24, batch_size=1), (4, 6))
    expected = np.sort(each_loss(model))
    for one_pass in found:
        np.testing.assert_allclose(np.sort(one_pass), expected, rtol=1e-4)
    # Four passes in one order by chance: 1 in 720³.
    assert not all(np.array_equal(found[0], one_pass) for one_pass in found[1:])


@pytest.mark.parametrize(
    "source",
    cells(["array", "dataset", "PyDataset", "generator"], always=["array", "PyDataset"]),
)
def test_a_subclass_is_built_by_its_first_data(source):
    class Own(FlossingModel):
        def __init__(self):
            super().__init__()
            self.rnn = keras.layers.SimpleRNN(3)

        def call(self, x):
            return self.rnn(x)

    model = Own()
    model.compile("adam", "mse")
    model.floss(SOURCES[source](), 1, **SETTINGS)
    assert model.built
    assert int(model.flossing_optimizer.iterations) == 1


def test_no_source_leaves_a_thread_to_wait_for():
    dataset = tf.data.Dataset.from_tensor_slices(X)
    stream = keras_floss.tasks.delayed_copy(delay=2, length=5, batch_size=1)
    for data in (endless(X, 2), endless(dataset.batch(2), None), stream):
        assert data.options().autotune.enabled is False
    # What a user has decided stays.
    options = tf.data.Options()
    options.autotune.enabled = True
    assert endless(dataset.with_options(options), None).options().autotune.enabled is True
