"""The looks at a layer: exponents, their statistics, singular values of its Jacobians."""

from keras_floss.flow.checkpoints import memory_limit, set_memory_limit
from keras_floss.lyapunov.exponents import lyapunov_exponents
from keras_floss.lyapunov.jacobian import LSTMJacobianPaths, lstm_jacobian_paths
from keras_floss.lyapunov.singular_values import (
    ConditionNumber,
    condition_number,
    jacobian_singular_values,
)
from keras_floss.lyapunov.statistics import LyapunovStatistics, lyapunov_statistics

__all__ = [
    "ConditionNumber",
    "LSTMJacobianPaths",
    "LyapunovStatistics",
    "condition_number",
    "jacobian_singular_values",
    "lstm_jacobian_paths",
    "lyapunov_exponents",
    "lyapunov_statistics",
    "memory_limit",
    "set_memory_limit",
]
