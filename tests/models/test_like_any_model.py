"""Asked for what a functional model has, a FlossingModel that wraps one answers alike."""

import keras
import numpy as np
import pytest

from keras_floss import FlossingModel

X = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")


def tensors():
    inputs = keras.Input((6, 2), name="x")
    x = keras.layers.SimpleRNN(3, name="memory")(inputs)
    return inputs, keras.layers.Dense(1, name="readout")(x)


def functional():
    return keras.Model(*tensors())


def sequential():
    rnn = keras.layers.SimpleRNN(3, name="memory")
    return keras.Sequential([keras.Input((6, 2)), rnn, keras.layers.Dense(1)])


def several():
    """Inputs by name, two outputs."""
    inputs = {name: keras.Input((6, 2), name=name) for name in ("a", "b")}
    x = keras.layers.SimpleRNN(3, name="memory")(inputs["a"] + 2.0 * inputs["b"])
    return keras.Model(inputs, [keras.layers.Dense(1, name=n)(x) for n in ("y", "z")])


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.memory = keras.layers.SimpleRNN(3, name="memory")

    def call(self, inputs):
        return self.memory(inputs)


class OwnCall(FlossingModel):
    def __init__(self):
        super().__init__()
        self.memory = keras.layers.SimpleRNN(3, name="memory")

    def call(self, inputs):
        return self.memory(inputs)


class Doubled(FlossingModel):
    """Adds to the model that it wraps: its outputs are not those of that model."""

    def call(self, inputs, training=None):
        return 2.0 * super().call(inputs, training=training)


def unbuilt():
    return keras.Sequential([keras.layers.SimpleRNN(3)])


OF_A_GRAPH = (
    "inputs",
    "outputs",
    "input",
    "output",
    "input_shape",
    "output_shape",
    "output_names",
    "operations",
    "input_dtype",
)


@pytest.mark.parametrize("name", OF_A_GRAPH)
@pytest.mark.parametrize("make", [functional, sequential, several])
def test_it_has_what_the_functional_model_has(make, name):
    plain = make()
    if not hasattr(plain, name):
        pytest.skip("nor has the plain model")
    ours, theirs = (getattr(x, name) for x in (FlossingModel(plain), plain))
    # The tensors and layers themselves.
    ours, theirs = map(keras.tree.flatten, (ours, theirs))
    assert all(a is b or a == b for a, b in zip(ours, theirs, strict=True))


def test_one_of_inputs_and_outputs_has_it_too():
    inputs, outputs = tensors()
    model = FlossingModel(inputs, outputs)
    assert model.inputs[0] is inputs
    assert model.input_shape == (None, 6, 2)
    assert model.output_shape == (None, 1)
    assert model.compute_output_shape((4, 6, 2)) == (4, 1)


def test_a_layer_is_found_by_its_name_and_its_output_is_a_model_s():
    plain = functional()
    model = FlossingModel(plain)
    memory = model.get_layer("memory")
    assert memory is plain.get_layer("memory")
    assert model.get_layer(index=1) is memory
    features = keras.Model(model.inputs, memory.output)
    np.testing.assert_array_equal(features(X), memory(X))
    with pytest.raises(ValueError, match="memory.*readout"):
        model.get_layer("magic")


def test_the_layers_of_a_wrapped_subclass_are_found():
    model = FlossingModel(Subclass())
    assert model.get_layer("memory") is model.model.memory


def test_summary_is_that_of_the_functional_model():
    plain = functional()
    texts = []
    for model in (plain, FlossingModel(plain)):
        lines = []
        model.summary(print_fn=lambda line, lines=lines, **_: lines.append(line))
        texts.append("\n".join(lines))
    assert texts[0] == texts[1]


def test_losses_and_metrics_go_by_the_names_of_the_outputs():
    y = np.zeros((4, 1))
    logs = []
    for wrap in (lambda model: model, FlossingModel):
        keras.utils.set_random_seed(0)
        model = wrap(several())
        losses = {"z": "mae", "y": "mse"}
        model.compile("sgd", losses, metrics={"z": ["mse"]}, jit_compile=False)
        logs.append(
            model.test_on_batch({"a": X, "b": X}, {"y": y, "z": y}, return_dict=True)
        )
    theirs, ours = logs
    assert "z_mse" in theirs
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-6)


@pytest.mark.parametrize("name", ["inputs", "outputs", "input_shape", "output_shape"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FlossingModel(Subclass()), "wraps, which must be functional"),
        (lambda: FlossingModel(unbuilt()), "wraps, which must be functional"),
        (OwnCall, "`OwnCall` has a `call` of its own"),
        (lambda: Doubled(*tensors()), "`Doubled` has a `call` of its own"),
    ],
    ids=["subclass", "unbuilt", "own call", "more than the model"],
)
def test_what_has_no_graph_says_so(make, words, name):
    model = make()
    with pytest.raises(AttributeError, match=f"^`{name}`.*{words}"):
        getattr(model, name)
    assert not hasattr(model, name)


def test_what_no_model_has_is_missing_as_ever():
    with pytest.raises(AttributeError, match="'FlossingModel' object has no attribute"):
        _ = FlossingModel(functional()).magic
    with pytest.raises(AttributeError, match="never been called"):
        _ = OwnCall().input


def test_within_another_model_it_is_a_layer_with_an_input_of_its_own():
    model = FlossingModel(functional())
    inputs = keras.Input((6, 2))
    outer = keras.Model(inputs, model(inputs))
    assert model.input is model.model.input
    np.testing.assert_allclose(outer(X), model(X), rtol=1e-6)


def test_a_subclass_may_use_these_names():
    class Names(OwnCall):
        def __init__(self):
            super().__init__()
            self.inputs = keras.layers.Identity()

        def call(self, inputs):
            return super().call(self.inputs(inputs))

    model = Names()
    assert model(X).shape == (4, 3)
    assert isinstance(model.inputs, keras.layers.Identity)


@pytest.mark.peers
def test_pydot_draws_one_box_of_it_and_the_layers_of_the_model_in_it():
    pytest.importorskip("pydot")
    model = FlossingModel(functional(), name="flossed")
    box = keras.utils.model_to_dot(model, show_layer_names=True, show_shapes=True)
    assert "flossed" in box.to_string()
    assert "(None, 6, 2)" in box.to_string()
    assert "memory" in keras.utils.model_to_dot(model.model).to_string()


@pytest.mark.peers
def test_mlflow_s_signature_is_that_of_the_functional_model():
    utils = pytest.importorskip("mlflow.keras.utils")
    plain = functional()
    signatures = [utils.get_model_signature(m) for m in (plain, FlossingModel(plain))]
    assert signatures[0] == signatures[1]


def flossed():
    model = FlossingModel(functional())
    model.compile("sgd", "mse", jit_compile=False)
    return model


@pytest.mark.peers
def test_scikeras_fits_it():
    scikeras = pytest.importorskip("scikeras.wrappers")
    regressor = scikeras.KerasRegressor(flossed, verbose=0)
    y = X[:, 0, 0]
    answers = regressor.fit(X, y).predict(X)
    assert isinstance(regressor.model_, FlossingModel)
    np.testing.assert_allclose(answers, regressor.model_(X)[:, 0], rtol=1e-5)
