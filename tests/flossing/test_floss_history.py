"""What a flossing pass returns, and that its loss is that of the exponents."""

import keras
import numpy as np
import pytest
from cells import SLOW, cells

from keras_floss import FlossingModel, lyapunov_exponents

X = np.random.default_rng(0).normal(size=(4, 40, 2)).astype("float32")


def two_layers():
    inputs = keras.Input((40, 2))
    x = keras.layers.SimpleRNN(4, return_sequences=True, name="first")(inputs)
    return keras.Model(inputs, keras.layers.SimpleRNN(3, name="second")(x))


def one_layer():
    inputs = keras.Input((40, 2))
    return keras.Model(inputs, keras.layers.SimpleRNN(4, name="rnn")(inputs))


def still(net, **kwargs):
    """A FlossingModel whose flossing steps move nothing, so that each can be checked."""
    model = FlossingModel(net)
    model.compile(flossing_optimizer=keras.optimizers.SGD(0.0), **kwargs)
    return model


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return still(one_layer())


@pytest.fixture(scope="module")
def deep():
    keras.utils.set_random_seed(1)
    return still(two_layers())


def first_loss(model, **settings):
    settings = {"batch_size": len(X), "input_drive": 0.0, "target": 0.0, **settings}
    history = model.floss(X, 1, verbose=0, **settings)
    return history.history["flossing_loss"][0]


def expected_loss(rnn, x, target=0.0, **settings):
    return np.mean((np.asarray(lyapunov_exponents(rnn, x, **settings)) - target) ** 2)


def test_one_entry_per_step_and_the_keys_of_one_layer(model):
    history = model.floss(X, 5, window=8, k=2, verbose=0)
    assert isinstance(history, keras.callbacks.History)
    assert set(history.history) == {
        "flossing_loss",
        "lambda_1",
        "lambda_k",
        "lost_directions",
        "flossing_skipped",
        "qr_interval",
    }
    assert all(len(values) == 5 for values in history.history.values())
    assert history.history["flossing_skipped"] == [0.0] * 5


def test_keys_of_several_layers_are_prefixed(deep):
    history = deep.floss(X, 3, window=8, k=2, verbose=0).history
    assert set(history) == {
        "flossing_loss",
        "flossing_skipped",
        "qr_interval",
        *(
            f"{name}/{key}"
            for name in ("first", "second")
            for key in ("flossing_loss", "lambda_1", "lambda_k", "lost_directions")
        ),
    }
    # The loss is the mean over the layers; float32 rounding of one sum.
    of_layers = [history["first/flossing_loss"], history["second/flossing_loss"]]
    np.testing.assert_allclose(history["flossing_loss"], np.mean(of_layers, 0), rtol=1e-5)


# The default warm-up is 10 + ceil(window/10), but at most half of the window.
@pytest.mark.parametrize(
    ("window", "warmup"),
    cells(
        [(None, 14), (31, 14), (30, 13), (12, 6), (7, 3)], always=["None-14", "12-6", "7-3"]
    ),
)
def test_first_loss_is_that_of_the_exponents_on_the_window(model, window, warmup):
    expected = expected_loss(model.model.layers[1], X[:, :window], k=2, warmup=warmup)
    # Two float32 traces of the same 40 steps.
    np.testing.assert_allclose(first_loss(model, window=window, k=2), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"k": None, "warmup": 0},
        {"k": 3, "warmup": 5, "qr_interval": 3},
        pytest.param({"k": 2, "warmup": 0, "target": -0.4}, marks=SLOW),
        {"k": 2, "warmup": 0, "target": [0.2, -0.3]},
        {"k": 2, "warmup": 0, "seed": 7},
    ],
    ids=str,
)
def test_settings_mean_what_they_mean_for_the_exponents(model, settings):
    expected = expected_loss(model.model.layers[1], X[:, :10], **settings)
    loss = first_loss(model, window=10, **settings)
    # A trailing exponent of 10 steps carries up to ten roundings of its tangent.
    np.testing.assert_allclose(loss, expected, rtol=1e-3)


def test_lambdas_are_means_over_the_sequences(model):
    history = model.floss(X, 1, batch_size=4, window=10, k=3, warmup=0, verbose=0).history
    exponents = np.asarray(lyapunov_exponents(model.model.layers[1], X[:, :10], 3))
    np.testing.assert_allclose(history["lambda_1"], exponents[:, 0].mean(), rtol=1e-3)
    np.testing.assert_allclose(history["lambda_k"], exponents[:, 2].mean(), rtol=1e-3)


def test_k_by_layer(deep):
    settings = {"batch_size": 4, "window": 10, "warmup": 0, "target": 0.0, "verbose": 0}
    history = deep.floss(X, 1, k={"first": 3, "second": 1}, **settings).history
    first, second = deep.model.layers[1:]
    inputs = {"first": X[:, :10], "second": first(X)[:, :10]}
    for rnn, k in ((first, 3), (second, 1)):
        expected = expected_loss(rnn, inputs[rnn.name], k=k)
        loss = history[f"{rnn.name}/flossing_loss"]
        np.testing.assert_allclose(loss, expected, rtol=1e-3)
    assert history["second/lambda_1"] == history["second/lambda_k"]


@pytest.mark.slow
def test_a_layer_that_k_does_not_name_gets_all_its_exponents(deep):
    spectrum = deep.lyapunov_spectrum(X[:2], k={"first": 1}, window=6)
    assert {name: a.shape for name, a in spectrum.items()} == {
        "first": (2, 1),
        "second": (2, 3),
    }


def test_the_same_seed_is_the_same_pass(model):
    # Of the interval a pass knows what those before have found.
    settings = {"window": 8, "k": 2, "qr_interval": 1, "verbose": 0}
    runs = [
        model.floss(X, 8, seed=seed, **settings).history["flossing_loss"]
        for seed in (3, 3, 4)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("target", [pytest.param(0.0, marks=pytest.mark.slow), -0.5])
def test_flossing_brings_the_exponents_to_the_target(target):
    keras.utils.set_random_seed(0)
    model = FlossingModel(one_layer())
    model.compile(flossing_optimizer=keras.optimizers.Adam(0.02))
    losses = model.floss(
        X, 40, batch_size=4, window=10, k=2, target=target, tolerance=0, verbose=0
    ).history["flossing_loss"]
    assert losses[-1] < 0.1 * losses[0]


def test_xla_floss_like_the_graph():
    histories = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(1)
        model = FlossingModel(one_layer())
        model.compile(jit_compile=jit_compile)
        history = model.floss(X, 3, batch_size=4, window=10, k=2, seed=0, verbose=0)
        histories.append(history.history)
    for key in ("flossing_loss", "lambda_1", "lambda_k"):
        # XLA orders float32 sums otherwise; Adam carries that through two steps of 1e-3.
        np.testing.assert_allclose(histories[0][key], histories[1][key], rtol=1e-3)


def test_steps_per_execution_takes_the_same_steps():
    weights = []
    for steps_per_execution in (1, 5):
        keras.utils.set_random_seed(1)
        model = FlossingModel(one_layer())
        # The default has one learning rate for each execution.
        model.compile(flossing_optimizer="adam", steps_per_execution=steps_per_execution)
        history = model.floss(X, 10, window=10, k=2, seed=0, verbose=0)
        assert int(model.flossing_optimizer.iterations) == 10
        assert len(history.history["flossing_loss"]) == 10 // steps_per_execution
        assert history.epoch[-1] == 10
        weights.append(model.get_weights())
    for one, five in zip(*weights, strict=True):
        # The same float32 operations in two traces.
        np.testing.assert_allclose(one, five, rtol=1e-4, atol=1e-6)
