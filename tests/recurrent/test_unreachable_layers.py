"""A recurrent layer whose inputs cannot be reached is named in the error."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import FlossingModel

X = np.ones((2, 5, 2), "float32")


class NeverCalled(FlossingModel):
    def __init__(self):
        super().__init__()
        self.rnn = keras.layers.SimpleRNN(2, name="used")
        self.spare = keras.layers.SimpleRNN(2, name="spare")
        self.spare.build((None, 5, 2))

    def call(self, x):
        return self.rnn(x)


class InLoop(FlossingModel):
    def __init__(self):
        super().__init__()
        self.rnn = keras.layers.SimpleRNN(2, name="looped")
        self.rnn.build((None, 5, 2))

    def call(self, x):
        def body(i, total):
            return i + 1, total + self.rnn(x * total[:, None])

        start = 0, tf.ones((tf.shape(x)[0], 2))
        return tf.while_loop(lambda i, _: i < 3, body, start)[1]


class StateInLoop(FlossingModel):
    """The inputs are those from outside, the initial state is the loop's own."""

    def __init__(self):
        super().__init__()
        self.rnn = keras.layers.SimpleRNN(2, name="carried")
        self.rnn.build((None, 5, 2))

    def call(self, x):
        def body(i, state):
            return i + 1, self.rnn(x, initial_state=state)

        start = 0, tf.zeros((tf.shape(x)[0], 2))
        return tf.while_loop(lambda i, _: i < 3, body, start)[1]


class InFunction(FlossingModel):
    def __init__(self):
        super().__init__()
        self.rnn = keras.layers.SimpleRNN(2, name="traced")
        self.rnn.build((None, 5, 2))

    @tf.function
    def call(self, x):
        return self.rnn(x)


def both_methods(model):
    return lambda: model.floss(X, 1, verbose=0), lambda: model.lyapunov_spectrum(X)


@pytest.mark.parametrize(
    ("cls", "name", "what"),
    [
        (NeverCalled, "spare", "never called.*not its cell"),
        (InLoop, "looped", "TensorFlow loop.*plain Python"),
        (StateInLoop, "carried", "TensorFlow loop.*plain Python"),
        (InFunction, "traced", "`tf.function`.*plain Python"),
    ],
)
def test_the_error_names_the_layer_and_what_to_do(cls, name, what):
    model = cls()
    model.compile("adam", "mse")
    for method in both_methods(model):
        with pytest.raises(ValueError, match=f"`{name}`.*{what}"):
            method()
    assert "call" not in model.rnn.__dict__


def test_the_others_can_be_chosen():
    model = NeverCalled()
    model.compile("adam", "mse")
    assert set(model.lyapunov_spectrum(X, layers="used")) == {"used"}


def test_a_model_without_recurrent_layer_is_an_error():
    model = FlossingModel(keras.Sequential([keras.Input((5, 2)), keras.layers.Dense(3)]))

    def compile_and_floss():
        model.compile("adam", "mse")
        model.floss(X, 1, verbose=0)

    with pytest.raises(ValueError, match="no recurrent layer"):
        compile_and_floss()


def test_an_unbuilt_model_without_recurrent_layer_is_an_error():
    model = FlossingModel(keras.Sequential([keras.layers.Dense(3)]))
    model.compile("adam", "mse")
    for method in both_methods(model):
        with pytest.raises(ValueError, match="no recurrent layer"):
            method()
