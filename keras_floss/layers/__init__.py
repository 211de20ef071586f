"""Keras layers: the regulariser, the networks of both papers, and Keras's own, faster."""

from keras_floss.layers.fast_layers import GRU, LSTM, SimpleRNN
from keras_floss.layers.h_detach_lstm import HDetachLSTM, HDetachLSTMCell
from keras_floss.layers.lyapunov_regularizer import LyapunovRegularizer
from keras_floss.layers.rate_rnn import RateRNN, RateRNNCell

__all__ = [
    "GRU",
    "HDetachLSTM",
    "HDetachLSTMCell",
    "LSTM",
    "LyapunovRegularizer",
    "RateRNN",
    "RateRNNCell",
    "SimpleRNN",
]
