"""What can be made of a plain Keras model can be made of a FlossingModel: it answers alike.

The networks are unrolled: TensorFlow Lite has no loops over tensors without extras.
"""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells

from keras_floss import FlossingModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6, 2)).astype("float32")
IDS = RNG.integers(0, 5, size=(4, 6)).astype("int32")


def tensors():
    inputs = keras.Input((6, 2), name="x")
    x = keras.layers.SimpleRNN(3, unroll=True)(inputs)
    return inputs, keras.layers.Dense(1)(x)


def embedding():
    inputs = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.Embedding(5, 2)(inputs)
    x = keras.layers.SimpleRNN(3, unroll=True)(x)
    return keras.Model(inputs, keras.layers.Dense(1)(x))


def two_inputs():
    inputs = {name: keras.Input((6, 2), name=name) for name in ("a", "b")}
    x = keras.layers.SimpleRNN(3, unroll=True)(inputs["a"] + 2.0 * inputs["b"])
    return keras.Model(inputs, keras.layers.Dense(1)(x))


def sequential():
    rnn = keras.layers.SimpleRNN(3, unroll=True)
    return keras.Sequential([keras.Input((6, 2)), rnn, keras.layers.Dense(1)])


class Layers:
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rnn = keras.layers.SimpleRNN(3, unroll=True)
        self.readout = keras.layers.Dense(1)

    def call(self, inputs):
        return self.readout(self.rnn(inputs))


@keras.saving.register_keras_serializable(package="export_tests")
class Subclass(Layers, keras.Model):
    pass


@keras.saving.register_keras_serializable(package="export_tests")
class OwnCall(Layers, FlossingModel):
    pass


@keras.saving.register_keras_serializable(package="export_tests")
class Doubled(FlossingModel):
    """Adds to the model that it wraps."""

    def call(self, inputs, training=None):
        return 2.0 * super().call(inputs, training=training)


def called(model):
    model(X)
    return model


FORMS = {
    "model": lambda: FlossingModel(keras.Model(*tensors())),
    "positional": lambda: FlossingModel(*tensors()),
    "sequential": lambda: FlossingModel(sequential()),
    "subclass": lambda: FlossingModel(called(Subclass())),
    "subclass_called_within": lambda: called(FlossingModel(Subclass())),
    "subclass_with_call": lambda: called(OwnCall()),
    "more_than_the_model": lambda: called(Doubled(*tensors())),
}


def fitted(model):
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((4, 1)), verbose=0)
    return model


@pytest.mark.parametrize(
    ("form", "state"),
    cells(
        [*FORMS],
        ["new", "fitted"],
        always=["model-*", "sub*-fitted", "more_than_the_model-fitted"],
    ),
)
def test_the_exported_model_answers_as_the_model(form, state, tmp_path):
    model = FORMS[form]()
    if state == "fitted":
        fitted(model)
    model.export(tmp_path / "model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(exported.serve(X), model(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "inputs"),
    [(embedding, IDS), (two_inputs, {"a": X, "b": X[::-1]})],
    ids=["integers", "dict"],
)
def test_names_and_dtypes_of_inputs_are_those_of_the_plain_export(make, inputs, tmp_path):
    model, signatures = make(), []
    for number, each in enumerate([model, FlossingModel(model)]):
        folder = tmp_path / str(number)
        each.export(folder, verbose=False)
        exported = tf.saved_model.load(folder)
        answer = exported.serve(keras.tree.map_structure(tf.constant, inputs))
        np.testing.assert_allclose(answer, model(inputs), rtol=1e-6)
        serve = exported.signatures["serving_default"]
        signatures.append(serve.structured_input_signature)
    assert signatures[0] == signatures[1]


def lite_answer(content, inputs):
    """The answer of a TensorFlow Lite model, which must take the dtype of `inputs`."""
    interpreter = tf.lite.Interpreter(model_content=content)
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(entry["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(result["index"])


def from_keras_model(model, folder):
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def from_saved_model(model, folder):
    model.export(folder / "model", verbose=False)
    return tf.lite.TFLiteConverter.from_saved_model(str(folder / "model")).convert()


def litert(model, folder):
    if "litert" not in keras.Model.export.__doc__:
        pytest.skip("this Keras has no such format")
    model.export(folder / "model.tflite", format="litert", verbose=False)
    return (folder / "model.tflite").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("way", [from_keras_model, from_saved_model, litert])
@pytest.mark.parametrize(
    ("form", "inputs"),
    [
        ("model", X),
        ("sequential", X),
        ("subclass", X),
        ("subclass_with_call", X),
        ("integers", IDS),
    ],
)
def test_the_lite_model_answers_as_the_model(form, inputs, way, tmp_path):
    model = FlossingModel(embedding()) if form == "integers" else FORMS[form]()
    answer = lite_answer(way(model, tmp_path), inputs)
    # Another library's tanh.
    np.testing.assert_allclose(answer, model(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "form", cells([*FORMS], always=["model", "subclass_with_call", "more_than_the_model"])
)
def test_an_archive_has_the_endpoints_that_are_added(form, tmp_path):
    model = FORMS[form]()
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", model.call, [tf.TensorSpec((None, 6, 2))])
    archive.write_out(tmp_path / "archive", verbose=False)
    exported = tf.saved_model.load(tmp_path / "archive")
    np.testing.assert_allclose(exported.serve(X), model(X), rtol=1e-6)
    assert len(exported.variables) == len(model.variables)


def to_json(model):
    return keras.models.model_from_json(model.to_json())


def pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize(
    ("form", "way"),
    cells(
        [*FORMS],
        {
            "clone_model": keras.models.clone_model,
            "to_json": to_json,
            "deepcopy": copy.deepcopy,
            "pickled": pickled,
        },
        always=[
            "model-*",
            "more_than_the_model-clone_model",
            "more_than_the_model-deepcopy",
            "subclass_with_call-to_json",
            "subclass_called_within-pickled",
        ],
    ),
)
def test_copies_answer_as_the_model(form, way):
    model = FORMS[form]()
    fitted(model)
    answer = np.asarray(model(X))
    other = called(way(model))
    assert type(other) is type(model)
    if way in (keras.models.clone_model, to_json):
        other.set_weights(model.get_weights())
    else:
        assert other.flossing_optimizer is not model.flossing_optimizer
    np.testing.assert_allclose(other(X), answer, rtol=1e-6)
    other.set_weights([0.0 * w for w in other.get_weights()])
    np.testing.assert_array_equal(model(X), answer)
