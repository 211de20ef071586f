"""The mathematics: tensors in, tensors out. Knows cells and layers, knows no model."""

from keras_floss.lyapunov.spectrum import lyapunov_exponents as lyapunov_exponents
