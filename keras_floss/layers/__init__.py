"""Keras layers: the regulariser, and the networks of both papers."""

from keras_floss.layers.h_detach_lstm import HDetachLSTM as HDetachLSTM
from keras_floss.layers.h_detach_lstm import HDetachLSTMCell as HDetachLSTMCell
from keras_floss.layers.lyapunov_regularizer import (
    LyapunovRegularizer as LyapunovRegularizer,
)
from keras_floss.layers.rate_rnn import RateRNN as RateRNN
from keras_floss.layers.rate_rnn import RateRNNCell as RateRNNCell
