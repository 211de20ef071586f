"""Keras layers: the regulariser and the network of the flossing paper."""

from keras_floss.layers.lyapunov_regularizer import (
    LyapunovRegularizer as LyapunovRegularizer,
)
from keras_floss.layers.rate_rnn import RateRNN as RateRNN
from keras_floss.layers.rate_rnn import RateRNNCell as RateRNNCell
