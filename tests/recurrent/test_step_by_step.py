"""A layer that a model calls step by step has the spectrum of its whole trajectory.

What counts is whose state a call starts from: a call that starts from the state that
another ended in goes on where that one stopped.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import cells

from keras_floss import (
    FlossingModel,
    LyapunovRegularizer,
    gradient_norms,
    recurrent_inputs,
)
from keras_floss.callbacks import LyapunovMonitor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 8, 2))
Y = RNG.normal(size=(3, 4))
MASK = np.arange(8) < np.array([[8], [6], [5]])
L = keras.layers


def own(units, **kwargs):
    return L.RNN(L.StackedRNNCells([L.GRUCell(units), L.LSTMCell(units)]), **kwargs)


LAYERS = {"rnn": L.SimpleRNN, "gru": L.GRU, "lstm": L.LSTM, "stacked": own}


class Steps(keras.Model):
    """Calls its layer on pieces of the sequence, and hands the states on."""

    def __init__(self, layer, length=1, change=lambda state: state, mask=False):
        super().__init__(dtype="float64")
        self.layer = layer
        self.length = length
        self.change = change
        self.mask = mask
        self.head = L.Dense(4, dtype="float64")

    def call(self, x):
        outputs, states = [], None
        for t in range(0, x.shape[1], self.length):
            at = slice(t, t + self.length)
            mask = tf.constant(MASK[: x.shape[0], at]) if self.mask else None
            output, *states = self.layer(x[:, at], initial_state=states, mask=mask)
            states = keras.tree.map_structure(self.change, states)
            outputs.append(output)
        return self.head(sum(outputs))


class Whole(Steps):
    """The same with one call."""

    def call(self, x):
        mask = tf.constant(MASK[: x.shape[0]]) if self.mask else None
        return self.head(self.layer(x, mask=mask)[0])


def build(kind="lstm", **kwargs):
    keras.config.set_floatx("float64")
    try:
        return LAYERS[kind](4, return_state=True, name="layer", **kwargs)
    finally:
        keras.config.set_floatx("float32")


def compiled(net, **kwargs):
    model = FlossingModel(net)
    model.compile("adam", "mse", **kwargs)
    return model


def spectrum(net, **kwargs):
    return compiled(net).lyapunov_spectrum(X, **kwargs)["layer"]


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", cells([*LAYERS], always=["lstm"]))
def test_calls_that_hand_the_states_on_are_one_trajectory(kind):
    layer = build(kind)
    same(spectrum(Steps(layer), warmup=3), spectrum(Whole(layer), warmup=3))


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_pieces_of_several_steps_with_masks_and_backwards(jit_compile):
    layer = build("gru")
    expected = compiled(Whole(layer, mask=True), jit_compile=jit_compile)
    found = compiled(Steps(layer, length=5, mask=True), jit_compile=jit_compile)
    same(*(m.lyapunov_spectrum(X, k=2)["layer"] for m in (found, expected)))
    # Each piece is turned round: they come in their own order.
    backwards = build("gru", go_backwards=True)
    backwards.build(X.shape)
    backwards.set_weights(layer.get_weights())
    turned = np.concatenate([X[:, t : t + 4][:, ::-1] for t in (0, 4)], axis=1)
    found = compiled(Steps(backwards, length=4)).lyapunov_spectrum(turned)["layer"]
    same(found, spectrum(Whole(layer)))


def test_flossing_takes_the_same_steps():
    histories = []
    for cls in (Steps, Whole):
        keras.utils.set_random_seed(0)
        model = compiled(cls(build()))
        settings = {"batch_size": 3, "k": 3, "window": 7, "verbose": 0, "seed": 0}
        histories.append(model.floss(X, 3, **settings).history)
    for name, values in histories[0].items():
        same(values, histories[1][name])


@pytest.mark.slow
def test_an_output_that_is_the_state_hands_it_on():
    class Output(Whole):
        def call(self, x):
            state = None
            for t in range(x.shape[1]):
                state = self.layer(x[:, t : t + 1], initial_state=state)
            return self.head(state)

    layer = build("gru")
    expected = spectrum(Whole(layer))
    layer.return_state = False
    same(spectrum(Output(layer)), expected)


def test_calls_from_one_state_are_trajectories_of_their_own():
    class Fork(Steps):
        def call(self, x):
            _, *states = self.layer(x[:, :4])
            return self.head(
                sum(self.layer(s * x, initial_state=states)[0] for s in (1, 2))
            )

    class Join(Whole):
        def call(self, x):
            paths = [tf.concat([x[:, :4], s * x], axis=1) for s in (1.0, 2.0)]
            return self.head(sum(self.layer(p)[0] for p in paths))

    layer = build()
    # Trailing directions of 12 steps turn in each other by rounding.
    same(*(spectrum(net(layer))[:, :4] for net in (Fork, Join)))


@pytest.mark.slow
def test_both_directions_of_a_bidirectional():
    # Of one dtype, or Keras would cast the states on their way.
    inner = L.GRU(4, return_state=True, dtype="float64")
    both = L.Bidirectional(inner, name="layer", dtype="float64")
    names = ("layer/forward", "layer/backward")
    found = compiled(Steps(both)).lyapunov_spectrum(X)
    expected = compiled(Whole(both)).lyapunov_spectrum(X)
    same(found[names[0]], expected[names[0]])
    # Pieces of one step cannot be turned round.
    turned = compiled(Whole(both)).lyapunov_spectrum(X[:, ::-1])
    same(found[names[1]], turned[names[1]])


@pytest.mark.slow
def test_an_encoder_that_is_its_own_decoder():
    class Both(Steps):
        def call(self, x):
            output, *states = self.layer(x)
            outputs = []
            for _ in range(5):
                output, *states = self.layer(output[:, None, :2], initial_state=states)
                outputs.append(output)
            return self.head(sum(outputs))

    layer = build()
    output, *states = layer(X)
    fed = []
    for _ in range(5):
        fed.append(output[:, None, :2])
        output, *states = layer(fed[-1], initial_state=states)
    found = compiled(Both(layer)).lyapunov_spectrum(X)["layer"]
    expected = compiled(Whole(layer)).lyapunov_spectrum(np.concatenate([X, *fed], axis=1))
    # Trailing directions of 13 steps without a mask turn in each other by rounding.
    same(found[:, :4], expected["layer"][:, :4])


@pytest.mark.slow
def test_a_stateful_layer_goes_on_from_call_to_call():
    class Again(Steps):
        def call(self, x):
            self.layer.reset_state()
            outputs = [self.layer(x[:, t : t + 1]) for t in range(x.shape[1])]
            return self.head(sum(outputs))

    class Apart(Steps):
        def call(self, x):
            total = 0.0
            for part in (x[:, :4], x[:, 4:]):
                self.layer.reset_state()
                total += self.layer(part)
            return self.head(total)

    layer = build("lstm", stateful=True)
    layer.build(X.shape)
    expected = spectrum(Whole(layer))
    layer.return_state = False
    for state in layer.states:
        state.assign(tf.ones_like(state.value))
    same(spectrum(Again(layer)), expected)
    layer.return_state, parts = True, (X[:, :4], X[:, 4:])
    for state in layer.states:
        state.assign(tf.zeros_like(state.value))
    halves = [compiled(Whole(layer)).lyapunov_spectrum(p)["layer"] for p in parts]
    for state in layer.states:
        state.assign(tf.ones_like(state.value))
    layer.return_state = False
    same(spectrum(Apart(layer)), sum(halves) / 2)
    for state in layer.states:
        np.testing.assert_array_equal(state, tf.ones_like(state.value))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_the_gradients_of_the_task_are_those_of_the_whole_sequence(kind):
    class Last(Steps):
        def call(self, x):
            states = None
            for t in range(0, x.shape[1], self.length):
                at = slice(t, t + self.length)
                output, *states = self.layer(x[:, at], initial_state=states)
            return self.head(output)

    layer, results = build(kind), []
    head = None
    for net in (Last(layer), Last(layer, length=5), Whole(layer)):
        net.compile("adam", "mse")
        net(X)
        head = head or net.head.get_weights()
        net.head.set_weights(head)
        monitor = LyapunovMonitor((X, Y), batch_size=3)
        monitor.set_model(net)
        monitor.look(0)
        ends = [monitor.history[f"gradient_{name}"][0] for name in ("first", "last")]
        results.append((gradient_norms(net, X, Y)["layer"], ends))
    expected, expected_ends = results.pop()
    for found, ends in results:
        same(found.norms, expected.norms)
        same(ends, expected_ends)
        if kind == "lstm":
            same(found.cell_share, expected.cell_share)


def test_the_inputs_of_the_layer_are_one_sequence():
    layer = build()
    net = Steps(layer)
    net(X)
    (call,) = recurrent_inputs(net, X).values()
    # Keras 3.10 makes float32 of them.
    np.testing.assert_allclose(call.inputs, X, rtol=1e-6)
    assert call.mask is None


@pytest.mark.parametrize(
    "change",
    cells(
        {"half": lambda s: 0.5 * s, "copy": tf.identity, "stop": tf.stop_gradient},
        always=["half"],
    ),
)
def test_steps_whose_states_are_changed_between_them_are_an_error(change):
    model = compiled(Steps(build(), change=change))
    for method in (
        lambda: model.lyapunov_spectrum(X),
        lambda: model.floss(X, 1, verbose=0),
        lambda: gradient_norms(model, X, Y),
    ):
        with pytest.raises(ValueError, match="`layer`.*one time step.*`initial_state`"):
            method()


def test_steps_without_states_are_an_error():
    class Forgets(Steps):
        def call(self, x):
            return self.head(sum(self.layer(x[:, t : t + 1])[0] for t in range(3)))

    with pytest.raises(ValueError, match="`layer`.*one time step"):
        compiled(Forgets(build())).lyapunov_spectrum(X)


def test_a_regularizer_of_single_steps_is_an_error():
    layer = LyapunovRegularizer(build("gru"), name="layer", dtype="float64")
    model = compiled(Steps(layer))
    with pytest.raises(ValueError, match="one time step"):
        model.fit(X, Y, verbose=0)


def test_a_cell_that_is_called_by_itself_is_an_error_that_says_what_to_do():
    class Cell(keras.Model):
        def __init__(self):
            super().__init__()
            self.cell = L.GRUCell(3, name="own")

        def call(self, x):
            states = [tf.zeros((tf.shape(x)[0], 3))]
            for t in range(x.shape[1]):
                _, states = self.cell(x[:, t], states)
            return states[0]

    x = X.astype("float32")
    with pytest.raises(ValueError, match=r"no recurrent layer.*`own`.*`keras.layers.RNN"):
        compiled(Cell()).lyapunov_spectrum(x)

    class OfLayer(Cell):
        def __init__(self):
            super().__init__()
            self.rnn = L.GRU(3, name="outer")
            self.cell = self.rnn.cell
            self.rnn.build((None, 8, 2))

    with pytest.raises(ValueError, match="`outer`.*never called"):
        compiled(OfLayer()).lyapunov_spectrum(x)
