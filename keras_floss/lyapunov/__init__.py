"""The mathematics: tensors in, tensors out. Knows cells and layers, knows no model."""

from keras_floss.lyapunov.exponents import lyapunov_exponents as lyapunov_exponents
from keras_floss.lyapunov.statistics import lyapunov_statistics as lyapunov_statistics
