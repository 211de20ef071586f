"""Settings of LyapunovRegularizer that make no sense, at construction or build."""

import keras
import numpy as np
import pytest

from keras_floss import Flossing, LyapunovRegularizer

layers = keras.layers


@pytest.mark.parametrize(
    ("options", "name", "received"),
    [
        ({"strength": -1.0}, "`strength`", "-1.0"),
        ({"strength": float("inf")}, "`strength`", "inf"),
        ({"strength": "much"}, "`strength`", "'much'"),
        ({"strength": None}, "`strength`", "None"),
        ({"flossing": Flossing(layers=["lstm"])}, "`layers`", "('lstm',)"),
        ({"flossing": Flossing(k={"lstm": 2})}, "`k`", "{'lstm': 2}"),
    ],
)
def test_at_construction(options, name, received):
    with pytest.raises(ValueError, match=name) as error:
        LyapunovRegularizer(layers.LSTM(3), **options)
    assert str(error.value).endswith(f"Received: {received}")


@pytest.mark.parametrize(
    ("options", "name", "received"),
    [
        ({"k": 7}, "`k`", "7"),
        ({"target": [0.0, 0.1]}, "`target`", "(0.0, 0.1)"),
        ({"warmup": 5}, "`warmup`", "5"),
        ({"qr_interval": 6}, "`qr_interval`", "6"),
    ],
)
@pytest.mark.parametrize("both_ways", [False, True])
def test_at_build_against_the_layer_and_its_inputs(options, name, received, both_ways):
    rnn = layers.LSTM(3)  # D = 6
    rnn = layers.Bidirectional(rnn) if both_ways else rnn
    wrapped = LyapunovRegularizer(rnn, flossing=Flossing(**options))
    with pytest.raises(ValueError, match=name) as error:
        wrapped(keras.Input((5, 2)))
    assert f"Received: {received}" in str(error.value)


def test_inside_a_bidirectional_it_says_to_swap_the_two():
    with pytest.raises(ValueError, match=r"Swap the two.*Bidirectional\(rnn\)"):
        layers.Bidirectional(LyapunovRegularizer(layers.LSTM(3)))


@pytest.mark.parametrize("rnn", [layers.Dense(3), layers.LSTMCell(3), None, "lstm"])
def test_what_is_not_a_recurrent_layer(rnn):
    with pytest.raises(ValueError, match="Received: ") as error:
        LyapunovRegularizer(rnn)
    assert str(error.value).endswith(repr(rnn))


def test_inputs_of_another_rank():
    with pytest.raises(ValueError, match="ndim|dimension|rank|shape"):
        LyapunovRegularizer(layers.LSTM(3))(np.ones((2, 5), "float32"))
