"""The input kernels of saturating layers, scaled down before they are flossed.

Inputs that drive tanh into saturation keep the exponents far below zero. Flossing then
turns the recurrent kernel up against them, and the layer that it ends with still saturates:
what was long ago arrives distorted. With inputs that leave tanh nearly linear flossing
takes half of the steps or less, and the layer learns longer delays. Training can turn the
kernel up again.

Scaling weights by what comes out of a layer, before training, is old advice (Mishkin and
Matas, ICLR 2016, arXiv:1511.06422).
"""

from collections.abc import Mapping

import keras
import numpy as np

from keras_floss.flossing.arrival import SEQUENCES
from keras_floss.recurrent.recurrent_inputs import recurrent_inputs
from keras_floss.utils.shapes import first_rows
from keras_floss.utils.typing import Arrays


def limit_drive(
    model: keras.Model, x: Arrays, layers: Mapping[str, keras.layers.RNN], most: float
) -> dict[str, float]:
    """Scales the input kernels of layers whose inputs drive them harder than `most`.

    The drive is the root mean square of x W over units, steps and sequences. It is done to
    layers with a tanh and a `kernel` for all of their units, as SimpleRNN and RateRNN; not
    to LSTM and GRU, whose gates are to be driven.

    Args:
        x: inputs of the model.

    Returns:
        `{layer name: by what the kernel was multiplied}`, of those that were changed.
    """
    x, scaled = first_rows(x, SEQUENCES), {}
    # In their order: what a layer puts out drives the next.
    for name, layer in layers.items():
        kernel = driven_kernel(layer.cell)
        if kernel is None or not kernel.trainable:
            continue
        value = np.array(kernel.numpy(), "float64")
        runs = recurrent_inputs(model, x, layers=[layer]).values()
        with np.errstate(all="ignore"):  # inputs may be anything
            drives = [(_valid(run.inputs, run.mask) @ value) ** 2 for run in runs]
            drive = float(np.sqrt(np.mean(np.concatenate(drives))))
        if most < drive < np.inf:  # and not NaN
            scaled[name] = most / drive
            kernel.assign(scaled[name] * value)
    return scaled


def driven_kernel(cell: object) -> keras.Variable | None:
    """The kernel by which inputs drive the units of a cell through tanh, if it has one."""
    kernel = getattr(cell, "kernel", None)
    recurrent = getattr(cell, "recurrent_kernel", None)
    plain = (
        getattr(cell, "activation", None) is keras.activations.tanh
        and kernel is not None
        and recurrent is not None
        and recurrent.shape == (kernel.shape[-1],) * 2
    )
    return kernel if plain else None


def _valid(inputs: Arrays, mask: Arrays | None) -> np.ndarray:
    """The inputs of all valid steps, `(steps, features)`."""
    inputs = np.asarray(inputs, "float64")
    return inputs[np.ones(inputs.shape[:2], bool) if mask is None else np.asarray(mask)]
