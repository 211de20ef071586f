"""Plain functions as maps: `step(state, x)` and `step(state)`."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, SLOW, cells
from reference import compiled, make_inputs, make_layer, make_states

from keras_floss import lyapunov_exponents, lyapunov_statistics
from keras_floss.recurrent import functions

START = np.array([[0.1, 0.1]])


def henon(state):
    x, y = keras.ops.unstack(state, axis=-1)
    return keras.ops.stack([1 - 1.4 * x**2 + y, 0.3 * x], axis=-1)


def henon_exponents(step, steps=30, start=START, **options):
    return lyapunov_exponents(step, steps, initial_state=start, **options)


def simple_rnn(layer):
    """A SimpleRNN with variables of TensorFlow in place of the layer's."""
    w, u, b = variables = [tf.Variable(v.numpy()) for v in layer.weights]
    return lambda h, x: tf.tanh(x @ w + h @ u + b), variables


def gru(layer):
    """A GRU that reads the very variables of the layer."""
    kernel, recurrent_kernel, bias = variables = layer.weights
    ops = keras.ops

    def step(h, x):
        az, ar, ah = ops.split(ops.matmul(x, kernel) + bias[0], 3, axis=-1)
        iz, ir, ih = ops.split(ops.matmul(h, recurrent_kernel) + bias[1], 3, axis=-1)
        z, r = ops.sigmoid(az + iz), ops.sigmoid(ar + ir)
        return z * h + (1 - z) * ops.tanh(ah + r * ih)

    return step, variables


def lstm(layer):
    """An LSTM of two states, by a call of the layer's cell."""
    return lambda states, x: layer.cell(x, states)[1], layer.weights


SETTINGS = {"k": 3, "warmup": 2, "qr_interval": 3}
# 11 valid steps, and 8 with padding at the left or a gap.
MASK = np.ones((3, 11), bool)
MASK[1, :3] = MASK[2, 4:7] = False


@pytest.mark.parametrize(
    ("kind", "make", "options", "xla"),
    [
        ("SimpleRNN", simple_rnn, {}, True),
        pytest.param(
            "SimpleRNN", simple_rnn, {**SETTINGS, "mask": MASK}, False, marks=SLOW
        ),
        pytest.param("GRU", gru, {**SETTINGS, "mask": MASK}, True, marks=SLOW),
        ("LSTM", lstm, SETTINGS, False),
    ],
)
def test_a_function_has_values_and_gradients_of_the_layer(kind, make, options, xla):
    layer = make_layer(kind)
    step, variables = make(layer)
    inputs = make_inputs(3, 11)
    states = make_states(layer, 3)
    states = states if kind == "LSTM" else states[0]

    def both(rnn, weights, xla):
        def function(inputs, states):
            with tf.GradientTape() as tape:
                tape.watch([inputs, states])
                exponents = lyapunov_exponents(rnn, inputs, initial_state=states, **options)
                loss = tf.reduce_sum(tf.sin(3 * exponents))  # a weight for each
            sources = [inputs, states, weights]
            return exponents, tf.nest.flatten(tape.gradient(loss, sources))

        constants = tf.nest.map_structure(tf.constant, (inputs, states))
        return compiled(function, xla)(*constants)

    exponents, gradients = both(step, list(variables), xla)
    expected, expected_gradients = both(layer, list(layer.weights), False)
    # The same but for rounding in the derivative of tanh and, under XLA, in the QR:
    # 1e-15 times the condition of R, about 1e4.
    np.testing.assert_allclose(exponents, expected, atol=1e-10)
    for a, e in zip(gradients, expected_gradients, strict=True):
        assert np.abs(e).max() > 1e-4
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-8 * np.abs(e).max())


def network(weights):
    """Every operation of which tangents may be vectorised."""

    def step(state):
        inner = tf.tanh(tf.nn.bias_add(state @ weights, [0.1, -0.2, 0.3]))
        inner += tf.sigmoid(tf.sin(inner)) * tf.nn.relu(-tf.cos(tf.identity(inner)))
        return inner / (1 + tf.exp(-tf.square(state) + state**3)) - 0.1 * tf.nn.softplus(
            state
        )

    return step


@pytest.mark.parametrize("xla", cells(MODES, always=["graph", "xla"]))
def test_tangents_of_a_network_are_vectorised(xla, monkeypatch):
    weights = tf.Variable(np.random.default_rng(0).standard_normal((3, 3)))
    start = tf.constant([[0.3, -0.1, 0.2], [0.1, 0.5, -0.4]], tf.float64)

    def run():
        with tf.GradientTape() as tape:
            tape.watch(start)
            exponents = lyapunov_exponents(network(weights), 12, initial_state=start)
        return exponents, *tape.gradient(exponents, [start, weights])

    with monkeypatch.context() as patch:
        patch.setattr(tf, "vectorized_map", functools.partial(vectorize, seen := []))
        found = compiled(run, xla)()
    assert seen
    monkeypatch.setattr(functions, "VECTORIZED", set())
    for a, b in zip(found, compiled(run, xla)(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def vectorize(seen, *arguments, real=tf.vectorized_map, **settings):
    seen.append(arguments)
    return real(*arguments, **settings)


def test_a_tensor_of_the_program_around_a_function_may_be_read():
    weights = tf.constant(np.random.default_rng(0).standard_normal((3, 3)))
    start = np.full((1, 3), 0.2)

    def run(scale):
        return lyapunov_exponents(network(scale * weights), 9, initial_state=start)

    one = tf.constant(1.0, tf.float64)
    expected = lyapunov_exponents(network(weights), 9, initial_state=start)
    for xla in False, True:
        found = tf.function(run, autograph=False, jit_compile=xla)(one)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_an_eager_call_has_gradients_and_reads_variables_anew():
    a = tf.Variable([[2.0, 0.0], [0.0, 0.5]], dtype=tf.float64)

    def linear(state):
        return state @ a

    for factor in (1.0, 3.0):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(henon_exponents(linear))
        # log |det A|, whose gradient is the inverse of Aᵀ: exact for every length.
        assert abs(total - np.log(factor**2)) < 1e-12
        expected = np.diag([0.5, 2.0]) / factor
        np.testing.assert_allclose(tape.gradient(total, a), expected, atol=1e-12)
        a.assign(3.0 * a)


def test_a_cell_that_holds_a_raw_variable_has_a_gradient_in_it():
    layer, inputs = make_layer("SimpleRNN"), make_inputs(2, 6)
    w, u, b = (v.numpy() for v in layer.weights)

    class Cell(keras.layers.Layer):
        """A SimpleRNN cell with a variable that Keras does not know."""

        state_size = 5

        def __init__(self):
            super().__init__(dtype="float64")
            self.recurrent = tf.Variable(u)

        def call(self, inputs, states):
            h = tf.tanh(inputs @ w + states[0] @ self.recurrent + b)
            return h, [h]

    def both(rnn, variable):
        with tf.GradientTape() as tape:
            exponents = lyapunov_exponents(rnn, inputs, k=2)
        return exponents, tape.gradient(exponents, variable)

    cell = Cell()
    expected = both(layer, layer.weights[1])
    for rnn in (cell, keras.layers.RNN(cell, dtype="float64")):
        # Rounding times a condition of 10 or so.
        for a, e in zip(both(rnn, cell.recurrent), expected, strict=True):
            np.testing.assert_allclose(a, e, atol=1e-10)


class Nested:
    """Hénon on a state of any structure of x and y, which it must get as it was given."""

    def __init__(self, split, join):
        self.split, self.join = split, join

    def __call__(self, state):
        x, y = self.split(state)
        return self.join(1 - 1.4 * x**2 + y, 0.3 * x)


X, Y = START[:, :1], START[:, 1:]


@pytest.mark.parametrize(
    ("split", "join"),
    [
        (lambda s: (s["x"], s["y"]), lambda x, y: {"x": x, "y": y}),
        # Not in the order of the keys: which is which must not depend on it.
        (lambda s: (s["x"], s["y"]), lambda x, y: {"y": y, "x": x}),
        (lambda s: (s[0], s[1][0]), lambda x, y: [x, [y]]),
        (lambda s: s, lambda x, y: (x, y)),
        (lambda s: (s[0][0], s[1]["y"]), lambda x, y: ([x], {"y": y})),
    ],
    ids=["dict", "dict out of order", "nested list", "tuple", "mixed"],
)
def test_a_state_may_be_a_structure(split, join):
    exponents = henon_exponents(Nested(split, join), start=join(X, Y))
    # The same numbers, side by side or not.
    np.testing.assert_allclose(exponents, henon_exponents(henon), atol=1e-12)


def test_a_state_of_python_numbers():
    exponents = henon_exponents(henon, start=[[0.1, 0.1]])
    assert exponents.dtype == tf.float32
    # 30 chaotic steps enlarge the rounding of 6e-8 by e^(0.42·30) = 3e5 in the state.
    np.testing.assert_allclose(exponents, henon_exponents(henon), atol=0.05)


def test_a_structure_of_python_numbers():
    as_dict = Nested(lambda s: (s["x"], s["y"]), lambda x, y: {"x": x, "y": y})
    exponents = henon_exponents(as_dict, start={"x": [[0.1]], "y": [[0.1]]})
    np.testing.assert_allclose(exponents, henon_exponents(henon), atol=0.05)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("float32", "float32"), "float32"),
        (("float64", "float64"), "float64"),
        (("float32", "float64"), "float64"),
        (("int32", "int32"), "float32"),
    ],
)
def test_the_initial_state_says_the_dtype(dtypes, expected):
    seen = set()

    def step(states):
        seen.update(s.dtype.name for s in states)
        return [0.5 * states[0], 0.25 * states[1]]

    start = [np.ones((1, 1), d) for d in dtypes]
    exponents = lyapunov_exponents(step, 60, initial_state=start, warmup=50)
    assert exponents.dtype == expected
    assert seen == {expected}
    # What a frame of rounding 1e-7 (1e-16) says after 50 steps of alignment.
    atol = 1e-6 if expected == "float32" else 1e-14
    np.testing.assert_allclose(exponents[0], np.log([0.5, 0.25]), atol=atol)


def test_every_row_of_the_initial_state_has_exponents_of_its_own():
    starts = np.array([[0.1, 0.1], [0.2, -0.1], [-0.5, 0.2]])
    exponents = henon_exponents(henon, start=starts).numpy()
    assert exponents.shape == (3, 2)
    assert np.ptp(exponents[:, 0]) > 1e-2
    for row, start in zip(exponents, starts, strict=True):
        alone = henon_exponents(henon, start=start[None])[0]
        # 30 chaotic steps enlarge rounding by 3e5 · 1e-16, if it is not the same.
        np.testing.assert_allclose(row, alone, atol=1e-10)


def test_inputs_with_no_features_are_a_number_of_steps():
    expected = henon_exponents(henon)
    for steps in (np.int64(30), np.zeros((1, 30, 0)), np.zeros((1, 30, 0), "float32")):
        np.testing.assert_array_equal(henon_exponents(henon, steps), expected)


@pytest.mark.parametrize("xla", cells(MODES, always=["graph"]))
def test_a_number_of_steps_inside_a_graph(xla):
    function = tf.function(
        lambda s: henon_exponents(henon, start=s, qr_interval=4, warmup=2),
        input_signature=[tf.TensorSpec([None, 2], tf.float64)],
        jit_compile=xla,
        autograph=False,
    )
    starts = np.array([[0.1, 0.1], [0.2, -0.1]])
    expected = henon_exponents(henon, start=starts, warmup=2)
    # As above; the states of XLA's arithmetic differ by 3e5 · 1e-16 after 30 steps.
    np.testing.assert_allclose(function(starts), expected, atol=1e-9)


def test_statistics_of_a_function():
    statistics = lyapunov_statistics(henon, 30, initial_state=START, warmup=5)
    expected = henon_exponents(henon, warmup=5)
    np.testing.assert_allclose(statistics.exponents, expected, atol=1e-12)
    assert statistics.running.shape == (1, 30, 2)


def test_functions_of_one_definition_are_not_mixed_up():
    def scaled(a):
        return lambda state: a * state

    functions = [scaled(0.5), scaled(2.0)]
    for step, a in zip(functions, (0.5, 2.0), strict=True):
        np.testing.assert_allclose(henon_exponents(step), np.log([[a, a]]), atol=1e-12)


class Scaled:
    """A callable object with a method that could be the map as well."""

    def __init__(self, a):
        self.a = a

    def __call__(self, state):
        return self.a * state

    def step(self, state):
        return self.a * state


@dataclasses.dataclass
class ScaledData:
    """A callable object that Python cannot hash, for it is compared by its fields."""

    a: float

    def __call__(self, state):
        return self.a * state


@pytest.mark.parametrize(
    "step",
    [
        Scaled(0.5),
        pytest.param(ScaledData(0.5), marks=SLOW),
        pytest.param(Scaled(0.5).step, marks=SLOW),
        functools.partial(lambda a, state: a * state, 0.5),
        pytest.param(functools.partial(lambda state, a: a * state, a=0.5), marks=SLOW),
        lambda state, a=0.5: a * state,
        lambda *states: 0.5 * states[0],
        tf.function(lambda state: 0.5 * state),
    ],
    ids=["object", "dataclass", "bound", "partial", "keyword", "default", "*", "graph"],
)
def test_whatever_can_be_called_is_a_function(step):
    for _ in range(2):
        np.testing.assert_allclose(henon_exponents(step), np.log(0.5), atol=1e-12)


def test_a_bound_method_belongs_to_its_object():
    for a in (0.5, 2.0):
        exponents = henon_exponents(Scaled(a).step)
        np.testing.assert_allclose(exponents, np.log(a), atol=1e-12)


# Errors


def with_input(state, x):
    return state


def test_no_initial_state():
    with pytest.raises(ValueError, match="initial_state=None.*henon"):
        lyapunov_exponents(henon, 10)


@pytest.mark.parametrize(
    ("step", "inputs", "called", "takes"),
    [
        (with_input, 10, "with_input(state)", "(state, x)"),
        (henon, np.ones((1, 10, 3)), "henon(state, x)", "(state)"),
    ],
)
def test_a_function_of_other_arguments(step, inputs, called, takes):
    with pytest.raises(ValueError, match=step.__name__) as error:
        lyapunov_exponents(step, inputs, initial_state=START)
    assert called in str(error.value)
    assert str(error.value).endswith(takes)


@pytest.mark.parametrize("shape", [(), (2,), (1, 1, 2), (1, 0)])
def test_an_initial_state_that_is_no_batch_of_vectors(shape):
    with pytest.raises(ValueError, match=r"initial state of `henon`.*\(batch, size\)") as e:
        henon_exponents(henon, start=np.zeros(shape))
    assert str(e.value).endswith(f"[{shape}]")


@pytest.mark.parametrize("start", [[], {}, [np.zeros((1, 2)), np.zeros(2)]])
def test_an_initial_state_that_is_none(start):
    with pytest.raises(ValueError, match="initial[ _]state.*henon"):
        henon_exponents(henon, start=start)


def test_an_initial_state_of_another_batch():
    with pytest.raises(ValueError, match=r"`initial_state` of `with_input`.*\(1, 2\)"):
        lyapunov_exponents(with_input, np.ones((3, 10, 2)), initial_state=START)


@pytest.mark.parametrize(
    ("step", "received"),
    [
        (lambda s: s[:, :1], ", 1)"),
        (lambda s: tf.concat([s, s], axis=-1), ", 4)"),
        (lambda s: tf.reduce_sum(s), "()"),
        (lambda s: [s, s], "]"),
        (lambda s: [], "[]"),
    ],
    ids=["narrower", "wider", "scalar", "two", "nothing"],
)
def test_a_function_that_does_not_return_a_state_like_the_old_one(step, received):
    with pytest.raises(ValueError, match="`<lambda>` must return a new state") as error:
        henon_exponents(step)
    assert str(error.value).endswith(received)


def test_a_function_that_returns_other_keys():
    def swap(state):
        return {"y": state["x"], "z": state["y"]}

    with pytest.raises(ValueError, match="`swap` must return a new state"):
        henon_exponents(swap, start={"x": X, "y": Y})


@pytest.mark.parametrize("steps", [0, -1])
def test_a_number_of_steps_below_one(steps):
    with pytest.raises(ValueError, match="`inputs`.*at least 1. Received: ") as error:
        henon_exponents(henon, steps)
    assert str(error.value).endswith(str(steps))


@pytest.mark.parametrize("steps", [True, 10.0, "10"])
def test_what_is_not_a_number_of_steps(steps):
    with pytest.raises(ValueError, match=r"`inputs`.*\(batch, time, features\)") as error:
        henon_exponents(henon, steps)
    assert str(error.value).endswith(repr(steps))


def test_a_class_is_not_a_function():
    with pytest.raises(ValueError, match=r"function `step\(state, x\)`.*Received: ") as e:
        henon_exponents(Scaled)
    assert str(e.value).endswith(repr(Scaled))


def test_autograph_leaves_it_alone():
    # To convert all that is called here takes seconds.
    seen = []

    def step(state):
        seen.append(tf.__internal__.autograph.control_status_ctx().status.name)
        return 0.5 * state

    exponents = tf.function(lambda: lyapunov_exponents(step, 4, initial_state=[[1.0, 2.0]]))
    np.testing.assert_allclose(exponents(), np.log([[0.5, 0.5]]), atol=1e-6)
    assert seen
    assert "ENABLED" not in seen
