"""When XLA compiles flossing steps."""

import keras
import pytest
import tensorflow as tf
from reference import pretend_gpu

import keras_floss
from keras_floss.flossing.compilation import WORTH_COMPILING, choose_jit_compile
from keras_floss.recurrent.recording import recurrent_layers


class Own(keras.layers.SimpleRNNCell):
    pass


@keras.saving.register_keras_serializable(package="tests")
class Odd(keras.layers.Layer):
    """A layer that XLA cannot compile."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_jit = False

    def call(self, x):
        return x


def make_model(rnn, before=(), **options):
    inputs = x = keras.Input((8, 3))
    for layer in before:
        x = layer(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(rnn(x)))
    model.compile("sgd", "mse", **options)
    return model


def chosen(model, time_steps=WORTH_COMPILING, automatic=True):
    return choose_jit_compile(model, recurrent_layers(model), time_steps, automatic)


@pytest.mark.parametrize("rnn", [keras.layers.LSTM, keras_floss.layers.RateRNN])
def test_a_long_pass_is_compiled(rnn):
    model = make_model(rnn(4))
    assert chosen(model)
    assert not chosen(model, WORTH_COMPILING - 1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_who_says_so_is_obeyed(jit_compile):
    model = make_model(keras.layers.GRU(4), jit_compile=jit_compile)
    for time_steps in (1, WORTH_COMPILING):
        assert chosen(model, time_steps, automatic=False) is jit_compile


def test_of_a_model_that_is_not_compiled_keras_decides():
    inputs = keras.Input((8, 3))
    assert chosen(keras.Model(inputs, keras.layers.GRU(4)(inputs))) == "auto"


@pytest.mark.parametrize(
    ("rnn", "before"),
    [(keras.layers.RNN(Own(4)), ()), (keras.layers.GRU(4), (Odd(),))],
    ids=["cell", "layer"],
)
def test_what_xla_may_not_know_is_left_in_graph_mode(rnn, before):
    assert chosen(make_model(rnn, before)) is False


def test_a_gpu_is_left_to_keras(monkeypatch):
    model = make_model(keras.layers.GRU(4))
    pretend_gpu(monkeypatch)
    assert chosen(model) is model.jit_compile


@pytest.mark.parametrize(
    ("options", "automatic"),
    [({}, True), ({"jit_compile": "auto"}, True), ({"jit_compile": False}, False)],
)
def test_a_flossing_model_knows_what_it_was_told(options, automatic, tmp_path):
    model = keras_floss.FlossingModel(make_model(keras.layers.SimpleRNN(4)))
    model.compile("sgd", "mse", flossing_optimizer="sgd", **options)
    model.save(tmp_path / "model.keras")
    for one in (model, keras.saving.load_model(tmp_path / "model.keras")):
        assert one.flosser.automatic is automatic


def test_a_floss_of_many_steps_takes_xla_and_its_look_does_not(monkeypatch):
    model = keras_floss.FlossingModel(make_model(keras.layers.SimpleRNN(4)))
    model.compile("sgd", "mse", flossing_optimizer="sgd")
    data = tf.zeros((2, 8, 3))
    made = []
    compile_program = keras.Model.compile

    def note(program, *args, jit_compile, **kwargs):
        made.append(jit_compile)
        compile_program(program, *args, jit_compile=jit_compile, **kwargs)

    monkeypatch.setattr(keras.Model, "compile", note)
    model.floss(data, -(-WORTH_COMPILING // 8), seed=0, verbose=0)
    model.flosser.look(data, keras_floss.Flossing(seed=0))
    assert made == [True, False]
