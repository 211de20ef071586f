"""The gradient of the loss in every state, against a loop that is unrolled and eager."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import SLOW
from reference import make_inputs

from keras_floss import gradient_norms, lyapunov_exponents
from keras_floss.layers import HDetachLSTM, RateRNN

BATCH, TIME = 4, 7
MASKS = {
    "none": None,
    # Padding to the right and to the left, and holes.
    "mask": np.array(
        [
            [1, 1, 1, 1, 1, 0, 0],
            [0, 0, 1, 1, 1, 1, 1],
            [1, 0, 1, 1, 0, 1, 0],
            [0, 1, 1, 0, 0, 1, 1],
        ],
        bool,
    ),
}


def make_rnn(kind, **options):
    layers = keras.layers
    if kind == "stacked":
        cells = [layers.LSTMCell(3), layers.GRUCell(2)]
        return layers.RNN(cells, **options)
    return {
        "SimpleRNN": layers.SimpleRNN,
        "GRU": layers.GRU,
        "LSTM": layers.LSTM,
        "RateRNN": RateRNN,
        "HDetachLSTM": HDetachLSTM,
    }[kind](4, **options)


def unrolled(rnn, x, mask, initial=None):
    """Outputs and states of every step, each state a tensor of its own to derive by."""
    batch, time, _ = x.shape
    sizes = keras.tree.flatten(rnn.cell.state_size)
    states = initial or [tf.zeros((batch, d)) for d in sizes]
    # The output of all of these cells is a state: h, of the last cell.
    own = {1: 0, 2: 0, 3: 2}[len(sizes)]
    output = tf.zeros((batch, sizes[own]))
    outputs, by_step = [], []
    for t in range(time):
        valid = np.ones((batch, 1), bool) if mask is None else mask[:, t : t + 1]
        packed = keras.tree.pack_sequence_as(rnn.cell.state_size, states)
        packed = packed if isinstance(packed, list | tuple) else [packed]
        _, new = rnn.cell(x[:, t], packed)
        new = keras.tree.flatten(new)
        states = [
            tf.identity(tf.where(valid, a, b)) for a, b in zip(new, states, strict=True)
        ]
        by_step.append(states)
        kept = tf.zeros_like(output) if rnn.zero_output_for_mask else output
        output = tf.where(valid, states[own], kept)
        outputs.append(output)
    return tf.stack(outputs, axis=1), by_step


def norms_of(gradients):
    """`(time,)`, over states and sequences."""
    return np.array([np.sqrt(sum(np.sum(g.numpy() ** 2) for g in s)) for s in gradients])


@pytest.mark.parametrize("mask", ["mask", pytest.param("none", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SimpleRNN", {}),
        pytest.param("GRU", {"return_sequences": True}, marks=SLOW),
        ("LSTM", {"return_sequences": True}),
        ("LSTM", {"return_state": True}),
        ("stacked", {"return_sequences": True}),
        ("RateRNN", {"return_sequences": True, "zero_output_for_mask": True}),
        ("HDetachLSTM", {"go_backwards": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_norms_are_those_of_the_unrolled_loop(kind, options, mask):
    keras.utils.set_random_seed(0)
    rnn, mask = make_rnn(kind, **options), MASKS[mask]
    readout = keras.layers.Dense(1)
    inputs = keras.Input((TIME, 3))
    mask_input = keras.Input((TIME,), dtype="bool")
    merged = rnn(inputs, mask=mask_input)
    # With `return_state` the final states count, too.
    parts = keras.layers.Concatenate()(merged) if "return_state" in options else merged
    # An operation hands no mask on: versions of Keras weigh a masked loss differently.
    outputs = keras.ops.multiply(readout(parts), 1.0)
    model = keras.Model([inputs, mask_input], outputs)
    model.compile("sgd", "mse")
    x = make_inputs(BATCH, TIME).astype("float32")
    all_true = np.ones((BATCH, TIME), bool)
    y = np.ones((BATCH, TIME, 1) if "return_sequences" in options else (BATCH, 1), "f")
    given = all_true if mask is None else mask
    (found,) = gradient_norms(model, [x, given], y).values()

    backwards = slice(None, None, -1 if rnn.go_backwards else 1)
    with tf.GradientTape() as tape:
        outputs, states = unrolled(
            rnn, tf.constant(x[:, backwards]), None if mask is None else mask[:, backwards]
        )
        features = outputs if rnn.return_sequences else outputs[:, -1]
        if rnn.return_state:
            features = tf.concat([features, *states[-1]], axis=-1)
        loss = tf.reduce_mean((readout(features) - y) ** 2)
    gradients = tape.gradient(loss, states, unconnected_gradients="zero")
    # Two float32 programs of a few hundred operations.
    np.testing.assert_allclose(found.norms, norms_of(gradients), rtol=1e-5, atol=1e-8)


class TwoLayers(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.LSTM(5, return_sequences=True, name="first")
        self.second = keras.layers.LSTM(3, name="second")
        self.readout = keras.layers.Dense(1)

    def call(self, x):
        return self.readout(self.second(self.first(x)))


@pytest.fixture(scope="module")
def two_layers():
    """Functional and subclassed, with equal weights; data; what the loop gives."""
    keras.utils.set_random_seed(1)
    subclassed = TwoLayers()
    x = make_inputs(BATCH, TIME).astype("float32")
    y = np.ones((BATCH, 1), "float32")
    subclassed(x)
    inputs = keras.Input((TIME, 3))
    first = keras.layers.LSTM(5, return_sequences=True, name="first")
    second = keras.layers.LSTM(3, name="second")
    functional = keras.Model(inputs, keras.layers.Dense(1)(second(first(inputs))))
    functional.set_weights(subclassed.get_weights())
    for model in (subclassed, functional):
        model.compile("sgd", "mse")
    with tf.GradientTape(persistent=True) as tape:
        h, first_states = unrolled(subclassed.first, tf.constant(x), None)
        out, second_states = unrolled(subclassed.second, h, None)
        loss = tf.reduce_mean((subclassed.readout(out[:, -1]) - y) ** 2)
    states = {"first": first_states, "second": second_states}
    gradients = {
        name: tape.gradient(loss, s, unconnected_gradients="zero")
        for name, s in states.items()
    }
    kernels = {
        name: tape.gradient(loss, getattr(subclassed, name).cell.recurrent_kernel.value)
        for name in states
    }
    return {"functional": functional, "subclassed": subclassed}, (x, y), gradients, kernels


@pytest.mark.parametrize(
    "form", [pytest.param("functional", marks=pytest.mark.slow), "subclassed"]
)
def test_both_layers_of_a_model_of_the_users_own(two_layers, form):
    models, data, gradients, kernels = two_layers
    found = gradient_norms(models[form], *data)
    assert list(found) == ["first", "second"]
    for name, layer in found.items():
        np.testing.assert_allclose(layer.norms, norms_of(gradients[name]), rtol=1e-5)
        (kernel,) = layer.kernels.values()
        values = np.linalg.svd(kernels[name], compute_uv=False)
        # Relative to the largest: that is what a float32 gradient has.
        np.testing.assert_allclose(
            kernel.singular_values, values, rtol=1e-5, atol=1e-5 * values[0]
        )
        ratio = np.sum(values**2) ** 2 / np.sum(values**4)
        np.testing.assert_allclose(kernel.effective_dimension, ratio, rtol=1e-4)


def test_the_share_of_the_cell_path(two_layers):
    """What comes into c from the step after, of all that comes."""
    models, (x, y), gradients, _ = two_layers
    rnn = models["subclassed"].second
    found = gradient_norms(models["subclassed"], x, y)["second"].cell_share
    assert found.shape == (TIME - 1,)
    h = models["subclassed"].first(x)
    _, states = unrolled(rnn, h, None)
    for t in range(TIME - 1):
        with tf.GradientTape() as tape:
            tape.watch(states[t])
            _, after = rnn.cell(h[:, t + 1], states[t])
        pulled = tape.gradient(
            after, states[t], output_gradients=gradients["second"][t + 1]
        )
        through_h, through_c = (np.sum(g.numpy() ** 2) for g in pulled)
        np.testing.assert_allclose(found[t], through_c / (through_h + through_c), rtol=1e-4)


def test_other_layers_have_no_cell_share():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.SimpleRNN(4)])
    model.compile("sgd", "mse")
    (layer,) = gradient_norms(model, make_inputs(2, 5), np.zeros((2, 4))).values()
    assert layer.cell_share is None


def test_the_slope_of_a_linear_network_is_its_largest_exponent():
    recurrent = 0.9 * np.diag([1.0, 0.7, 0.5]) + 0.1 * np.triu(np.ones((3, 3)), 1)
    rnn = keras.layers.SimpleRNN(3, activation=None)
    model = keras.Sequential([keras.Input((200, 3)), rnn])
    model.compile("sgd", "mse")
    rnn.set_weights([np.eye(3), recurrent, np.zeros(3)])
    x = make_inputs(2, 200)
    (found,) = gradient_norms(model, x, np.zeros((2, 3))).values()
    # Back from the last step, past the first 50 of them, in which directions align.
    slope = np.polyfit(np.arange(150), np.log(found.norms[:150]), 1)[0]
    largest = lyapunov_exponents(rnn, x, k=1, warmup=50).numpy().mean()
    np.testing.assert_allclose(-slope, largest, atol=1e-3)
    np.testing.assert_allclose(-slope, np.log(0.9), atol=1e-3)


def test_a_gradient_of_one_direction_has_dimension_one():
    """Two steps, one sequence: the kernel's gradient is one outer product."""
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.SimpleRNN(4)])
    model.compile("sgd", "mse")
    (layer,) = gradient_norms(model, make_inputs(1, 2), np.ones((1, 4))).values()
    (kernel,) = layer.kernels.values()
    np.testing.assert_allclose(kernel.effective_dimension, 1.0, rtol=1e-6)


@pytest.mark.slow
def test_names_of_calls_and_directions():
    inputs = [keras.Input((5, 3)), keras.Input((5, 3))]
    shared = keras.layers.GRU(4, name="shared")
    both = keras.layers.Bidirectional(keras.layers.LSTM(2), name="both")
    merged = keras.layers.Concatenate()(
        [shared(inputs[0]), shared(inputs[1]), both(inputs[0])]
    )
    model = keras.Model(inputs, merged)
    model.compile("sgd", "mse")
    x = [make_inputs(2, 5, seed=s) for s in (0, 1)]
    y = np.ones((2, 12))
    found = gradient_norms(model, x, y)
    assert set(found) == {"shared/call_1", "shared/call_2", "both/forward", "both/backward"}
    assert list(gradient_norms(model, x, y, layers="both")) == [
        "both/forward",
        "both/backward",
    ]


def test_looking_changes_nothing():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.SimpleRNN(4)])
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = make_inputs(4, 5), np.ones((4, 4))
    model.fit(x, y, verbose=0)
    variables = [v for m in model.metrics for v in m.variables]
    before = [v.numpy() for v in (*variables, *model.weights)]
    gradient_norms(model, x, y)
    for old, new in zip(before, (*variables, *model.weights), strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_sample_weights_weigh():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.SimpleRNN(4)])
    model.compile("sgd", "mse")
    x, y = make_inputs(2, 5), np.ones((2, 4))
    (one,) = gradient_norms(model, x, y).values()
    (double,) = gradient_norms(model, x, y, 2 * np.ones(2)).values()
    np.testing.assert_allclose(double.norms, 2 * one.norms, rtol=1e-5)


@pytest.mark.slow
def test_mixed_precision_is_computed_in_float32():
    x, y = make_inputs(2, 5), np.ones((2, 4))
    found = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        rnn = keras.layers.LSTM(4, dtype=policy)
        model = keras.Sequential([keras.Input((5, 3)), rnn])
        model.compile("sgd", "mse")
        found.append(gradient_norms(model, x, y)[rnn.name].norms)
    assert found[1].dtype == np.float32
    # What comes from outside the layer has eight bits.
    np.testing.assert_allclose(found[1], found[0], rtol=0.05)


def test_what_is_missing_is_said():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.SimpleRNN(4)])
    x, y = make_inputs(2, 5), np.ones((2, 4))
    with pytest.raises(ValueError, match="compile it"):
        gradient_norms(model, x, y)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    dense.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no recurrent layer"):
        gradient_norms(dense, x[:, 0], y[:, :1])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="eagerly"):
        tf.function(lambda: gradient_norms(model, x, y))()
