"""Whether XLA compiles the flossing steps of a model."""

from typing import Literal

import keras

from keras_floss.flossing.flossing_pass import RecurrentLayers
from keras_floss.recurrent.cells import CellMap
from keras_floss.utils.private_keras import all_layers
from keras_floss.utils.xla import keras_has_no_xla

# Time steps in all flossing steps of a pass from which compilation pays on a CPU. It takes
# 3 to 4 s, and saves 0.2 to 0.4 ms of each: that is 9,000 to 17,000 time steps, were all
# steps of a pass taken. Flossing mostly ends long before them.
WORTH_COMPILING = 20_000


def choose_jit_compile(
    model: keras.Model, layers: RecurrentLayers, time_steps: int, automatic: bool
) -> bool | Literal["auto"]:
    """`jit_compile` of the flossing program.

    That of the model; but where this was left at Keras's "auto", which never means XLA on a
    CPU, a long pass is compiled: XLA takes a third of the time there.

    Args:
        model: a `keras.Model`.
        layers: `{name: recurrent layer}` to be flossed.
        time_steps: flossing steps times window.
        automatic: whether it is known to have been left at "auto".
    """
    if not model.compiled:
        return "auto"
    if not automatic or not keras_has_no_xla(model.distribute_strategy):
        return model.jit_compile
    return time_steps >= WORTH_COMPILING and _suits_xla(model, layers)


def _suits_xla(model: keras.Model, layers: RecurrentLayers) -> bool:
    """Whether everything that a flossing step runs is known to compile."""
    # A recurrent layer with a cuDNN kernel says no, but flossing does not run that kernel.
    others = (x for x in all_layers(model) if not isinstance(x, keras.layers.RNN))
    cells = (CellMap(layer.cell) for layer in layers.values())
    return all(x.supports_jit for x in others) and all(cell.vectorizes for cell in cells)
