"""Gradients of a task's loss, back through time."""

from keras_floss.diagnostics.gradient_norms import GradientNorms as GradientNorms
from keras_floss.diagnostics.gradient_norms import KernelGradient as KernelGradient
from keras_floss.diagnostics.gradient_norms import gradient_norms as gradient_norms
