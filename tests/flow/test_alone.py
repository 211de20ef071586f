"""XLA compiles the sweeps alone, in programs that are in graph mode."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells
from reference import FEATURES, KINDS, make_inputs, make_layer, pretend_gpu

from keras_floss import (
    FlossingModel,
    LyapunovRegularizer,
    layers,
    lyapunov_exponents,
    lyapunov_statistics,
)
from keras_floss.flow import tangent_flow
from keras_floss.flow.alone import WORTH_COMPILING, by_xla, compiles_alone
from keras_floss.recurrent.cells import CellMap

LONG = WORTH_COMPILING


class Own(keras.layers.SimpleRNNCell):
    pass


def program(layer, k=None, **settings):
    """A program of exponents, and of the slopes of their squares in the weights."""

    @tf.function(autograph=False)
    def run(x, mask=None):
        with tf.GradientTape() as tape:
            exponents = lyapunov_exponents(layer, x, k, mask=mask, **settings)
            loss = tf.reduce_sum(exponents**2)
        return exponents, *tape.gradient(loss, [v.value for v in layer.trainable_variables])

    return run


def compiled_parts(run, *arguments):
    """How many functions of a program XLA compiles."""
    functions = run.get_concrete_function(*arguments).graph.as_graph_def().library.function
    return sum(f.attr["_XlaMustCompile"].b for f in functions)


def assert_same(found, wanted, rtol=1e-10):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("kind", cells(KINDS, always=["GRU"]))
def test_exponents_and_gradient_are_those_of_the_graph(kind):
    layer, x = make_layer(kind), make_inputs(2, LONG)
    assert compiled_parts(program(layer, k=3), x) == 2
    assert compiled_parts(program(layer, k=3, jit_compile=False), x) == 0
    # The smallest exponents of a long sequence are sums of many roundings.
    assert_same(program(layer, k=3)(x), program(layer, k=3, jit_compile=False)(x), 1e-7)


@pytest.mark.parametrize(
    "settings",
    [{"qr_interval": 4, "warmup": 3}, {"memory_limit": 1e3}, {"of": "output"}],
    ids=["interval", "checkpoints", "output"],
)
def test_so_they_are_with_masks_and_settings(settings):
    layer, x = make_layer("LSTM"), make_inputs(2, LONG)
    mask = np.ones((2, LONG), bool)
    mask[1, 30:] = False
    settings = {"k": 2, "memory_limit": 1e9, **settings}
    found = program(layer, **settings)(x, mask)
    assert_same(found, program(layer, jit_compile=False, **settings)(x, mask), 1e-7)


def test_a_batch_may_be_of_any_size():
    layer = make_layer("SimpleRNN")
    spec = tf.TensorSpec((None, LONG, FEATURES), tf.float64)
    run = program(layer, k=2)
    assert compiled_parts(run, spec) == 2
    run = run.get_concrete_function(spec)
    for batch in (1, 3):
        x = make_inputs(batch, LONG)
        wanted = program(layer, k=2, jit_compile=False)(x)
        assert_same(run(tf.constant(x)), wanted, 1e-8)


def test_two_tapes_may_watch():
    layer, x = make_layer("SimpleRNN"), make_inputs(1, LONG)
    weights = [v.value for v in layer.trainable_variables]

    @tf.function(autograph=False)
    def run(x):
        with tf.GradientTape(persistent=True) as outer, tf.GradientTape() as inner:
            loss = tf.reduce_sum(lyapunov_exponents(layer, x, 2) ** 2)
        return inner.gradient(loss, weights), outer.gradient(loss, weights)

    assert_same(*run(x))


def test_a_gradient_of_the_gradient_is_refused_and_never_wrong():
    layer, x = make_layer("SimpleRNN"), make_inputs(1, LONG)
    weights = [v.value for v in layer.trainable_variables]

    def curvature(jit_compile):
        @tf.function(autograph=False)
        def run(x):
            with tf.GradientTape() as outer:
                with tf.GradientTape() as inner:
                    found = lyapunov_exponents(layer, x, 2, jit_compile=jit_compile)
                    loss = tf.reduce_sum(found**2)
                size = tf.reduce_sum(inner.gradient(loss, weights)[0] ** 2)
            return outer.gradient(size, weights)[0]

        return run(x)

    assert np.abs(curvature(jit_compile=False)).max() > 0
    with pytest.raises(ValueError, match="pass jit_compile=False"):
        curvature(jit_compile="auto")


@pytest.mark.parametrize("eager", [True, False])
def test_a_function_is_compiled_where_one_says_so(eager):
    gain = tf.Variable(1.5, dtype=tf.float64)
    start = np.full((1, 2), 0.3)

    def run(jit_compile):
        with tf.GradientTape() as tape:
            found = lyapunov_exponents(
                lambda s: tf.tanh(gain * s[:, ::-1] + [0.1, 0.2]),
                LONG,
                initial_state=start,
                jit_compile=jit_compile,
            )
        return found, tape.gradient(found, gain)

    mode = (lambda f: f) if eager else tf.function(autograph=False)
    assert_same(mode(run)(True), mode(run)(False), 1e-9)
    assert compiled_parts(tf.function(run, autograph=False), True) == 2
    assert compiled_parts(tf.function(run, autograph=False), "auto") == 0


def test_a_function_that_is_a_network_is_compiled_as_cells_are():
    weights = tf.Variable([[0.3, -0.5], [0.6, 0.4]])

    def run(steps):
        def network(state):
            return tf.tanh(state @ weights)

        return lyapunov_exponents(network, steps, initial_state=[[0.3, 0.1]])

    assert compiled_parts(tf.function(run, autograph=False), LONG) == 1
    assert compiled_parts(tf.function(run, autograph=False), LONG - 1) == 0


def chosen(cell=None, shape=(2, LONG, FEATURES), jit_compile="auto"):
    step = CellMap(cell or keras.layers.GRUCell(4))

    @tf.function(autograph=False)
    def run():
        return tf.constant(compiles_alone(jit_compile, step, tf.TensorSpec(shape)))

    return bool(run())


def test_auto_compiles_what_pays():
    assert chosen()
    assert chosen(layers.RateRNNCell(3))
    assert not chosen(shape=(2, LONG - 1, FEATURES))
    assert not chosen(shape=(2, None, FEATURES))
    assert not chosen(Own(4))
    assert not chosen(jit_compile=False)
    assert chosen(Own(4), (2, 3, FEATURES), jit_compile=True)


def test_auto_leaves_several_devices_and_gpus_alone(monkeypatch):
    two = tf.distribute.MirroredStrategy(["CPU:0"])
    monkeypatch.setattr(type(two), "num_replicas_in_sync", 2)
    with two.scope():
        assert not chosen()
    pretend_gpu(monkeypatch)
    assert not chosen()


def test_one_look_is_not_compiled(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "keras_floss.flow.spectrum.compiles_alone",
        lambda jit_compile, *_: bool(asked.append(jit_compile)),
    )
    layer, x = make_layer("SimpleRNN"), make_inputs(1, LONG)
    lyapunov_exponents(layer, x)
    lyapunov_exponents(layer, x, jit_compile=True)
    tf.function(lambda x: lyapunov_exponents(layer, x), autograph=False)(x)
    assert asked == [False, True, "auto"]


def test_statistics_of_a_compiled_run_are_the_same():
    def henon(state):
        x, y = state[:, 0], state[:, 1]
        return tf.stack([1 - 1.4 * x**2 + y, 0.3 * x], axis=-1)

    start = np.array([[0.1, 0.1]])
    # Orbits that differ by rounding are apart after 80 steps.
    found, wanted = (
        lyapunov_statistics(henon, 40, initial_state=start, blocks=2, jit_compile=mode)
        for mode in (True, "auto")
    )
    np.testing.assert_allclose(found.running, wanted.running, rtol=1e-6)
    np.testing.assert_allclose(found.exponents.sum(), np.log(0.3), rtol=1e-9)


@pytest.mark.parametrize("value", ["no", 1, None])
def test_another_word_is_an_error(value):
    layer = keras.layers.SimpleRNN(3)
    with pytest.raises(ValueError, match="jit_compile"):
        lyapunov_exponents(layer, np.zeros((1, 5, 2)), jit_compile=value)
    with pytest.raises(ValueError, match="jit_compile"):
        LyapunovRegularizer(layer, jit_compile=value)


X = np.random.default_rng(0).standard_normal((4, LONG, 2)).astype("float32")
Y = X[:, :1, 0]


def joint(wrap, **options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((LONG, 2))
    rnn = keras.layers.SimpleRNN(4)
    if wrap:
        rnn = LyapunovRegularizer(rnn, 0.5, jit_compile=options.pop("alone"))
        model = keras.Model(inputs, keras.layers.Dense(1)(rnn(inputs)))
    else:
        outputs = keras.layers.Dense(1)(rnn(inputs))
        model = FlossingModel(inputs, outputs, strength=0.5)
    model.compile(keras.optimizers.SGD(0.1), "mse", **options)
    return model


def trained(model, monkeypatch):
    """The weights after two updates, and whether XLA compiled sweeps alone."""
    compiled = []

    def counted(sweep):
        compiled.append(sweep)
        return by_xla(sweep)

    monkeypatch.setattr(tangent_flow, "by_xla", counted)
    model.fit(X, Y, batch_size=2, shuffle=False, verbose=0)
    return model.get_weights(), bool(compiled)


@pytest.mark.parametrize(
    ("wrap", "default", "off"),
    [
        (False, {}, {"jit_compile": False}),
        (True, {"alone": "auto"}, {"alone": False}),
    ],
    ids=["FlossingModel", "LyapunovRegularizer"],
)
def test_joint_flossing_is_compiled_unless_it_is_turned_off(
    wrap, default, off, monkeypatch
):
    found, compiled = trained(joint(wrap, **default), monkeypatch)
    assert compiled
    wanted, compiled = trained(joint(wrap, **off), monkeypatch)
    assert not compiled
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_regularizer_keeps_its_setting():
    layer = LyapunovRegularizer(keras.layers.SimpleRNN(3), jit_compile=False)
    again = LyapunovRegularizer.from_config(layer.get_config())
    assert again.jit_compile is False
