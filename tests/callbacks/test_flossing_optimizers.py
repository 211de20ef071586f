"""Whatever optimiser flosses, its steps are those asked for, or it is refused."""

import keras
import numpy as np
import pytest
from cells import SLOW

import keras_floss
from keras_floss.callbacks import AdaptiveFlossing, Preflossing

X = np.random.default_rng(0).standard_normal((6, 8, 2)).astype("float32")
SETTINGS = {"steps": 3, "k": 1, "seed": 0, "input_drive": 0.0, "verbose": 0}
optimizers = keras.optimizers


def make_model(wrapped=True, flossing_optimizer="adam"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(3)(inputs))
    settings = {"jit_compile": False}
    if not wrapped:
        model = keras.Model(inputs, outputs)
    else:
        model = keras_floss.FlossingModel(inputs, outputs)
        settings["flossing_optimizer"] = flossing_optimizer
    model.compile(optimizers.SGD(0.0), "mse", **settings)
    return model


@pytest.mark.parametrize(
    ("optimizer", "named"),
    [
        (optimizers.SGD(0.1, use_ema=True), "use_ema=True"),
        (optimizers.Adam(gradient_accumulation_steps=4), "gradient_accumulation_steps=4"),
        (optimizers.LossScaleOptimizer(optimizers.SGD(use_ema=True)), "use_ema=True"),
        ("ftrl", "Ftrl"),
    ],
    ids=["average", "accumulation", "scaled", "Ftrl"],
)
def test_what_would_undo_the_training_in_between_is_refused(optimizer, named):
    match = f"flossing optimiser.*Received: `{named}`"
    with pytest.raises(ValueError, match=match):
        Preflossing(X, optimizer=optimizer)
    with pytest.raises(ValueError, match=match):
        AdaptiveFlossing(X, optimizer=optimizer)
    with pytest.raises(ValueError, match=match):
        make_model(flossing_optimizer=optimizer)


EVERY = [
    name
    for name, kind in vars(optimizers).items()
    if isinstance(kind, type) and issubclass(kind, optimizers.Optimizer)
]


def tiny_steps(name):
    """An optimiser of this name that hardly moves anything."""
    make, inner = getattr(optimizers, name), optimizers.SGD(1e-6)
    if name == "LossScaleOptimizer":
        return make(inner)
    if name == "MultiOptimizer":
        return make(optimizers.OptimizerMap(inner))
    return make(learning_rate=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if name != "Optimizer"])
def test_no_optimizer_of_keras_undoes_what_was_trained_in_between(name):
    if name in ("Ftrl", "ScheduleFreeAdamW"):
        with pytest.raises(ValueError, match=f"Received: `{name}`"):
            make_model(flossing_optimizer=tiny_steps(name))
        return
    model = make_model(flossing_optimizer=tiny_steps(name))
    model.floss(X, **SETTINGS)
    trained = [w + 0.3 for w in model.get_weights()]
    model.set_weights(trained)
    model.floss(X, **SETTINGS)
    assert model.flosser.iterations == 6
    for ours, theirs in zip(model.get_weights(), trained, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda: optimizers.SGD(0.1, loss_scale_factor=1024.0),
            marks=SLOW,
        ),
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1)),
    ],
    ids=["loss_scale_factor", "LossScaleOptimizer"],
)
def test_a_scale_of_the_loss_changes_nothing(make):
    plain, scaled = map(make_model, (True, True), (optimizers.SGD(0.1), make()))
    before = plain.get_weights()[1]
    for model in (plain, scaled):
        model.floss(X, **SETTINGS)
    assert np.abs(plain.get_weights()[1] - before).max() > 1e-3
    # The factor is a power of two.
    np.testing.assert_allclose(scaled.get_weights()[1], plain.get_weights()[1], atol=1e-6)
    assert scaled.flosser.iterations == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: "sgd",
        lambda: optimizers.Adam(0.01, clipnorm=0.1),
        lambda: optimizers.AdamW(0.01, weight_decay=0.1),
        lambda: optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 3), momentum=0.9),
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1)),
    ],
    ids=["name", "clipped", "decay", "schedule", "scaled"],
)
@pytest.mark.slow
def test_two_models_by_one_callback_are_flossed_alike(make):
    preflossing = Preflossing(X, optimizer=make(), **SETTINGS)
    kernels = []
    for _ in range(2):
        model = make_model(wrapped=False)
        before = model.get_weights()[1]
        model.fit(X, X[:, 0, :1], callbacks=[preflossing], verbose=0)
        kernels.append(model.get_weights()[1])
        assert np.any(kernels[-1] != before)
        assert preflossing.flossed == 3
    np.testing.assert_allclose(*kernels, rtol=1e-5, atol=1e-6)


def test_the_optimizer_of_the_task_is_refused():
    model = make_model(wrapped=False)
    with pytest.raises(ValueError, match="`optimizer`.*another one"):
        model.fit(
            X, X[:, 0, :1], callbacks=[Preflossing(X, optimizer=model.optimizer)], verbose=0
        )
