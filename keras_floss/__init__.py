"""keras_floss: recurrent networks that learn long delays.

Gradient flossing (Engelken, NeurIPS 2023) and h-detach (Kanuparthi, Arpit et al., ICLR
2019) for Keras on TensorFlow.
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "keras_floss needs Keras with the TensorFlow backend, and the active backend is "
        f"'{keras.backend.backend()}'. Set the environment variable "
        "KERAS_BACKEND=tensorflow before Keras is imported, or 'backend' in "
        "~/.keras/keras.json."
    )

from keras_floss import callbacks, initializers, layers, plots, tasks
from keras_floss._version import __version__
from keras_floss.advice.diagnose import diagnose
from keras_floss.advice.diagnosis import Diagnosis, LayerDiagnosis
from keras_floss.diagnostics import GradientNorms, KernelGradient, gradient_norms
from keras_floss.flossing.flossing import Flossing
from keras_floss.layers import LyapunovRegularizer
from keras_floss.lyapunov import (
    ConditionNumber,
    LSTMJacobianPaths,
    LyapunovStatistics,
    condition_number,
    jacobian_singular_values,
    lstm_jacobian_paths,
    lyapunov_exponents,
    lyapunov_statistics,
    memory_limit,
    set_memory_limit,
)
from keras_floss.models import FlossingModel
from keras_floss.recurrent.recurrent_inputs import RecurrentInputs, recurrent_inputs

__all__ = [
    "ConditionNumber",
    "Diagnosis",
    "Flossing",
    "FlossingModel",
    "GradientNorms",
    "KernelGradient",
    "LSTMJacobianPaths",
    "LayerDiagnosis",
    "LyapunovRegularizer",
    "LyapunovStatistics",
    "RecurrentInputs",
    "__version__",
    "callbacks",
    "condition_number",
    "diagnose",
    "gradient_norms",
    "initializers",
    "jacobian_singular_values",
    "layers",
    "lstm_jacobian_paths",
    "lyapunov_exponents",
    "lyapunov_statistics",
    "memory_limit",
    "plots",
    "recurrent_inputs",
    "set_memory_limit",
    "tasks",
]
