"""The looks at a layer: exponents, their statistics, singular values of its Jacobians."""

from keras_floss.flow.checkpoints import memory_limit as memory_limit
from keras_floss.flow.checkpoints import set_memory_limit as set_memory_limit
from keras_floss.lyapunov.exponents import lyapunov_exponents as lyapunov_exponents
from keras_floss.lyapunov.jacobian import LSTMJacobianPaths as LSTMJacobianPaths
from keras_floss.lyapunov.jacobian import lstm_jacobian_paths as lstm_jacobian_paths
from keras_floss.lyapunov.singular_values import ConditionNumber as ConditionNumber
from keras_floss.lyapunov.singular_values import condition_number as condition_number
from keras_floss.lyapunov.singular_values import (
    jacobian_singular_values as jacobian_singular_values,
)
from keras_floss.lyapunov.statistics import LyapunovStatistics as LyapunovStatistics
from keras_floss.lyapunov.statistics import lyapunov_statistics as lyapunov_statistics
