"""The loss that LyapunovRegularizer adds is that of the exponents, when training only."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, SLOW, cells
from reference import compiled

from keras_floss import Flossing, LyapunovRegularizer, lyapunov_exponents

layers = keras.layers
X = np.random.default_rng(0).standard_normal((3, 8, 2)).astype("float32")
Y = np.random.default_rng(1).standard_normal((3, 1)).astype("float32")


def flossing(**settings):
    """Of all sequences, steps and exponents unless they say otherwise, without damping."""
    usual = {"batch_size": None, "warmup": 0, "k": None, "damping": 0.0}
    return Flossing(**{**usual, **settings})


def penalty(wrapped, *args, **kwargs):
    wrapped(*args, training=True, **kwargs)
    return float(sum(wrapped.losses))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 2, "target": 0.1, "strength": 3.0},
        {"k": 2, "target": [0.1, -0.5], "warmup": 2, "qr_interval": 3, "seed": 7},
    ],
    ids=["defaults", "strength", "all"],
)
def test_the_loss_is_the_mean_squared_distance_to_the_target(options):
    rnn = layers.LSTM(3, dtype="float64")
    strength = options.pop("strength", 1.0)
    wrapped = LyapunovRegularizer(rnn, strength, flossing(**options), dtype="float64")
    actual = penalty(wrapped, X)
    target = options.pop("target", 0.0)
    exponents = lyapunov_exponents(rnn, X, of="output", **options).numpy()
    expected = strength * np.mean((exponents - target) ** 2)
    # add_loss keeps float32 or better.
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_initial_state_and_mask_are_seen_by_the_loss():
    rnn = layers.GRU(4)
    wrapped = LyapunovRegularizer(rnn, flossing=flossing(k=2))
    state = np.random.default_rng(2).standard_normal((3, 4)).astype("float32")
    mask = np.ones((3, 8), bool)
    mask[1, 5:] = False
    actual = penalty(wrapped, X, initial_state=state, mask=tf.constant(mask))
    exponents = lyapunov_exponents(rnn, X, 2, initial_state=state, mask=mask)
    np.testing.assert_allclose(actual, np.mean(exponents.numpy() ** 2), rtol=1e-5)
    assert abs(actual - penalty(wrapped, X)) > 1e-4


def test_the_loss_of_a_bidirectional_is_the_mean_of_its_directions():
    rnn = layers.Bidirectional(layers.LSTM(3))
    wrapped = LyapunovRegularizer(rnn, flossing=flossing(k=2))
    rng = np.random.default_rng(2)
    states = [rng.standard_normal((3, 3)).astype("float32") for _ in range(4)]
    actual = penalty(wrapped, X, initial_state=states)
    expected = []
    for layer, state in [
        (rnn.forward_layer, states[:2]),
        (rnn.backward_layer, states[2:]),
    ]:
        exponents = lyapunov_exponents(layer, X, 2, of="output", initial_state=state)
        expected.append(np.mean(exponents.numpy() ** 2))
    np.testing.assert_allclose(actual, np.mean(expected), rtol=1e-5)


def test_nothing_is_added_outside_of_training():
    wrapped = LyapunovRegularizer(layers.GRU(3))
    wrapped(X)
    assert wrapped.losses == []
    wrapped(X, training=False)
    assert wrapped.losses == []


def test_the_strength_is_a_variable_and_no_weight():
    wrapped = LyapunovRegularizer(layers.GRU(3), 0.0, flossing())
    wrapped(X)
    added = compiled(lambda x: (wrapped(x, training=True), wrapped.losses)[1], False)
    assert float(added(X)[0]) == 0
    wrapped.strength.assign(2.0)
    twice = float(added(X)[0])  # without a new trace
    expected = np.mean(np.square(lyapunov_exponents(wrapped.layer, X)))
    np.testing.assert_allclose(twice, 2 * expected, rtol=1e-5)
    assert wrapped.get_config()["strength"] == 2.0
    assert len(wrapped.weights) == len(wrapped.layer.weights)


def test_a_part_of_the_batch_and_a_window_of_its_own():
    wrapped = LyapunovRegularizer(
        layers.GRU(3), flossing=flossing(batch_size=2, window=5, warmup=1)
    )
    wrapped(X, training=True)
    expected = lyapunov_exponents(wrapped.layer, X[:2, :5], warmup=1)
    np.testing.assert_allclose(wrapped.losses[0], np.mean(expected**2), rtol=1e-5)


def test_a_sequence_that_is_all_padding_adds_nothing():
    wrapped = LyapunovRegularizer(layers.GRU(3), flossing=flossing(k=2, warmup=2))
    mask = np.ones((3, 8), bool)
    mask[2] = False
    actual = penalty(wrapped, X, mask=tf.constant(mask))
    assert actual == pytest.approx(penalty(wrapped, X[:2]), rel=1e-5)


def make_model(strength, rnn=None, policy=None):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    rnn = rnn or layers.LSTM(4, dtype=policy)
    rnn = LyapunovRegularizer(rnn, strength, flossing(k=3), name="floss", dtype=policy)
    outputs = layers.Dense(1, dtype="float32")(rnn(inputs))
    return keras.Model(inputs, outputs)


def test_turning_it_on_changes_the_gradient_by_that_of_the_penalty():
    def gradients(model, use):
        with tf.GradientTape() as tape:
            outputs = model(X, training=True)
            task = tf.reduce_mean((outputs - Y) ** 2)
            loss = {"both": task + sum(model.losses), "task": task}[use]
        return tape.gradient(loss, model.get_layer("floss").trainable_variables)

    on = make_model(strength=2.0)
    total, task = gradients(on, "both"), gradients(on, "task")
    with tf.GradientTape() as tape:
        exponents = lyapunov_exponents(on.get_layer("floss").layer, X, k=3, of="output")
        loss = 2 * tf.reduce_mean(exponents**2)
    own = tape.gradient(loss, on.get_layer("floss").trainable_variables)
    for a, b, c in zip(total, task, own, strict=True):
        assert np.abs(c).max() > 1e-4
        np.testing.assert_allclose(a, b + c, atol=1e-5 * max(1, np.abs(a).max()))


@pytest.mark.parametrize("jit_compile", cells(MODES, always=["xla"]))
def test_fit_trains_on_both(jit_compile):
    model = make_model(strength=5.0, rnn=layers.SimpleRNN(4))
    layer = model.get_layer("floss")

    def task():
        return float(np.mean((model(X).numpy() - Y) ** 2))

    expected, before = task() + penalty(layer, X), penalty(layer, X)
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit_compile)
    history = model.fit(X, Y, epochs=30, verbose=0).history
    # The loss of the first update is the task's and the penalty.
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)
    assert penalty(layer, X) < 0.5 * before


def test_val_loss_is_that_of_the_task():
    model = make_model(strength=5.0, rnn=layers.SimpleRNN(4))
    model.compile("sgd", "mse", jit_compile=False)
    history = model.fit(X, Y, verbose=0, validation_data=(X, Y)).history
    # At the weights that fit ended with.
    task = float(np.mean((model(X).numpy() - Y) ** 2))
    assert penalty(model.get_layer("floss"), X) > 1e-2
    assert history["val_loss"][0] == pytest.approx(task, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_fit_under_other_dtype_policies(policy):
    model = make_model(5.0, policy=policy)
    layer = model.get_layer("floss")
    assert layer(X).dtype == layer.layer.compute_dtype
    task = float(np.mean((model(X).numpy() - Y) ** 2))
    exponents = lyapunov_exponents(layer.layer, X, 3, of="output")
    expected = task + 5 * np.mean(exponents.numpy() ** 2)
    model.compile("sgd", "mse")
    # Half precision is in the task's part only, and rounds to 5e-4.
    loss = model.fit(X, Y, epochs=1, verbose=0).history["loss"][0]
    assert loss == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        pytest.param("mixed_float16", "mixed_float16", marks=SLOW),
        ("float32", "mixed_float16"),
        pytest.param("float64", "float64", marks=SLOW),
        ("float64", "float32"),
    ],
)
def test_the_penalty_is_not_rounded_by_a_dtype_policy(inner, outer):
    rnn = layers.LSTM(4, dtype=inner)
    wrapped = LyapunovRegularizer(rnn, dtype=outer, flossing=flossing(k=3))
    expected = np.mean(lyapunov_exponents(rnn, X, 3, of="output").numpy() ** 2)
    # Weights rounded to half precision are 5e-6 to 3e-5 away.
    assert penalty(wrapped, X) == pytest.approx(expected, rel=1e-6)


def test_it_trains_inside_a_subclassed_model():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = LyapunovRegularizer(
                layers.SimpleRNN(4), strength=1.0, flossing=flossing(k=2)
            )
            self.head = layers.Dense(1)

        def call(self, x, training=False):
            return self.head(self.rnn(x, training=training))

    keras.utils.set_random_seed(0)
    net = Net()
    net.compile("sgd", "mse")
    net(X)
    task = float(np.mean((net(X) - Y) ** 2))
    expected = task + penalty(net.rnn, X)
    loss = net.fit(X, Y, verbose=0).history["loss"][0]
    assert loss == pytest.approx(expected, rel=1e-4)
