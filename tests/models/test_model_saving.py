"""A saved FlossingModel is the same model when loaded, and goes on as it would have."""

import keras
import numpy as np
import pytest

from keras_floss import FlossingModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 6, 2)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")


def tensors(units=3):
    inputs = keras.Input((6, 2))
    x = keras.layers.SimpleRNN(units, name="rnn")(inputs)
    return inputs, keras.layers.Dense(1)(x)


@keras.saving.register_keras_serializable(package="saving_tests")
class OwnCall(FlossingModel):
    """Has a `call`, plain arguments and no `get_config`."""

    def __init__(self, units=3, scale=1.0):
        super().__init__()
        self.scale = scale
        self.rnn = keras.layers.SimpleRNN(units)
        self.readout = keras.layers.Dense(1)

    def call(self, inputs):
        return self.scale * self.readout(self.rnn(inputs))


@keras.saving.register_keras_serializable(package="saving_tests")
class NoInit(FlossingModel):
    pass


@keras.saving.register_keras_serializable(package="saving_tests")
class PlainArguments(FlossingModel):
    """Functional inside, with plain arguments and no `get_config`."""

    def __init__(self, units=3):
        super().__init__(*tensors(units))
        self.units = units


def by_keywords():
    inputs, outputs = tensors()
    return FlossingModel(inputs=inputs, outputs=outputs)


FORMS = {
    "model": lambda: FlossingModel(keras.Model(*tensors())),
    "positional": lambda: FlossingModel(*tensors()),
    "keywords": by_keywords,
    "subclass_with_call": OwnCall,
    "functional_subclass": lambda: NoInit(*tensors()),
}


def compiled(model):
    model.compile(
        keras.optimizers.RMSprop(0.002),
        "mae",
        metrics=["mse"],
        flossing_optimizer=keras.optimizers.Adam(0.004, beta_2=0.9),
    )
    return model


def train(model):
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    model.floss(X, 2, k=2, seed=1, verbose=0)


def assert_same_values(ours, theirs):
    to_numpy = keras.ops.convert_to_numpy
    for a, b in zip(map(to_numpy, ours), map(to_numpy, theirs), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(b))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_loaded_model_goes_on_as_the_saved_one_would_have(form, tmp_path):
    keras.utils.set_random_seed(0)
    model = compiled(FORMS[form]())
    train(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert type(loaded) is type(model)
    np.testing.assert_allclose(loaded(X), model(X), rtol=1e-6)
    assert isinstance(loaded.optimizer, keras.optimizers.RMSprop)
    assert loaded.loss == "mae"
    assert isinstance(loaded.flossing_optimizer, keras.optimizers.Adam)
    assert loaded.flossing_optimizer.beta_2 == 0.9
    np.testing.assert_allclose(loaded.flossing_optimizer.learning_rate, 0.004)
    # Iterations, learning rate and moments.
    ours, theirs = model.flossing_optimizer.variables, loaded.flossing_optimizer.variables
    assert int(loaded.flossing_optimizer.iterations) == 2
    assert any(np.any(keras.ops.convert_to_numpy(v) != 0) for v in ours[2:])
    assert_same_values(ours, theirs)
    assert_same_values(model.optimizer.variables, loaded.optimizer.variables)

    before = model.get_weights()
    train(model)
    train(loaded)
    assert not np.allclose(before[1], model.get_weights()[1])
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        # The same float32 operations in two traces: a few roundings apart.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_metrics_survive(tmp_path):
    model = compiled(FlossingModel(*tensors()))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    scores = loaded.evaluate(X, Y, verbose=0, return_dict=True)
    error = np.asarray(model(X)) - Y
    assert scores["loss"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
    assert scores["mse"] == pytest.approx(np.mean(error**2), rel=1e-5)


@pytest.mark.parametrize("cls", [OwnCall, PlainArguments])
def test_plain_arguments_survive_without_get_config(cls, tmp_path):
    model = cls(units=5)
    answer = model(X)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is cls
    assert loaded.get_weights()[1].shape == (5, 5)
    np.testing.assert_allclose(loaded(X), answer, rtol=1e-6)


def test_an_optimizer_by_name_survives(tmp_path):
    model = FlossingModel(*tensors())
    model.compile("sgd", "mse", flossing_optimizer="rmsprop")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)
    assert isinstance(loaded.flossing_optimizer, keras.optimizers.RMSprop)


def test_a_frozen_layer_stays_frozen(tmp_path):
    model = FlossingModel(*tensors())
    model.model.layers[1].trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.trainable for layer in loaded.model.layers] == [True, False, True]
    assert len(loaded.trainable_variables) == len(model.trainable_variables)


def test_a_frozen_model_stays_frozen(tmp_path):
    model = FlossingModel(*tensors())
    model.trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.trainable_variables


def test_a_model_that_was_never_compiled_loads(tmp_path):
    model = FlossingModel(*tensors())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    np.testing.assert_allclose(loaded(X), model(X), rtol=1e-6)
    with pytest.raises(ValueError, match="compile"):
        loaded.floss(X, 1)


def test_weights_files_carry_the_flossing_optimizer(tmp_path):
    model = compiled(FlossingModel(*tensors()))
    train(model)
    model.save_weights(tmp_path / "model.weights.h5")
    other = compiled(FlossingModel(*tensors()))
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same_values(model.get_weights(), other.get_weights())
    assert_same_values(
        model.flossing_optimizer.variables, other.flossing_optimizer.variables
    )
