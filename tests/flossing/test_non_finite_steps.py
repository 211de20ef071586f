"""A flossing step that is not finite changes nothing, and ten in a row stop the pass."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import FlossingModel

GOOD = np.random.default_rng(0).normal(size=(1, 6, 2)).astype("float32")
BAD = np.full_like(GOOD, np.nan)
SETTINGS = {"k": 2, "warmup": 0, "qr_interval": 1, "verbose": 0}


def one_layer():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 2))
    model = FlossingModel(inputs, keras.layers.SimpleRNN(3, name="rnn")(inputs))
    model.compile("adam", "mse", flossing_optimizer=keras.optimizers.Adam(1e-3))
    return model


def two_inputs():
    keras.utils.set_random_seed(1)
    a, b = keras.Input((6, 2), name="a"), keras.Input((6, 2), name="b")
    left = keras.layers.SimpleRNN(2, name="left")(a)
    right = keras.layers.SimpleRNN(2, name="right")(b)
    model = FlossingModel(inputs=[a, b], outputs=[left, right])
    model.compile("adam", "mse", flossing_optimizer=keras.optimizers.Adam(1e-3))
    return model


def batches(*each):
    return tf.data.Dataset.from_tensor_slices(np.stack(each))


def values(model):
    variables = model.weights + model.flossing_optimizer.variables
    return [v.numpy() for v in variables]


def assert_equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_steps_are_counted_and_leave_weights_and_optimizer():
    skipping, clean = one_layer(), one_layer()
    history = skipping.floss(batches(GOOD, BAD, BAD, GOOD, BAD), 5, **SETTINGS).history
    assert history["flossing_skipped"] == [0.0, 1.0, 2.0, 2.0, 3.0]
    finite = np.isfinite(history["flossing_loss"])
    np.testing.assert_array_equal(finite, [True, False, False, True, False])
    assert int(skipping.flossing_optimizer.iterations) == 2

    # As if the bad batches had not been there; the same trace, so to the last bit.
    clean.floss(batches(GOOD, GOOD), 2, **SETTINGS)
    assert_equal(values(skipping), values(clean))


def test_only_steps_in_a_row_count_for_the_stop():
    model = one_layer()
    history = model.floss(batches(*[BAD] * 9, GOOD), 20, **SETTINGS).history
    assert history["flossing_skipped"][-1] == 18


def test_the_count_starts_anew_with_each_pass():
    model = one_layer()
    data = batches(GOOD, BAD)
    assert model.floss(data, 2, **SETTINGS).history["flossing_skipped"] == [0.0, 1.0]
    assert model.floss(data, 2, **SETTINGS).history["flossing_skipped"] == [0.0, 1.0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ten_in_a_row_stop_with_the_name_and_unchanged_weights(value):
    model = one_layer()
    before = values(model)
    with pytest.raises(FloatingPointError, match=r"10 flossing steps.*rnn"):
        model.floss(np.full_like(GOOD, value), 50, **SETTINGS)
    assert_equal(values(model), before)

    # It can be flossed again, on better data.
    model.floss(GOOD, 1, **SETTINGS)
    assert int(model.flossing_optimizer.iterations) == 1


def test_weights_that_are_not_finite_are_left_alone():
    model = one_layer()
    weights = model.get_weights()
    weights[1][0, 0] = np.nan
    model.set_weights(weights)
    with pytest.raises(FloatingPointError, match="rnn"):
        model.floss(GOOD, 20, **SETTINGS)
    assert_equal(model.get_weights(), weights)


@pytest.mark.parametrize(
    ("bad", "good"),
    [pytest.param("left", "right", marks=pytest.mark.slow), ("right", "left")],
)
def test_of_several_layers_the_bad_one_is_named(bad, good):
    model = two_inputs()
    before = values(model)
    data = [BAD, GOOD] if bad == "left" else [GOOD, BAD]
    with pytest.raises(FloatingPointError) as error:
        model.floss({"a": data[0], "b": data[1]}, 20, **SETTINGS)
    assert bad in str(error.value)
    assert good not in str(error.value)
    assert_equal(values(model), before)


def test_steps_per_execution_skip_each_step_for_itself():
    model = one_layer()
    model.compile("adam", "mse", steps_per_execution=4)
    history = model.floss(batches(GOOD, BAD), 8, **SETTINGS).history
    assert history["flossing_skipped"] == [2.0, 4.0]
    assert int(model.flossing_optimizer.iterations) == 4
    with pytest.raises(FloatingPointError):
        model.floss(BAD, 40, **SETTINGS)
