"""The gates of an LSTM or a GRU, opened for long delays before they are flossed.

As Keras makes them, the gates are about half open: what a unit holds is gone after a few
steps. Flossing alone then balances the exponents by way of h, through the recurrent kernel,
where forget gates stay at 0.8: the gradient arrives, many times too strong, and training
undoes it in its first epoch. Flossing of the biases alone opens the forget gates and
leaves the input gates as they are: c adds up all that comes, until it saturates. With gates
that forget slowly and let in as slowly (chrono biases) there is a solution close by, and
flossing finds it in a few steps. Opened are the gates of a part of the units only: those of
all keep an LSTM from tasks of short memory.

References:
    [Tallec and Ollivier, ICLR 2018](https://arxiv.org/abs/1804.11188), equation 16
"""

from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from keras_floss.initializers import chrono_bias


def gated_units(cell: object) -> int:
    """The number of units that hold what they have by a gate; 0 for a cell without."""
    kinds = keras.layers.LSTMCell, keras.layers.GRUCell
    return cell.units if isinstance(cell, kinds) else 0


def any_gated(layers: Iterable[keras.layers.RNN]) -> bool:
    """Whether a layer has a cell with gates."""
    return any(gated_units(layer.cell) for layer in layers)


def open_gates(
    layers: Mapping[str, keras.layers.RNN], number_of: Callable[[int, int], int], delay: int
) -> dict[str, int]:
    """Opens the gates of some units where the biases are as Keras makes them.

    Those units remember for times that are spread evenly over 1 to `delay` - 1 steps.

    Args:
        number_of: a function from the units of a layer, and `delay`, to how many that are.

    Returns:
        `{layer name: number of units}` of the layers that were changed.
    """
    opened = {}
    for name, layer in layers.items():
        units = gated_units(layer.cell)
        number = number_of(units, delay)
        bias = getattr(layer.cell, "bias", None)
        if not number or bias is None or not bias.trainable or delay < 2:
            continue
        value = np.array(bias.numpy())
        gates = value.reshape(-1, units)
        if not _as_keras_makes_it(gates, layer.cell):
            continue
        times = 1 + (delay - 2) * (np.arange(number) + 0.5) / number
        shape = (*value.shape[:-1], value.shape[-1] // units * number)
        gates[:, :number] = np.reshape(chrono_bias(np.log(times), shape), (-1, number))
        bias.assign(value)
        opened[name] = number
    return opened


def _as_keras_makes_it(gates: np.ndarray, cell: object) -> bool:
    """Whether biases are 0, or 1 in the forget gates of an LSTM."""
    made = np.zeros_like(gates)
    if isinstance(cell, keras.layers.LSTMCell) and cell.unit_forget_bias:
        made[1] = 1
    return np.array_equal(gates, made)
