"""What is private in Keras and TensorFlow, and used here, is still there."""

import ast
import contextlib
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_floss
from keras_floss.utils import private_keras
from keras_floss.utils.custom_gradient import custom_gradient


@contextlib.contextmanager
def still_there(name):
    """Fails with a sentence where the block meets something else than it expects."""
    try:
        yield
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        pytest.fail(
            f"`{name}` is not what it was in Keras {keras.__version__} and TensorFlow "
            f"{tf.__version__}: find another way in keras_floss/utils/private_keras.py. "
            f"What failed: {error!r}"
        )


@pytest.fixture
def model():
    inputs = keras.Input((3, 1))
    inner = keras.Sequential([keras.layers.SimpleRNN(2, name="rnn")], name="inner")
    outputs = keras.layers.Dense(1, name="dense")(inner(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


def test_inner_layers(model):
    with still_there("Layer._flatten_layers"):
        names = [layer.name for layer in private_keras.inner_layers(model)]
        assert names[1:] == ["inner", "dense"]


def test_all_layers(model):
    names = [layer.name for layer in private_keras.all_layers(model)]
    assert names[0] == model.name
    assert [n for n in names if n in ("inner", "rnn", "dense")] == ["inner", "rnn", "dense"]
    shared = keras.Sequential([model, model.get_layer("inner")])
    assert len(set(map(id, private_keras.all_layers(shared)))) == len(
        private_keras.all_layers(shared)
    )


def test_own_metrics(model):
    with still_there("Model._metrics"):
        assert private_keras.own_metrics(model) == []
        model.own = keras.metrics.Mean()
        assert private_keras.own_metrics(model) == [model.own]


def test_compiled_loss(model):
    with still_there("Model._compile_loss"):
        loss = private_keras.compiled_loss(model)
        y = np.ones((2, 1), "float32")
        assert float(loss(y, 3 * y)) == 4.0
        model.compile("sgd", "mae")
        assert private_keras.compiled_loss(model) is not loss


def test_epoch_of_backup(model, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def fit(*callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        x = np.ones((2, 3, 1), "float32")
        model.fit(x, x[:, 0], epochs=3, verbose=0, callbacks=[backup, *callbacks])

    with still_there("Model._initial_epoch"):
        assert private_keras.epoch_of_backup(model) is None
        with pytest.raises(KeyboardInterrupt):
            fit(Stop())
        fit()
        assert private_keras.epoch_of_backup(model) == 1


def test_build_shapes(model):
    with still_there("Model._build_shapes_dict"):
        other = keras.Sequential([keras.layers.Dense(1)])
        other.build((None, 3))
        shapes = private_keras.build_shapes(other)
        assert shapes == {"input_shape": (None, 3)}
        private_keras.set_build_shapes(model, shapes)
        assert model.get_build_config() == {"input_shape": (None, 3)}


class Plain(keras.Layer):
    def __init__(self, part):
        super().__init__()


class Marked(Plain):
    @private_keras.as_default
    def get_config(self):
        return super().get_config()


def test_makes_own_config():
    with still_there("Layer._auto_config"):
        assert private_keras.makes_own_config(Plain(2))
        assert not private_keras.makes_own_config(Plain(keras.layers.Dense(1)))


def test_as_default():
    with still_there("get_config._is_default"):
        assert Marked(2).get_config()["part"] == 2


def test_books(model):
    with still_there("the attributes in which Keras keeps its books"):
        before = set(vars(model))
        x = np.ones((2, 3, 1), "float32")
        model.compile("sgd", "mse")
        model.fit(x, x[:, 0], validation_data=(x, x[:, 0]), verbose=0)
        model.predict(x, verbose=0)
        assert set(vars(model)) - before - {"history"} <= private_keras.BOOKS


def test_tracked():
    with still_there("the prefix of what TensorFlow tracks"):
        module = tf.Module()
        module.part = [tf.Variable(1.0)]
        assert any(name.startswith(private_keras.TRACKED) for name in vars(module))


def test_gradients_of_ones_own():
    @tf.custom_gradient
    def double(x):
        return 2.0 * x, lambda d: 3.0 * d

    with still_there("the registry of gradients"), tf.Graph().as_default() as graph:
        double(tf.constant(1.0))
        entries = dict(map(private_keras.custom_gradient_of, graph.get_operations()))
        assert entries.pop(None) == {}
        ((name, entry),) = entries.items()
        assert callable(entry["type"])


def test_replaced_operations():
    @custom_gradient
    def double(x):
        return 2.0 * x, lambda d: 3.0 * d

    def replace(kind):
        return seven if kind == "RandomStandardNormal" else None

    with still_there("Graph._create_op_internal"), tf.Graph().as_default() as graph:
        seven = tf.constant([7.0])
        with private_keras.replaced_operations(replace), tf.GradientTape() as tape:
            tape.watch(seven)
            result = double(tf.random.normal([1]))
        assert "RandomStandardNormal" not in [op.type for op in graph.get_operations()]
        tf.random.normal([1])
        assert "RandomStandardNormal" in [op.type for op in graph.get_operations()]
        gradient = tape.gradient(result, seven)
        with tf.compat.v1.Session(graph=graph) as session:
            assert session.run([result, gradient]) == [[14.0], [3.0]]


PACKAGE = pathlib.Path(keras_floss.__file__).parent


def test_nothing_private_is_used_elsewhere():
    private = re.compile(r"_[a-z]\w*")
    paths = list(PACKAGE.rglob("*.py"))
    ours = {name for path in paths for name in re.findall(r"def (_\w+)", path.read_text())}
    for path in paths:
        if path.name == "private_keras.py":
            continue
        text = path.read_text()
        assert "tensorflow.python" not in text, path
        assert "keras.src" not in text, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and private.fullmatch(node.attr):
                known = "self", "cls"
                own = isinstance(node.value, ast.Name) and node.value.id in known
                inherited = ast.unparse(node.value) == "super()" and node.attr in ours
                assert (
                    own or inherited or node.attr in ("_replace", "_asdict", "_fields")
                ), (
                    f"{path}:{node.lineno} uses the private `{node.attr}`: name what it "
                    "stands for in keras_floss/utils/private_keras.py."
                )
