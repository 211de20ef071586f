"""Cells and functions that draw random numbers in their step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import central_difference, compiled, make_inputs

import keras_floss
from keras_floss import lyapunov_exponents
from keras_floss.flow.frame import initial_frame
from keras_floss.recurrent.noise import with_noise
from keras_floss.recurrent.trajectory import as_trajectory

UNITS = 5
generator = keras.random.SeedGenerator(5)
tf_generator = tf.random.Generator.from_seed(3)


def of_keras(kind):
    return lambda shape, seed=None: getattr(keras.random, kind)(
        shape, dtype="float64", seed=seed
    )


def in_columns(shape):
    """Drawn with the batch as its last axis."""
    return tf.transpose(tf.random.normal((shape[1], shape[0]), dtype=tf.float64))


DRAWS = {
    "keras": of_keras("normal"),
    "uniform": of_keras("uniform"),
    "truncated_normal": of_keras("truncated_normal"),
    "randint": lambda shape: keras.random.randint(shape, -2, 3),
    "dropout": lambda shape: keras.random.dropout(tf.ones(shape), 0.5),
    "generator": lambda shape: of_keras("normal")(shape, generator),
    "tf": lambda shape: tf.random.normal(shape, dtype=tf.float64),
    "tf_uniform": tf.random.uniform,
    "tf_dropout": lambda shape: tf.nn.dropout(tf.ones(shape), 0.5),
    "tf_generator": tf_generator.normal,
    "columns": in_columns,
    "poisson": lambda shape: tf.random.poisson(shape, 2.0),
    "shared": lambda shape: keras.random.normal(shape[1:]),
    "two": lambda shape: keras.random.normal(shape) * tf.random.uniform(shape),
}
OF_CPU = {
    "gamma": lambda shape: keras.random.gamma(shape, 2.0),
    "beta": lambda shape: keras.random.beta(shape, 2.0, 3.0),
    "binomial": lambda shape: keras.random.binomial(shape, 5.0, 0.5),
}


class NoisyCell(keras.layers.SimpleRNNCell):
    """tanh(xW + sU + b) + σ ξ, with a σ that is trained."""

    def __init__(self, draw, **kwargs):
        super().__init__(UNITS, **kwargs)
        self.draw = draw

    def build(self, input_shape):
        super().build(input_shape)
        self.strength = self.add_weight(shape=(UNITS,), name="strength")

    def call(self, inputs, states, training=False):
        output, _ = super().call(inputs, states, training=training)
        noise = self.draw(keras.ops.shape(output))
        output += self.strength * keras.ops.cast(noise, output.dtype)
        return output, [output]


def noisy_layer(draw, **options):
    layer = keras.layers.RNN(NoisyCell(draw, dtype="float64"), dtype="float64", **options)
    layer.build((None, None, 3))
    rng = np.random.default_rng(0)
    for v in layer.weights:
        v.assign(0.6 * rng.standard_normal(v.shape))
    return layer


def noise_of(layer, inputs, seed):
    """What the cell is given in place of its draws, `(batch, time, numbers)`."""
    return with_noise(as_trajectory(layer, inputs), seed).inputs[..., 3:].numpy()


def numpy_exponents(layer, inputs, noise, seed):
    """From the definition, given the noise."""
    w, u, b, strength = (v.numpy() for v in layer.weights)
    result = []
    for x, xi in zip(inputs, noise, strict=True):
        state, total = np.zeros(UNITS), 0.0
        frame = initial_frame(UNITS, UNITS, seed).T
        for t in range(len(x)):
            y = np.tanh(x[t] @ w + state @ u + b)
            state = y + strength * xi[t]
            frame, r = np.linalg.qr(((1 - y**2)[:, None] * u.T) @ frame)
            total += np.log(np.abs(np.diag(r)))
        result.append(total / len(x))
    return np.array(result)


@pytest.mark.parametrize(
    ("kind", "xla"),
    cells(
        ["keras", "generator", "tf", "tf_generator"],
        MODES,
        always=["*-graph", "keras-xla"],
    ),
)
def test_all_tangents_ride_on_one_noisy_trajectory(kind, xla):
    layer, inputs = noisy_layer(DRAWS[kind]), make_inputs(2, 20)
    exponents = compiled(lambda: lyapunov_exponents(layer, inputs, seed=4), xla)()
    expected = numpy_exponents(layer, inputs, noise_of(layer, inputs, 4), seed=4)
    np.testing.assert_allclose(exponents, expected, atol=1e-10)


@pytest.mark.parametrize(
    "kind",
    cells([*DRAWS, *OF_CPU], always=["keras", "tf", "tf_dropout", "columns", "gamma"]),
)
def test_whatever_is_drawn_is_the_same_for_all_tangents(kind):
    draw = {**DRAWS, **OF_CPU}[kind]

    # One number for a sequence and step: it stretches all tangents alike.
    def step(state):
        noise = keras.ops.cast(draw((keras.ops.shape(state)[0], 1)), "float64")
        stretch = tf.exp(tf.sin(noise + 0.5))
        return state * tf.constant([0.9, 0.5, 0.1], tf.float64) * stretch

    exponents = lyapunov_exponents(step, 50, initial_state=np.ones((2, 3)))
    quiet = lyapunov_exponents(
        lambda state: state * tf.constant([0.9, 0.5, 0.1], tf.float64),
        50,
        initial_state=np.ones((2, 3)),
    )
    stretch = (exponents - quiet).numpy()
    np.testing.assert_allclose(stretch, stretch[:, :1] * np.ones(3), atol=1e-12)
    assert np.abs(stretch).min() > 1e-3
    if kind != "shared":
        assert np.abs(stretch[0] - stretch[1]).min() > 1e-3  # each sequence its own


@pytest.mark.parametrize("kind", cells([*DRAWS], always=["keras"]))
def test_noise_has_its_distribution_and_is_fresh_at_each_step(kind):
    def step(state):
        return state + keras.ops.cast(DRAWS[kind](keras.ops.shape(state)), "float64")

    sequence = as_trajectory(step, 2000, np.zeros((2, 3)))
    step, inputs, states, *_ = with_noise(sequence)
    drawn = np.array([step(x, states, ())[0] for x in tf.transpose(inputs, (1, 0, 2))])
    expected = np.stack([DRAWS[kind]((2, 3)) for _ in range(2000)])
    # Five standard errors of mean and deviation, of normal numbers.
    error = 5 * expected.std() / np.sqrt(2000)
    np.testing.assert_allclose(drawn.mean(0), expected.mean(), atol=1.5 * error)
    np.testing.assert_allclose(drawn.std(0), expected.std(), atol=1.5 * error)
    drawn -= drawn.mean(0)
    assert np.abs(np.mean(drawn[1:] * drawn[:-1])) < error * drawn.std()
    if kind != "shared":
        assert np.abs(np.mean(drawn[:, 0] * drawn[:, 1])) < error * drawn.std()


def test_exponents_of_a_noisy_network_are_those_of_a_long_run_in_numpy():
    rng = np.random.default_rng(1)
    u = 1.5 * rng.standard_normal((8, 8)) / np.sqrt(8)

    def step(state):
        noise = tf.random.normal(tf.shape(state), dtype=tf.float64)
        return tf.tanh(state @ u) + 0.5 * noise

    state, frame, logs = np.zeros(8), np.eye(8), []
    for _ in range(20000):
        y = np.tanh(state @ u)
        state = y + 0.5 * rng.standard_normal(8)
        frame, r = np.linalg.qr(((1 - y**2)[:, None] * u.T) @ frame)
        logs.append(np.log(np.abs(np.diag(r))))
    ours = keras_floss.lyapunov_statistics(step, 5000, initial_state=np.zeros((1, 8)))
    error = np.hypot(ours.standard_error[0], np.std(logs, axis=0) / np.sqrt(20000 / 4))
    assert (np.abs(ours.exponents[0] - np.mean(logs, axis=0)) < 4 * error).all()


def test_a_seed_makes_the_noise():
    layer, inputs = noisy_layer(DRAWS["keras"]), make_inputs(2, 10)
    first = lyapunov_exponents(layer, inputs, seed=1).numpy()
    np.testing.assert_array_equal(first, lyapunov_exponents(layer, inputs, seed=1))
    # The sum of all exponents does not know of the frame.
    other = lyapunov_exponents(layer, inputs, seed=2).numpy()
    assert (np.abs(first.sum(-1) - other.sum(-1)) > 1e-3).all()
    assert np.isfinite(lyapunov_exponents(layer, inputs, seed=10**30)).all()


def test_a_look_moves_no_generator_on():
    states = {"generator": generator.state, "tf_generator": tf_generator.state}
    for kind, state in states.items():
        before = state.numpy()
        for xla in (False, True):
            layer = noisy_layer(DRAWS[kind])
            inputs = make_inputs(1, 5)
            compiled(lambda: lyapunov_exponents(layer, inputs), xla)()  # noqa: B023
        np.testing.assert_array_equal(state.numpy(), before)


def test_a_random_initial_state_moves_no_generator_on():
    class Start(keras.layers.SimpleRNNCell):
        def get_initial_state(self, batch_size=None):
            return [keras.random.normal((batch_size, UNITS), seed=generator)]

    before = generator.state.numpy()
    lyapunov_exponents(keras.layers.RNN(Start(UNITS)), make_inputs(2, 5))
    np.testing.assert_array_equal(generator.state.numpy(), before)


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_a_constant_seed_draws_the_same_at_each_step_as_in_keras(xla):
    layer = noisy_layer(lambda shape: of_keras("normal")(shape, 3))
    inputs = make_inputs(2, 20)
    noise = np.array(of_keras("normal")((2, UNITS), 3))[:, None].repeat(20, axis=1)
    exponents = compiled(lambda: lyapunov_exponents(layer, inputs), xla)()
    expected = numpy_exponents(layer, inputs, noise, seed=0)
    np.testing.assert_allclose(exponents, expected, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "case", "xla"),
    cells(
        ["keras", "tf"],
        ["plain", "masked", "checkpoints"],
        MODES,
        always=[
            "keras-plain-xla",
            "keras-masked-graph",
            "tf-plain-graph",
            "tf-checkpoints-graph",
        ],
    ),
)
def test_the_gradient_is_that_of_the_exponents_at_the_noise_of_the_seed(kind, case, xla):
    layer, inputs = noisy_layer(DRAWS[kind]), tf.constant(make_inputs(2, 12))
    mask = None
    if case == "masked":
        mask = np.arange(12) < [[12], [8]]
    if case == "checkpoints":
        keras_floss.set_memory_limit(100)

    def run():
        with tf.GradientTape() as tape:
            exponents = lyapunov_exponents(
                layer, inputs, 3, mask=mask, warmup=2, qr_interval=2, seed=1
            )
            value = tf.reduce_sum(exponents * [1.0, -0.5, 0.3])
        return value, tape.gradient(value, [v.value for v in layer.weights])

    try:
        run = compiled(run, xla)
        _, gradients = run()
        rng = np.random.default_rng(2)
        for v, gradient in zip(layer.weights, gradients, strict=True):
            direction = rng.standard_normal(v.shape)
            difference = central_difference(lambda: run()[0], v, direction)
            expected = np.sum(gradient * direction)
            assert abs(expected) > 1e-3
            np.testing.assert_allclose(difference, expected, rtol=1e-6)
    finally:
        keras_floss.set_memory_limit(2**30)


def test_jacobians_and_condition_number_see_the_noise_of_the_exponents():
    layer, inputs = noisy_layer(DRAWS["keras"]), make_inputs(2, 30)
    mask = np.arange(30) % 3 > 0
    mask = np.stack([mask, np.ones(30, bool)])
    values = keras_floss.jacobian_singular_values(layer, inputs, mask=mask)
    exponents = lyapunov_exponents(layer, inputs, mask=mask)
    # log |det T|, both ways.
    np.testing.assert_allclose(
        values.sum(-1), np.sum(exponents, axis=-1) * mask.sum(-1), atol=1e-8
    )


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_dropout_is_no_noise(kind):
    rnn = getattr(keras.layers, kind)(3, dropout=0.5, recurrent_dropout=0.5)
    assert not as_trajectory(rnn, make_inputs(1, 4)).map.noisy


def test_noise_in_the_output_alone_is_none():
    class Shown(keras.layers.SimpleRNNCell):
        def call(self, inputs, states, training=False):
            shown = keras.random.categorical(keras.ops.zeros((1, 4)), 3)
            output, states = super().call(inputs, states, training=training)
            return output + keras.ops.cast(shown, output.dtype), states

    assert not as_trajectory(keras.layers.RNN(Shown(3)), make_inputs(1, 4)).map.noisy

    # Beside noise in the state it is left as it is.
    def draw(shape):
        keras.random.categorical(keras.ops.zeros((1, 4)), 3)
        return keras.random.normal(shape)

    layer, inputs = noisy_layer(draw), make_inputs(2, 5)
    expected = numpy_exponents(layer, inputs, noise_of(layer, inputs, 0), seed=0)
    np.testing.assert_allclose(lyapunov_exponents(layer, inputs), expected, atol=1e-10)


def in_a_function(shape):
    return tf.function(lambda: tf.random.normal(shape), autograph=False)()


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda shape: keras.random.categorical(tf.zeros((shape[0], 4)), UNITS), "Multi"),
        (lambda shape: tf.random.normal((shape[0] * UNITS,))[:UNITS], "batch"),
        (lambda shape: keras.random.gamma(shape, 1.0 + np.arange(UNITS)), "parameters"),
        (in_a_function, "tf.function"),
    ],
    ids=["categorical", "flat", "parameters", "function"],
)
def test_noise_that_cannot_be_the_same_for_all_tangents_is_refused(draw, reason):
    layer = noisy_layer(draw)
    with pytest.raises(ValueError, match=f"draws random numbers .*{reason}"):
        lyapunov_exponents(layer, make_inputs(2, 5))


def test_a_seed_that_depends_on_the_state_is_refused():
    def step(state):
        seed = tf.cast(state[0, :2], tf.int32)
        return state + tf.random.stateless_normal(tf.shape(state), seed)

    with pytest.raises(ValueError, match="by a seed"):
        lyapunov_exponents(step, 5, initial_state=np.ones((1, 2), "float32"))


def test_noise_that_is_drawn_once_and_kept_is_refused():
    class Kept(keras.layers.SimpleRNNCell):
        def call(self, inputs, states, training=False):
            return super().call(inputs, states, training=True)

    rnn = keras.layers.RNN(Kept(3, recurrent_dropout=0.5))
    with pytest.raises(ValueError, match="at some calls"):
        lyapunov_exponents(rnn, make_inputs(1, 5))


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_a_gradient_of_the_users_own_goes_with_noise(xla):
    @tf.custom_gradient
    def spike(x):
        return tf.cast(x > 0, x.dtype), lambda d: d / (1 + tf.abs(x)) ** 2

    # Slope by slope as if there were a logistic-like function in place of a threshold.
    weight = np.random.default_rng(0).standard_normal((3, 3))

    def step(state):
        return spike(state @ weight + tf.random.normal(tf.shape(state), dtype=tf.float64))

    exponents = compiled(
        lambda: lyapunov_exponents(step, 20, initial_state=np.zeros((1, 3))), xla
    )()
    _, inputs, *_ = with_noise(as_trajectory(step, 20, np.zeros((1, 3))))
    state, frame, total = np.zeros(3), initial_frame(3, 3).T, 0.0
    for xi in inputs[0].numpy():
        x = state @ weight + xi
        state = (x > 0) * 1.0
        frame, r = np.linalg.qr((weight.T / (1 + np.abs(x))[:, None] ** 2) @ frame)
        total += np.log(np.abs(np.diag(r)))
    np.testing.assert_allclose(exponents[0], total / 20, atol=1e-10)
