"""Input kernels that are scaled down before flossing, where inputs saturate the units."""

import keras
import numpy as np
import pytest

import keras_floss
from keras_floss import Flossing, FlossingModel

RNG = np.random.default_rng(0)
X = 3 * RNG.normal(size=(8, 20, 2)).astype("float32")


def model_of(*layers, **options):
    keras.utils.set_random_seed(0)
    model = FlossingModel(keras.Sequential([keras.Input((20, 2)), *layers]))
    model.compile(jit_compile=False, **options)
    return model


def kernel_of(layer):
    return np.array(layer.cell.kernel.numpy())


class Look(keras.callbacks.Callback):
    """Keeps the kernels that layers have before the first step."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = layers

    def on_train_begin(self, logs=None):
        self.kernels = [kernel_of(x) for x in self.layers]


def kernels(model, *layers, total=1, **settings):
    """The History of a step, and the kernels that it began with."""
    look, flossing = Look(*layers), Flossing(**settings)
    history = model.flosser.floss(X, 1, flossing, total=total, callbacks=[look], verbose=0)
    return history, *look.kernels


def drive(x, kernel):
    return np.sqrt(np.mean((x.reshape(-1, x.shape[-1]) @ kernel) ** 2))


@pytest.mark.parametrize("kind", [keras.layers.SimpleRNN, keras_floss.layers.RateRNN])
def test_inputs_that_saturate_are_scaled_to_the_drive(kind):
    layer = kind(6, name="memory")
    model = model_of(layer)
    before = kernel_of(layer)
    history, kernel = kernels(model, layer, input_drive=0.3, batch_size=None)
    assert drive(X, before) > 0.5
    assert drive(X, kernel) == pytest.approx(0.3, rel=1e-5)
    factor = history.scaled["memory"]
    np.testing.assert_allclose(kernel, factor * before, rtol=1e-6)
    assert history.message.endswith(
        f" The input kernel of memory was scaled by {factor:.2g}."
    )


def test_a_layer_is_measured_behind_those_that_were_scaled():
    first = keras.layers.SimpleRNN(6, return_sequences=True)
    second = keras_floss.layers.RateRNN(6)
    model = model_of(first, second)
    others = first.get_weights()[1:]
    history, a, b = kernels(model, first, second, batch_size=None)
    assert len(history.scaled) == 2
    first.set_weights([a, *others])  # those of before the step
    assert drive(X, a) == pytest.approx(0.2, rel=1e-5)
    assert drive(np.asarray(first(X)), b) == pytest.approx(0.2, rel=1e-5)


def test_padding_does_not_count():
    layer = keras.layers.SimpleRNN(6)
    model = model_of(keras.layers.Masking(0.0), layer)
    x = X.copy()
    x[:, 5:] = 0
    look = Look(layer)
    model.flosser.floss(
        x, 1, Flossing(batch_size=None), total=1, callbacks=[look], verbose=0
    )
    assert drive(x[:, :5], look.kernels[0]) == pytest.approx(0.2, rel=1e-5)


@pytest.mark.parametrize(
    ("layer", "settings"),
    [
        (keras.layers.SimpleRNN(6), {"input_drive": 0.0}),
        (keras.layers.SimpleRNN(6), {"input_drive": 100.0}),
        (keras.layers.SimpleRNN(6, activation="relu"), {}),
        (keras.layers.LSTM(6), {}),
        (keras.layers.GRU(6), {}),
        (keras.layers.SimpleRNN(6), {"total": None}),
        (keras.layers.SimpleRNN(6), {"total": 5}),
    ],
    ids=["0", "less", "ReLU", "LSTM", "GRU", "during training", "interrupted"],
)
def test_other_kernels_are_left_alone(layer, settings):
    model = model_of(layer)
    before = kernel_of(layer)
    history, kernel = kernels(model, layer, **settings)
    assert not history.scaled
    np.testing.assert_array_equal(kernel, before)


def test_a_frozen_kernel_is_left_alone():
    layer = keras.layers.SimpleRNN(6)
    model = model_of(layer)
    layer.cell.kernel.trainable = False
    assert not kernels(model, layer)[0].scaled


def test_inputs_that_are_not_numbers_scale_nothing():
    layer = keras.layers.SimpleRNN(6)
    model = model_of(layer)
    before = kernel_of(layer)
    bad = X.copy()
    bad[0, 0, 0] = np.nan
    history = model.flosser.floss(bad, 1, Flossing(batch_size=None), total=1, verbose=0)
    assert not history.scaled
    np.testing.assert_array_equal(kernel_of(layer), before)


@pytest.mark.parametrize("value", [-0.1, "small", float("nan")])
def test_a_drive_is_a_number_from_0(value):
    with pytest.raises(ValueError, match="`input_drive` must be"):
        Flossing(input_drive=value)


def test_a_model_that_was_trained_keeps_its_kernel():
    layer = keras.layers.SimpleRNN(6)
    model = model_of(layer, optimizer="adam", loss="mse")
    model.fit(X, np.zeros((8, 6), "float32"), verbose=0)
    before = kernel_of(layer)
    history, kernel = kernels(model, layer)
    assert not history.scaled
    np.testing.assert_array_equal(kernel, before)


def test_an_error_before_the_first_step_leaves_the_kernel():
    layer = keras.layers.SimpleRNN(6)
    model = model_of(layer)
    before = kernel_of(layer)
    with pytest.raises(ValueError, match="window"):
        model.floss(X, 1, window=21, verbose=0)
    np.testing.assert_array_equal(kernel_of(layer), before)
