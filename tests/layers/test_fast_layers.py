"""SimpleRNN, GRU and LSTM against Keras's."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells

import keras_floss
from keras_floss.layers import GRU, LSTM, SimpleRNN, own_loop
from keras_floss.layers.time_loop import LENGTHS

KINDS = {
    "SimpleRNN": (SimpleRNN, keras.layers.SimpleRNN, {}),
    "GRU": (GRU, keras.layers.GRU, {}),
    "GRU before": (GRU, keras.layers.GRU, {"reset_after": False}),
    "LSTM": (LSTM, keras.layers.LSTM, {}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
in_both_modes = pytest.mark.parametrize("jit_compile", [False, True])
# The first step is masked, one in between, the end; one sequence is masked throughout.
MASK = np.array([[0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0], [1] * 11, [0] * 11], bool)


def make_pair(kind, dtype="float64", units=5, **options):
    """Our layer and Keras's, of the same weights, none of them zero."""
    ours, theirs, others = KINDS[kind]
    layers = [c(units, dtype=dtype, **others, **options) for c in (ours, theirs)]
    for layer in layers:
        layer.build((3, None, 2))
    random = np.random.default_rng(0)
    weights = [0.5 * random.standard_normal(w.shape) for w in layers[0].get_weights()]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def random(*shape, dtype="float64"):
    return tf.constant(np.random.default_rng(len(shape)).standard_normal(shape), dtype)


def start_of(layer, batch=3, dtype="float64"):
    return [
        random(batch, 5, dtype=dtype) * (1 - 0.3 * i) for i in range(len(layer.state_size))
    ]


def traced(layer, mask=None, jit_compile=False, training=True, **options):
    """`run(inputs, start)`: outputs, states, and a loss's gradients in everything."""

    def run(inputs, start):
        with tf.GradientTape() as tape:
            tape.watch([inputs, start])
            results = layer(inputs, initial_state=start, mask=mask, training=training)
            results = [tf.cast(r, tf.float64) for r in tf.nest.flatten(results)]
            loss = sum(tf.reduce_sum(tf.sin((2 + i) * r)) for i, r in enumerate(results))
        weights = [v.value for v in layer.trainable_variables]
        return results, tape.gradient(loss, [inputs, *start, *weights])

    return tf.function(run, autograph=False, jit_compile=jit_compile, **options)


def assert_same(actual, expected, atol=1e-12, **tolerance):
    pairs = zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, atol=atol, **tolerance)


@pytest.fixture
def own_loops(monkeypatch):
    """A list that gets longer with each call of our loop."""
    calls = []
    original = own_loop.time_loop

    def spy(*arguments, **options):
        calls.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(own_loop, "time_loop", spy)
    return calls


@pytest.mark.parametrize(
    ("kind", "jit_compile", "return_sequences"),
    cells(
        [*KINDS],
        MODES,
        [True, False],
        always=["*-graph-True", "LSTM-xla-False"],
    ),
)
def test_outputs_and_gradients_are_those_of_keras(
    kind, jit_compile, return_sequences, own_loops
):
    ours, theirs = make_pair(kind, return_sequences=return_sequences, return_state=True)
    # Whole blocks, and, in graph mode, a part of one, and the same after a whole one.
    lengths = (13,) if jit_compile else (LENGTHS[0], 2, 13)
    for time in lengths:
        arguments = random(3, time, 2), start_of(ours)
        expected = traced(theirs)(*arguments)
        assert_same(traced(ours, jit_compile=jit_compile)(*arguments), expected)
        assert all(np.abs(g).max() > 1e-3 for g in expected[1])
    assert len(own_loops) == len(lengths)


@pytest.mark.parametrize(
    ("kind", "jit_compile", "return_sequences", "zero_output_for_mask", "go_backwards"),
    cells(
        [*KINDS],
        [
            (False, True, False, False),
            (False, False, False, True),
            (False, True, True, True),
            (False, False, True, False),
            (True, True, False, True),
        ],
        always=[
            "LSTM-True-True-False-True",
            "LSTM-False-True-True-True",
            "SimpleRNN-False-True-False-False",
            "GRU-False-False-False-True",
            "GRU before-False-False-True-False",
        ],
    ),
)
def test_masks(kind, jit_compile, return_sequences, zero_output_for_mask, go_backwards):
    options = {
        "return_sequences": return_sequences,
        "zero_output_for_mask": zero_output_for_mask,
        "go_backwards": go_backwards,
    }
    ours, theirs = make_pair(kind, return_state=True, **options)
    arguments = random(3, 11, 2), start_of(ours)
    expected = traced(theirs, tf.constant(MASK))(*arguments)
    actual = traced(ours, tf.constant(MASK), jit_compile=jit_compile)(*arguments)
    assert_same(actual, expected)


@pytest.mark.parametrize("kind", cells([*KINDS], always=["LSTM", "GRU"]))
def test_without_a_bias(kind):
    ours, theirs = make_pair(kind, use_bias=False, return_sequences=True)
    arguments = random(3, 11, 2), start_of(ours)
    assert len(ours.weights) == 2
    assert_same(traced(ours)(*arguments), traced(theirs)(*arguments))


@every_kind
@pytest.mark.parametrize(
    ("activation", "recurrent_activation"),
    cells([("relu", "linear"), ("sigmoid", "tanh")], always=["sigmoid-tanh"]),
)
def test_activations(kind, activation, recurrent_activation, own_loops):
    options = {"activation": activation}
    if kind != "SimpleRNN":
        options["recurrent_activation"] = recurrent_activation
    ours, theirs = make_pair(kind, return_sequences=True, **options)
    for layer in (ours, theirs):  # nothing explodes
        layer.set_weights([0.3 * w for w in layer.get_weights()])
    arguments = random(3, 9, 2), start_of(ours)
    assert_same(traced(ours)(*arguments), traced(theirs)(*arguments))
    assert len(own_loops) == 1


@every_kind
@pytest.mark.parametrize(
    "options",
    [
        {"activation": "elu"},
        {"activation": tf.math.tanh},
        {"dropout": 0.5},
        {"recurrent_dropout": 0.5},
        {"unroll": True},
    ],
)
def test_what_is_left_to_keras(kind, options, own_loops):
    ours, theirs = make_pair(kind, seed=3, return_sequences=True, **options)
    inputs = random(3, 4, 2)
    assert_same(ours(inputs, training=True), theirs(inputs, training=True))
    assert not own_loops


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_what_cudnn_may_do_is_left_to_keras(kind, own_loops, monkeypatch):
    ours, _ = make_pair(kind, use_cudnn=True)
    with pytest.raises(ValueError, match="cuDNN is not supported"):
        ours(random(3, 9, 2), training=True)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    make_pair(kind)[0](random(3, 9, 2), training=True)
    assert not own_loops
    make_pair(kind, use_cudnn=False)[0](random(3, 9, 2), training=True)
    assert len(own_loops) == 1


@every_kind
def test_inference(kind, own_loops):
    ours, theirs = make_pair(kind, return_sequences=True)
    arguments = random(3, 9, 2), start_of(ours)
    run = traced(ours, training=False)
    assert_same(run(*arguments), traced(theirs, training=False)(*arguments), atol=0)
    assert not own_loops


@pytest.mark.parametrize(("kind", "jit_compile"), cells([*KINDS], MODES, always=["LSTM-*"]))
def test_unknown_batch_and_time(kind, jit_compile):
    ours, theirs = make_pair(kind, return_sequences=True)
    signature = [
        tf.TensorSpec((None, None, 2), "float64"),
        [tf.TensorSpec((None, 5), "float64")] * len(ours.state_size),
    ]
    run = traced(ours, jit_compile=jit_compile, input_signature=signature)
    for batch, time in [(3, 11)] if jit_compile else [(3, 11), (1, LENGTHS[0]), (2, 3)]:
        arguments = random(batch, time, 2), start_of(ours, batch)
        assert_same(run(*arguments), traced(theirs)(*arguments))


@every_kind
def test_eagerly(kind):
    ours, theirs = make_pair(kind, return_sequences=True)
    arguments = random(3, 11, 2), start_of(ours)
    assert_same(traced(ours).python_function(*arguments), traced(theirs)(*arguments))


@every_kind
def test_single_precision(kind):
    ours, theirs = make_pair(kind, "float32", return_sequences=True)
    arguments = random(3, 100, 2, dtype="float32"), start_of(ours, dtype="float32")
    pairs = zip(
        tf.nest.flatten(traced(ours)(*arguments)),
        tf.nest.flatten(traced(theirs)(*arguments)),
        strict=True,
    )
    for actual, expected in pairs:
        assert np.linalg.norm(actual - expected) < 1e-6 * np.linalg.norm(expected)


@every_kind
@pytest.mark.parametrize(
    "dtype", cells(["mixed_float16", "mixed_bfloat16"], always=["mixed_float16"])
)
def test_half_precision(kind, dtype):
    ours, theirs = make_pair(kind, dtype, return_sequences=True)
    arguments = random(3, 11, 2, dtype="float32"), start_of(ours, dtype="float32")
    assert ours(arguments[0]).dtype == dtype.removeprefix("mixed_")
    pairs = zip(
        tf.nest.flatten(traced(ours)(*arguments)),
        tf.nest.flatten(traced(theirs)(*arguments)),
        strict=True,
    )
    # bfloat16 has 8 bits, and 11 steps follow one another.
    tolerance = {"mixed_float16": 0.02, "mixed_bfloat16": 0.15}[dtype]
    for actual, expected in pairs:
        assert actual.dtype == expected.dtype
        assert np.linalg.norm(actual - expected) < tolerance * np.linalg.norm(expected)


@every_kind
@pytest.mark.parametrize(("masked", "eagerly"), [(False, False), (True, True)])
@pytest.mark.slow
def test_second_derivatives(kind, masked, eagerly):
    mask = tf.constant(MASK) if masked else None

    def penalty(layer, inputs):
        weights = [v.value for v in layer.trainable_variables]
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                loss = tf.reduce_sum(layer(inputs, mask=mask, training=True) ** 2)
            size = tf.reduce_sum(inner.gradient(loss, inputs) ** 2)
        return outer.gradient(size, weights)

    ours, theirs = make_pair(kind, return_sequences=True)
    inputs = random(3, 11, 2)
    expected = tf.function(penalty, autograph=False)(theirs, inputs)
    ours_penalty = penalty if eagerly else tf.function(penalty, autograph=False)
    assert_same(ours_penalty(ours, inputs), expected, atol=1e-9, rtol=1e-9)
    assert all(np.abs(g).max() > 1e-3 for g in expected)


@pytest.mark.parametrize("kind", cells([*KINDS], always=["LSTM"]))
def test_jacobians_by_vectorisation(kind):
    @tf.function(autograph=False)
    def jacobian(layer, inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        return tape.batch_jacobian(outputs, inputs)

    ours, theirs = make_pair(kind, return_sequences=True)
    inputs = random(3, 11, 2)
    assert_same(jacobian(ours, inputs), jacobian(theirs, inputs))


@every_kind
def test_stateful(kind):
    ours, theirs = make_pair(kind, stateful=True, return_sequences=True)
    inputs = random(3, 11, 2)
    for _ in range(2):
        assert_same(ours(inputs, training=True), theirs(inputs, training=True))
    for a, b in zip(ours.states, theirs.states, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@every_kind
def test_bidirectional(kind):
    ours, theirs = (
        keras.layers.Bidirectional(layer)
        for layer in make_pair(kind, return_sequences=True)
    )
    inputs = random(3, 11, 2)
    for layer in (ours, theirs):
        layer.build(inputs.shape)
    theirs.set_weights(ours.get_weights())
    assert_same(ours(inputs, training=True), theirs(inputs, training=True))
    assert type(ours.backward_layer) is KINDS[kind][0]


def make_model(layer):
    model = keras.Sequential([keras.Input((None, 2)), layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("kind", cells([*KINDS], always=["LSTM", "GRU before"]))
def test_files(kind, tmp_path):
    """Configurations and weight files are those of Keras, and models come back."""
    ours, theirs = make_pair(kind, "float32", name="rnn")
    assert ours.get_config() == theirs.get_config()
    ours, theirs = map(make_model, (ours, theirs))
    inputs = random(3, 11, 2, dtype="float32")
    ours.fit(inputs, tf.zeros((3, 1)), verbose=0)
    ours.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.layers[0]) is KINDS[kind][0]
    assert_same(again(inputs), ours(inputs), atol=0)
    ours.save_weights(tmp_path / "model.weights.h5")
    theirs.load_weights(tmp_path / "model.weights.h5")
    assert_same(theirs(inputs), ours(inputs), atol=0)
    again = keras.models.clone_model(ours)
    assert type(again.layers[0]) is KINDS[kind][0]


@pytest.mark.slow
@every_kind
@in_both_modes
def test_training_in_fit(kind, jit_compile):
    losses = []
    for layer in make_pair(kind, "float64"):
        keras.utils.set_random_seed(1)
        model = make_model(layer)
        model.compile("sgd", "mse", jit_compile=jit_compile)
        history = model.fit(
            random(6, 11, 2), random(6, 1), batch_size=4, epochs=3, verbose=0
        )
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-6)  # the losses are in float32
    assert losses[0][-1] < losses[0][0]


@every_kind
@pytest.mark.slow
def test_exponents_and_flossing(kind):
    results = []
    for layer in make_pair(kind, "float32", name="rnn"):
        keras.utils.set_random_seed(0)  # of the order of the sequences
        inputs = random(3, 20, 2, dtype="float32")
        exponents = keras_floss.lyapunov_exponents(layer, inputs, k=2)
        model = keras_floss.FlossingModel(make_model(layer))
        model.compile(flossing_optimizer="adam")
        history = model.floss(inputs, steps=3, k=2, window=20, verbose=0)
        results.append((exponents, history.history["flossing_loss"], *layer.get_weights()))
    assert_same(*results, atol=0)


def trained_weights(kind):
    model = make_model(make_pair(kind, "float32")[0])
    model.layers[-1].set_weights([np.ones((5, 1)), np.ones(1)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(random(4, 11, 2), random(4, 1), batch_size=4, epochs=2, verbose=0)
    return model.get_weights()


@pytest.mark.slow
def test_two_devices_do_what_one_does(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, __file__, tmp_path], check=True, timeout=300, env=environment
    )
    for kind in KINDS:
        with np.load(tmp_path / f"{kind}.npz") as found:
            weights = [found[name] for name in found.files]
        assert_same(trained_weights(kind), weights, atol=1e-6)


def main(folder):
    device = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(device, two)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        for kind in KINDS:
            np.savez(f"{folder}/{kind}.npz", *trained_weights(kind))


if __name__ == "__main__":
    main(sys.argv[1])
