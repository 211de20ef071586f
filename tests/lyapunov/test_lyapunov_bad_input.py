"""Bad input gets an error that names the argument and says what was received."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_floss import lyapunov_exponents

INPUTS = np.ones((2, 6, 3), "float32")


def layer():
    return keras.layers.GRU(4)


@pytest.mark.parametrize(
    ("options", "name", "received"),
    [
        ({"k": 0}, "`k`", "0"),
        ({"k": -1}, "`k`", "-1"),
        ({"k": 5}, "`k`", "5"),
        ({"k": 2.0}, "`k`", "2.0"),
        ({"k": True}, "`k`", "True"),
        ({"k": "all"}, "`k`", "'all'"),
        ({"warmup": -1}, "`warmup`", "-1"),
        ({"warmup": 6}, "`warmup`", "6"),
        ({"warmup": 1.5}, "`warmup`", "1.5"),
        ({"qr_interval": 0}, "`qr_interval`", "0"),
        ({"qr_interval": -2}, "`qr_interval`", "-2"),
        ({"qr_interval": 7}, "`qr_interval`", "7"),
        ({"qr_interval": 2.0}, "`qr_interval`", "2.0"),
    ],
)
def test_settings_out_of_range(options, name, received):
    with pytest.raises(ValueError, match=name) as error:
        lyapunov_exponents(layer(), INPUTS, **options)
    assert str(error.value).endswith(f"Received: {received}")


def test_the_allowed_range_is_said():
    with pytest.raises(ValueError, match="from 1 to 4"):
        lyapunov_exponents(layer(), INPUTS, k=5)
    with pytest.raises(ValueError, match="less than the 6 steps"):
        lyapunov_exponents(layer(), INPUTS, warmup=6)
    with pytest.raises(ValueError, match="from 1 to 6"):
        lyapunov_exponents(layer(), INPUTS, qr_interval=7)


@pytest.mark.parametrize(
    ("good", "bad"), [({"k": 2}, {"k": 2.0}), ({"warmup": 1}, {"warmup": True})]
)
def test_a_good_call_before_does_not_let_a_bad_one_through(good, bad):
    rnn = layer()
    lyapunov_exponents(rnn, INPUTS, **good)
    with pytest.raises(ValueError, match=f"`{next(iter(bad))}`"):
        lyapunov_exponents(rnn, INPUTS, **bad)


def test_settings_are_checked_in_graph_mode_too():
    rnn = layer()
    function = tf.function(lambda x: lyapunov_exponents(rnn, x, k=9), autograph=False)
    with pytest.raises(ValueError, match=r"`k`.*Received: 9"):
        function(INPUTS)


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 0, 3)])
def test_no_time_step(shape):
    with pytest.raises(ValueError, match=r"no time step.* 0"):
        lyapunov_exponents(layer(), np.ones(shape, "float32"))


def test_bidirectional_says_what_to_pass():
    rnn = keras.layers.Bidirectional(keras.layers.GRU(4), name="both_ways")
    with pytest.raises(ValueError, match="both_ways.*forward_layer.*backward_layer"):
        lyapunov_exponents(rnn, INPUTS)


@pytest.mark.parametrize("rnn", [keras.layers.Dense(3), "lstm", None, keras.layers.LSTM])
def test_what_is_not_recurrent(rnn):
    with pytest.raises(ValueError, match=r"state_size.*Received: ") as error:
        lyapunov_exponents(rnn, INPUTS)
    assert str(error.value).endswith(repr(rnn))


@pytest.mark.parametrize("shape", [(6, 3), (3,), (2, 6, 3, 1)])
def test_inputs_of_another_rank(shape):
    rnn = keras.layers.GRU(4, name="mine")
    with pytest.raises(ValueError, match="`mine`.*batch, time, features") as error:
        lyapunov_exponents(rnn, np.ones(shape, "float32"))
    assert str(shape) in str(error.value)


def test_unknown_features():
    rnn = layer()
    function = tf.function(
        lambda x: lyapunov_exponents(rnn, x),
        input_signature=[tf.TensorSpec([None, None, None])],
        autograph=False,
    )
    with pytest.raises(ValueError, match="known number of features"):
        function(INPUTS)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_inputs(dtype):
    with pytest.raises(ValueError, match=f"real numbers. Received: {dtype}"):
        lyapunov_exponents(layer(), INPUTS.astype(dtype))


@pytest.mark.parametrize(
    ("states", "received"),
    [([(2, 5)], "5"), ([(2, 4), (2, 4)], "4"), ([(2, 1)], "1")],
)
def test_initial_states_of_other_sizes(states, received):
    states = [np.zeros(s, "float32") for s in states]
    with pytest.raises(ValueError, match=r"`initial_state`.*1 state\(s\).*\[4\]") as error:
        lyapunov_exponents(layer(), INPUTS, initial_state=states)
    assert received in str(error.value).partition("Received")[2]


@pytest.mark.parametrize("size", [0, -1, 2.5, [4, None]])
def test_states_that_are_no_vectors(size):
    class Cell(keras.layers.Layer):
        state_size = size

        def call(self, inputs, states):
            return inputs, states

    with pytest.raises(ValueError, match="`state_size`.*Received: ") as error:
        lyapunov_exponents(Cell(), INPUTS)
    assert str(error.value).endswith(str(size))


SCRIPT = """
import keras
keras.backend.backend = lambda: "jax"  # as it is under KERAS_BACKEND=jax
import keras_floss
"""


def test_another_backend():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    for words in ("TensorFlow backend", "'jax'", "KERAS_BACKEND=tensorflow"):
        assert words in last
