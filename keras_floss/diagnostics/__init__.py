"""Gradients of a task's loss, back through time."""

from keras_floss.diagnostics.gradient_norms import (
    GradientNorms,
    KernelGradient,
    gradient_norms,
)

__all__ = ["GradientNorms", "KernelGradient", "gradient_norms"]
