"""How the gradient of a task's loss comes back through time: the public function."""

import typing

import keras
import numpy as np

from keras_floss.diagnostics.task_gradient import in_states, task_gradient
from keras_floss.recurrent.fixed_batch import build
from keras_floss.utils.checks import check_dense, check_eager
from keras_floss.utils.shapes import as_tensors
from keras_floss.utils.typing import Arrays, Layers


class KernelGradient(typing.NamedTuple):
    """The gradient of a task's loss in a recurrent kernel.

    Attributes:
        singular_values: NumPy array, decreasing.
        effective_dimension: float. The participation ratio of their squares,
            (Σσ²)² / Σσ⁴: about how many directions the gradient has. NaN where it is 0 or
            not finite.
    """

    singular_values: np.ndarray
    effective_dimension: float


class GradientNorms(typing.NamedTuple):
    """The gradient of a task's loss in the states of a recurrent layer, step by step.

    Attributes:
        norms: `(time,)` NumPy array. The norm of ∂loss/∂s_t over all states and sequences,
            in the order in which the layer runs. It counts what s_t does to the layer's
            output at t and to all that follows.
        cell_share: `(time − 1,)` NumPy array of an LSTM, None of other layers. The share,
            from 0 to 1, of the squared norm that comes into s_t from s_{t+1} through c; the
            rest comes through h, the path that h-detach blocks. NaN where nothing comes.
        kernels: dict of `KernelGradient`. That of each recurrent kernel, by its path.
    """

    norms: np.ndarray
    cell_share: np.ndarray | None
    kernels: dict[str, KernelGradient]


def gradient_norms(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    sample_weight: Arrays | None = None,
    *,
    layers: Layers | None = None,
) -> dict[str, GradientNorms]:
    """The norm of the gradient of the task's loss in every state, step by step.

    Why a network does not learn a delay: from the last step back, the norms fall (or grow)
    as `exp(λ_1 t)` on average, and an optimiser hears nothing of what was long ago.

    The loss is that which the model was compiled with, in inference mode: no dropout, no
    h-detach. The gradient within a recurrent layer is computed in float32 (float64 for a
    float64 layer), whatever the dtype policy. It is traced once per model, shapes and
    layers, and anew where the model was changed or compiled since. A cell that draws random
    numbers draws others there, the same at each look, than in the pass of the model that
    gives the loss.

    Args:
        model: a compiled `keras.Model`, functional or subclassed, with recurrent layers.
        x, y, sample_weight: one batch, as in `fit`.
        layers: recurrent layers, as names or layers. Defaults to None, all of them.

    Returns:
        `{layer name: GradientNorms}`; Bidirectional: `name/forward`, `name/backward`. A
        layer that is called several times has an entry for each call: `name/call_1`, ...;
        but calls that hand the states on, from one to the next, are one.

    Raises:
        ValueError: a model that is not compiled, one without a recurrent layer, or one
            whose recurrent layers cannot be reached.

    Example:

    ```python
    inputs = keras.Input((300, 1))
    x = keras.layers.LSTM(64, name="memory")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    gradients = keras_floss.gradient_norms(model, x_train, y_train)["memory"]
    gradients.norms[0] / gradients.norms[-1]  # what is left at the first step
    ```

    References:
        [Engelken, NeurIPS 2023](https://arxiv.org/abs/2312.17306) (gradients and
        exponents); [Kanuparthi, Arpit et al., ICLR 2019](https://arxiv.org/abs/1810.03023)
        (the two paths)
    """
    check_eager("gradient_norms")
    check_dense(x)
    x, y, sample_weight = as_tensors((x, y, sample_weight))
    if not model.built:
        build(model, x)
    gradients = task_gradient(in_states, model, (x, y, sample_weight), layers)
    return {
        name: GradientNorms(
            norms.numpy(),
            None if share is None else share.numpy(),
            {path: _kernel_gradient(g.numpy()) for path, g in kernels.items()},
        )
        for name, (norms, share, kernels) in gradients.items()
    }


def _kernel_gradient(gradient):
    if not np.isfinite(gradient).all():  # of which LAPACK has no singular values
        return KernelGradient(np.full(min(gradient.shape), np.nan), np.nan)
    values = np.linalg.svd(gradient.astype("float64"), compute_uv=False)
    squares = (values / (values.max() or np.nan)) ** 2
    return KernelGradient(values, float(squares.sum() ** 2 / (squares**2).sum()))
