"""Wrapped, a model does what it does alone, or is refused."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_floss
from keras_floss import FlossingModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 6, 2)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")


@keras.saving.register_keras_serializable(package="wrapped_tests")
class Network(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        dtype = kwargs.get("dtype")
        self.rnn = keras.layers.SimpleRNN(3, dtype=dtype)
        self.readout = keras.layers.Dense(1, dtype=dtype)

    def call(self, inputs):
        return self.readout(self.rnn(inputs))


# What a model may have of its own, and FlossingModel would not call.


@keras.saving.register_keras_serializable(package="wrapped_tests")
class OwnStep(Network):
    def train_step(self, data):
        return {**keras.Model.train_step(self, data), "own": tf.constant(7.0)}


class OwnMetrics(Network):
    @property
    def metrics(self):
        return []


class ByInheritance(OwnStep):
    pass


def with_own(name):
    def own(self, *args, **kwargs):
        return getattr(keras.Model, name)(self, *args, **kwargs)

    return type("Own", (Network,), {name: own})()


def on_the_instance():
    model = Network()
    model.test_step = types.MethodType(OwnStep.train_step, model)
    return model


def functional_with_own_step():
    inputs = keras.Input((6, 2))
    kind = type("Own", (keras.Model,), {"train_step": OwnStep.train_step})
    return kind(inputs, keras.layers.Dense(1)(keras.layers.SimpleRNN(3)(inputs)))


def sequential_with_own_step():
    kind = type("Own", (keras.Sequential,), {"train_step": OwnStep.train_step})
    return kind([keras.layers.SimpleRNN(3), keras.layers.Dense(1)])


def by_name(name):
    return pytest.param(lambda: with_own(name), name, id=name)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *map(
            by_name,
            ["train_step", "test_step", "predict_step", "compute_loss", "compute_metrics"],
        ),
        *map(by_name, ["compile", "fit", "evaluate", "predict", "train_on_batch"]),
        *map(by_name, ["make_train_function", "get_metrics_result", "reset_metrics"]),
        (OwnMetrics, "metrics"),
        (ByInheritance, "train_step"),
        (on_the_instance, "test_step"),
        (functional_with_own_step, "train_step"),
        (sequential_with_own_step, "train_step"),
    ],
)
def test_a_step_of_the_models_own_is_refused_not_dropped(make, name):
    model = make()
    with pytest.raises(ValueError, match=f"never call the `{name}`") as error:
        FlossingModel(model)
    for way_out in ("Preflossing", "from `FlossingModel`", f"Received: {model!r}"):
        assert way_out in str(error.value)


@pytest.mark.slow
def test_the_ways_out_of_a_refusal_train_by_the_models_own_step():
    class Mine(FlossingModel):
        def __init__(self):
            super().__init__()
            self.network = Network()

        def call(self, inputs):
            return self.network(inputs)

        train_step = OwnStep.train_step

    class Handed(FlossingModel):
        """Takes the place of the step itself."""

        def train_step(self, data):
            return {**super().train_step(data), "own": tf.constant(7.0)}

    flossed = keras_floss.callbacks.Preflossing(X, steps=1, verbose=0)
    for model, callbacks in [(OwnStep(), [flossed]), (Mine(), []), (Handed(OwnStep()), [])]:
        model.compile("adam", "mse")
        history = model.fit(X, Y, verbose=0, callbacks=callbacks).history
        assert history["own"] == [7.0]
    assert len(flossed.history.history["flossing_loss"]) == 1


def test_a_saved_model_whose_step_would_be_dropped_is_refused_on_loading(
    tmp_path, monkeypatch
):
    with monkeypatch.context() as before:
        before.delattr(OwnStep, "train_step")
        model = FlossingModel(OwnStep())
        model(X)
        model.save(tmp_path / "model.keras")
    with pytest.raises((TypeError, ValueError), match="never call the `train_step`"):
        keras.models.load_model(tmp_path / "model.keras")


def test_a_flossing_model_is_not_wrapped_again():
    """The joint flossing of the one inside would be dropped."""
    with pytest.raises(ValueError, match=r"is a `FlossingModel` already"):
        FlossingModel(FlossingModel(Network()))


# What is kept.


class AddsLoss(Network):
    def call(self, inputs):
        outputs = super().call(inputs)
        self.add_loss(0.1 * keras.ops.sum(outputs**2))
        return outputs


class Regularized(Network):
    def __init__(self):
        super().__init__()
        options = {"kernel_regularizer": "l2", "activity_regularizer": "l1"}
        self.readout = keras.layers.Dense(1, **options)


class Measures(Network):
    def __init__(self):
        super().__init__()
        self.size = keras.metrics.Mean(name="size")

    def call(self, inputs):
        outputs = super().call(inputs)
        self.size.update_state(keras.ops.mean(outputs**2))
        return outputs


class NamesLikeKeras(Network):
    """Keras has `inputs` and `input_shape` of other models, for something else."""

    def __init__(self):
        super().__init__()
        self.inputs = keras.layers.Identity()
        self.input_shape = (7,)

    def call(self, inputs):
        return super().call(self.inputs(inputs))


class ByMask(Network):
    def call(self, inputs, mask=None):
        return self.readout(self.rnn(inputs, mask=mask))


class NestsOwnStep(Network):
    """Keras itself never calls the step of a model in a model."""

    def __init__(self):
        super().__init__()
        self.rnn = OwnStep()
        self.readout = keras.layers.Identity()


def in_half_precision():
    return Network(dtype="mixed_float16")


@pytest.mark.slow
@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        AddsLoss,
        Regularized,
        Measures,
        ByMask,
        NamesLikeKeras,
        NestsOwnStep,
        in_half_precision,
    ],
)
def test_it_trains_like_the_model_alone(make, built):
    alone, inside = make(), make()
    alone(X)
    weights = alone.get_weights()
    if built:
        inside(X)
    wrapped = FlossingModel(inside)
    wrapped(X)
    results = []
    for model in (alone, wrapped):
        model.set_weights(weights)
        model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"], jit_compile=False)
        data = {"batch_size": 4, "verbose": 0}
        fitted = model.fit(X, Y, epochs=2, shuffle=False, validation_split=0.5, **data)
        scores = model.evaluate(X, Y, return_dict=True, **data)
        results.append({**fitted.history, **{f"then {k}": v for k, v in scores.items()}})
        results[-1]["scaled"] = isinstance(
            model.optimizer, keras.optimizers.LossScaleOptimizer
        )
    theirs, ours = results
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        # The same operations in two traces; half precision has 3 digits.
        rtol = 1e-3 if make is in_half_precision else 1e-5
        np.testing.assert_allclose(ours[name], value, rtol=rtol, err_msg=name)


def with_inputs_of_float64():
    inputs = keras.Input((6, 2), dtype="float64")
    x = keras.layers.SimpleRNN(3, dtype="float64")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, dtype="float64")(x))


@pytest.mark.parametrize("make", [lambda: Network(dtype="float64"), with_inputs_of_float64])
def test_float64_stays_float64(make):
    model, inputs = make(), RNG.normal(size=(8, 6, 2))
    np.testing.assert_array_equal(model(inputs), FlossingModel(model)(inputs))


def test_training_is_by_default_what_it_is_for_the_model():
    class AlwaysTraining(Network):
        def call(self, inputs, training=True):
            return super().call(inputs) + (1.0 if training else 0.0)

    model = AlwaysTraining()
    wrapped = FlossingModel(model)
    for options in ({}, {"training": True}, {"training": False}):
        np.testing.assert_array_equal(model(X, **options), wrapped(X, **options))
