"""What is said of a model before anything is changed, and that it is what flossing does."""

import json

import keras
import numpy as np
import pytest
from cells import MODES, SLOW, cells

import keras_floss
from keras_floss import Flossing, LayerDiagnosis, diagnose, gradient_norms
from keras_floss.advice.diagnosis import judge

LENGTH = 100


def model_of(*layers, length=LENGTH, jit_compile="auto", compiled=True):
    """A compiled model for bits at every step."""
    keras.utils.set_random_seed(0)
    layers = [layer() for layer in layers]
    model = keras.Sequential([keras.Input((length, 1)), *layers, keras.layers.Dense(1)])
    if compiled:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile("adam", loss, jit_compile=jit_compile)
    return model


def simple_rnn(units=64, **options):
    return lambda: keras.layers.SimpleRNN(units, return_sequences=True, **options)


def batch(task, delay, length=LENGTH):
    return next(iter(task(delay, length=length, seed=0)))


def only(diagnosis):
    """The diagnosis of the one layer."""
    (layer,) = diagnosis.layers.values()
    assert diagnosis.recommendation == layer.recommendation
    return layer


ILL = {
    "chaotic": {"recurrent_initializer": keras.initializers.Orthogonal(2.0)},
    "saturated": {"bias_initializer": keras.initializers.RandomUniform(-9, 9)},
    "dead": {
        "activation": "relu",
        "bias_initializer": keras.initializers.Constant(-9.0),
    },
    "half dead": {"activation": "relu"},
}
COPY = (keras_floss.tasks.delayed_copy, 80)
XOR = (keras_floss.tasks.temporal_xor, 40)


@pytest.mark.parametrize("jit_compile", cells(MODES, always=["graph"]))
def test_a_simple_rnn_needs_it_for_one_task_and_not_for_another(jit_compile):
    """Measured: unflossed it learns this XOR, and never this copy; flossed, the copy."""
    model = model_of(simple_rnn(), jit_compile=jit_compile)
    before = model.get_weights()
    copy = only(diagnose(model, *batch(*COPY)))
    assert (copy.recommendation, copy.obstacle) == ("floss", "vanishing")
    assert copy.gradient_ratio < 0.05
    assert "likely to help" in copy.sentence
    xor = diagnose(model, *batch(*XOR))
    assert (only(xor).recommendation, only(xor).obstacle) == ("not needed", None)
    assert xor.flossing is None
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_numbers_are_those_of_the_functions():
    model = model_of(simple_rnn())
    x, y, weights = batch(*COPY)
    flossing = Flossing(window=60, k=8, target=0.0, batch_size=2)
    found = only(diagnose(model, x, y, weights, flossing=flossing))
    (gradient,) = gradient_norms(model, x, y, weights).values()
    assert found.gradient_ratio == gradient.norms[0] / gradient.norms[-1]
    (kernel,) = gradient.kernels.values()
    assert found.effective_dimension == kernel.effective_dimension
    rnn = model.layers[0]
    exponents = keras_floss.lyapunov_exponents(rnn, x[:2, :60], k=8, warmup=16)
    mean = exponents.numpy().mean(axis=0)
    np.testing.assert_allclose(found.exponents, mean, rtol=1e-4, atol=1e-6)
    loss = np.mean(exponents.numpy() ** 2)
    np.testing.assert_allclose(found.flossing_loss, loss, rtol=1e-4)
    np.testing.assert_allclose(found.saturation, np.median(np.abs(rnn(x))), rtol=1e-5)
    assert (found.steps, found.window) == (LENGTH, 60)


def test_the_network_of_the_demo_needs_it_and_flossed_it_does_not():
    model = model_of(
        lambda: keras_floss.layers.RateRNN(80, return_sequences=True), length=300
    )
    data = batch(keras_floss.tasks.delayed_copy, 40, 300)
    flossing = Flossing(window=55, k=75, qr_interval="auto")
    diagnosis = diagnose(model, *data, flossing=flossing)
    assert only(diagnosis).recommendation == "floss"
    assert diagnosis.flossing == flossing
    # As flossed as can be, without flossing: the state is turned, and never squashed.
    rnn = model.layers[0]
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((80, 80)))[0]
    kernel, recurrent, bias, *rest = rnn.get_weights()
    rnn.set_weights([1e-3 * kernel, rotation, 0 * bias, *rest])
    diagnosis = diagnose(model, *data, flossing=flossing)
    assert only(diagnosis).recommendation == "flossed"
    assert diagnosis.flossing is None


@pytest.mark.parametrize(
    ("name", "recommendation", "obstacle", "words"),
    [
        ("chaotic", "floss", "exploding", "grows by a factor 10"),
        ("saturated", "floss", "saturation", "may help"),
        ("dead", "dead", "dead", "None of the 64 directions"),
        pytest.param("half dead", "floss", "vanishing", "directions are lost", marks=SLOW),
    ],
)
def test_what_stops_a_gradient_is_named(name, recommendation, obstacle, words):
    found = only(diagnose(model_of(simple_rnn(**ILL[name])), *batch(*COPY)))
    assert (found.recommendation, found.obstacle) == (recommendation, obstacle)
    assert words in found.sentence


def test_a_layer_that_no_gradient_reaches_is_told_from_a_dead_one():
    dead = keras.layers.Dense(4, "relu", bias_initializer=keras.initializers.Constant(-9.0))
    found = only(diagnose(model_of(simple_rnn(8), lambda: dead), *batch(*COPY)))
    assert (found.recommendation, found.obstacle) == ("dead", "dead")
    assert "No gradient of the task reaches the layer" in found.sentence
    assert np.isfinite(found.flossing_loss)


def test_an_lstm_on_a_long_task_needs_it():
    model = model_of(lambda: keras.layers.LSTM(16, return_sequences=True))
    found = only(diagnose(model, *batch(*COPY)))
    assert (found.recommendation, found.obstacle) == ("floss", "vanishing")
    assert found.gradient_ratio < 1e-4


class Encoder(keras.Model):
    """A mask, a Bidirectional and a shared layer, subclassed."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(9, 4, mask_zero=True)
        gru = keras.layers.GRU(4, return_sequences=True, name="gru")
        self.both = keras.layers.Bidirectional(gru, name="both")
        self.twice = keras.layers.SimpleRNN(8, return_sequences=True, name="twice")
        self.head = keras.layers.Dense(1)

    def call(self, inputs):
        x = self.both(self.embedding(inputs))
        return self.head(self.twice(self.twice(x)))


def test_every_layer_of_any_model_is_looked_at():
    model = Encoder()
    model.compile("adam", "mse")
    x = np.random.default_rng(0).integers(1, 9, (4, 30))
    x[1, 20:] = 0
    diagnosis = diagnose(model, x, np.zeros((4, 30, 1), "float32"))
    assert list(diagnosis.layers) == ["both/forward", "both/backward", "twice"]
    for layer in diagnosis.layers.values():
        assert np.isfinite(layer.exponents).all()
        assert layer.gradient_ratio > 0
        assert layer.steps == 30
    to_floss = [n for n, d in diagnosis.layers.items() if d.recommendation == "floss"]
    assert "both/forward" in to_floss
    assert set(diagnosis.flossing.layers or diagnosis.layers) == set(to_floss)
    text = str(diagnosis)
    assert all(name in text for name in ("both/forward", "twice", "λ_1"))


def test_without_targets_or_a_loss_the_gradient_is_left_out_and_said_so():
    x, y, weights = batch(*COPY)
    for model, data in (
        (model_of(simple_rnn(8), compiled=False), (x, y, weights)),
        (model_of(simple_rnn(8)), (x,)),
    ):
        found = only(diagnose(model, *data))
        assert found.gradient_ratio is None
        assert found.effective_dimension is None
        assert "not known without targets and a compiled loss" in found.sentence
        assert "gradient of the task, first" not in str(found)


def test_a_model_s_own_flossing_is_taken():
    flossing = Flossing(k=3, window=20)
    model = keras_floss.FlossingModel(model_of(simple_rnn(8)), flossing=flossing)
    assert only(diagnose(model, batch(*COPY)[0])).exponents.shape == (3,)
    assert only(diagnose(model, batch(*COPY)[0], flossing=Flossing(k=2))).window > 20


@pytest.mark.parametrize("targets", [False, True])
def test_what_is_not_finite_is_said(targets):
    model = model_of(simple_rnn(8))
    x, *y = batch(*COPY)
    x = np.full_like(x, np.nan)
    with pytest.raises(ValueError, match=r"`simple_rnn.*` are not numbers"):
        diagnose(model, x, *(y if targets else ()))


def test_a_gated_layer_is_flossed_though_the_gradient_arrives_in_one_direction():
    exponents = np.array([-0.05, -0.1])
    facts = LayerDiagnosis(100, 100, exponents, 0.006, 4e-4, 0, 0.3, 1.0, 0.2)
    assert judge(facts).recommendation == "not needed"
    assert judge(facts, gated=True).recommendation == "floss"
    assert "may help" in judge(facts, gated=True).sentence


@pytest.mark.parametrize(
    ("exponents", "ratio", "recommendation", "words"),
    [
        ([-0.27, -0.5], None, "floss", ["loses", "10^12", "100 steps", "likely to help"]),
        ([0.2, -0.1], None, "floss", ["grows", "10^9", "clip"]),
        ([-0.01, -1.0], None, "floss", ["last of 2", "10^43", "likely"]),
        ([-0.01, -1.0], 0.5, "floss", ["last of 2", "10^43"]),
        ([0.01, -0.01], None, "flossed", ["arrives in the best direction", "not known"]),
        ([0.01, -0.01], 17.0, "flossed", ["17 times", "arrives"]),
        ([0.01, -0.01], 1e-3, "flossed", ["0.001 times", "vanishes"]),
        ([-0.05, -0.1], 0.3, "not needed", ["0.3 times", "not needed"]),
        ([-0.05, -0.1], 0.03, "floss", ["0.03 times", "likely to help"]),
        ([-0.05, -0.1], None, "floss", ["may help", "not known"]),
    ],
)
def test_verdicts(exponents, ratio, recommendation, words):
    """Of 100 steps."""
    exponents = np.array(exponents)
    facts = LayerDiagnosis(
        100, 100, exponents, np.mean(exponents**2), 0.003, 0, ratio, 1, 0.2
    )
    found = judge(facts)
    assert found.recommendation == recommendation
    assert all(word in found.sentence for word in words), found.sentence
    assert json.dumps(found._replace(exponents=exponents.tolist())._asdict())
