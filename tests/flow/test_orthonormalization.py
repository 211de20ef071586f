"""Either algorithm of the QR, chosen by name, gives the same exponents and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cells import MODES, cells
from reference import compiled, make_inputs, make_layer

import keras_floss
from keras_floss.flow import frame

ALGORITHMS = sorted(frame.ALGORITHMS)


@pytest.fixture
def used(monkeypatch):
    """The names of the algorithms that are run."""
    names = []
    for name, algorithm in list(frame.ALGORITHMS.items()):

        def spy(*args, name=name, algorithm=algorithm, **kwargs):
            names.append(name)
            return algorithm(*args, **kwargs)

        monkeypatch.setitem(frame.ALGORITHMS, name, spy)
    return names


def exponents_and_gradient(layer, x, xla, **settings):
    def look():
        with tf.GradientTape() as tape:
            exponents = keras_floss.lyapunov_exponents(layer, x, **settings)
            total = tf.reduce_sum(exponents**2)
        return exponents, tape.gradient(total, layer.cell.recurrent_kernel.value)

    return [a.numpy() for a in compiled(look, xla)()]


@pytest.mark.parametrize(
    ("name", "xla"), cells(ALGORITHMS, MODES, always=["*-graph", "gram-schmidt-xla"])
)
def test_each_gives_the_exponents_and_gradients_of_auto(name, xla, used):
    layer = make_layer("GRU")
    x = make_inputs(2, 12)
    settings = {"k": 3, "warmup": 2, "qr_interval": 2}
    wanted = exponents_and_gradient(layer, x, False, **settings)
    assert set(used) == {"householder"}
    used.clear()
    found = exponents_and_gradient(layer, x, xla, orthonormalization=name, **settings)
    assert set(used) == {name}
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", cells(ALGORITHMS, always=["gram-schmidt"]))
def test_each_is_used_by_all_looks(name, used):
    layer, x = keras.layers.SimpleRNN(3), make_inputs(1, 5)
    for look in (keras_floss.lyapunov_statistics, keras_floss.condition_number):
        used.clear()
        look(layer, x, k=2, orthonormalization=name)
        assert set(used) == {name}


def test_a_trace_is_kept_for_each(used):
    layer, x = keras.layers.SimpleRNN(3), make_inputs(1, 5)
    for name in [*ALGORITHMS, *ALGORITHMS]:
        keras_floss.lyapunov_exponents(layer, x, orthonormalization=name)
    assert sorted(set(used)) == ALGORITHMS
    assert len(used) == len(set(used))


@pytest.mark.parametrize("wrong", ["qr", None, ["householder"], 1])
def test_a_name_that_there_is_not(wrong):
    layer, x = keras.layers.SimpleRNN(3), make_inputs(1, 5)
    sentence = "`orthonormalization` must be one of 'auto', 'householder', 'gram-schmidt'"
    with pytest.raises(ValueError, match=sentence):
        keras_floss.lyapunov_exponents(layer, x, orthonormalization=wrong)
