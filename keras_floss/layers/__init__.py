"""Keras layers: the regulariser, and the networks of both papers."""

from keras_floss.layers.h_detach_lstm import HDetachLSTM, HDetachLSTMCell
from keras_floss.layers.lyapunov_regularizer import LyapunovRegularizer
from keras_floss.layers.rate_rnn import RateRNN, RateRNNCell

__all__ = [
    "HDetachLSTM",
    "HDetachLSTMCell",
    "LyapunovRegularizer",
    "RateRNN",
    "RateRNNCell",
]
