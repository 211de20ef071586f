"""The network of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from keras_floss import FlossingModel
from keras_floss.experiments.other_networks import OTHER_NETWORKS
from keras_floss.experiments.problems import TASKS
from keras_floss.initializers import Chrono
from keras_floss.layers import GRU, LSTM, HDetachLSTM, RateRNN, SimpleRNN

if TYPE_CHECKING:
    from keras_floss.experiments.configuration import Configuration

# Those of Keras, which compute the same in less time in `keras_floss.layers`, with Keras's
# own initialisers; RateRNN with those of the flossing paper. `options` has what else
# distinguishes them.
NETWORKS = {
    "rate-rnn": RateRNN,
    "rate-rnn-orthogonal": RateRNN,
    "rate-rnn-relu": RateRNN,
    "simple-rnn": SimpleRNN,
    "gru": GRU,
    "lstm": LSTM,
    "irnn": SimpleRNN,
    "gru-chrono": GRU,
    "lstm-chrono": LSTM,
    "lstm-pytorch": LSTM,
    "h-detach": HDetachLSTM,
    "h-detach-chrono": HDetachLSTM,
    "h-detach-pytorch": HDetachLSTM,
    "c-detach": HDetachLSTM,
}
LSTMS = tuple(n for n, kind in NETWORKS.items() if issubclass(kind, (LSTM, HDetachLSTM)))
RECURRENT = "recurrent"  # the name of the recurrent layer
XLA = {"auto": "auto", "on": True, "off": False}


def options(configuration: Configuration) -> dict[str, Any]:
    """What the layer of a network is made with, beside its units."""
    c = configuration
    if c.network == "irnn":
        # As in the paper, Le, Jaitly and Hinton 2015 (arXiv:1504.00941).
        return {
            "activation": "relu",
            "kernel_initializer": keras.initializers.RandomNormal(stddev=0.001),
            "recurrent_initializer": keras.initializers.Identity(),
        }
    if c.network == "rate-rnn-orthogonal":
        return {"recurrent_initializer": keras.initializers.Orthogonal()}
    if c.network == "rate-rnn-relu":
        # Half of the units are silent, so that twice the variance keeps the norm.
        he = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
        return {"activation": "relu", "recurrent_initializer": he}
    made: dict[str, Any] = {}
    if c.network.endswith("-pytorch"):
        uniform = _as_pytorch(c.units)
        made |= {"kernel_initializer": uniform, "recurrent_initializer": uniform}
        # PyTorch has two biases, which are added.
        made["bias_initializer"] = lambda *of, **kind: (
            uniform(*of, **kind) + uniform(*of, **kind)
        )
        made["unit_forget_bias"] = False
    if c.network.endswith("-chrono"):
        made["bias_initializer"] = Chrono(c.units, TASKS[c.task].steps(c))
        if c.network in LSTMS:
            made["unit_forget_bias"] = False
    if "-detach" in c.network:
        made |= {"detach_rate": c.detach_rate, "detach": c.network[0]}
    return made


def _as_pytorch(units: int) -> keras.initializers.Initializer:
    """Of all weights and biases of an LSTM in PyTorch, and of a readout of its units."""
    # A generator, so that no two of them get the same numbers.
    seed = keras.random.SeedGenerator()
    return keras.initializers.RandomUniform(-(units**-0.5), units**-0.5, seed)


def build(configuration: Configuration) -> keras.Model:
    """The compiled network of a configuration, the same for the same seed.

    A `FlossingModel`, but for the networks that have no recurrent layer.
    """
    c, task = configuration, TASKS[configuration.task]
    keras.utils.set_random_seed(c.seed)
    # An open number of steps, so that the weights serve at any delay.
    inputs = keras.Input((None, task.channels))
    recurrent = c.network in NETWORKS
    states = (_recurrent if recurrent else _other)(inputs, c)
    made: dict[str, Any] = {}
    if c.network.startswith("rate-rnn"):
        # As in the released code of the flossing paper: N(0, 1), not scaled by 1/√units.
        made["kernel_initializer"] = keras.initializers.RandomNormal(stddev=1.0)
    if c.network.endswith("-pytorch"):
        made = dict.fromkeys(
            ("kernel_initializer", "bias_initializer"), _as_pytorch(c.units)
        )
    outputs = keras.layers.Dense(task.outputs, name="readout", **made)(states)
    clip = {"weight": "clipnorm", "global": "global_clipnorm"}.get(c.clip)
    settings = {
        "optimizer": keras.optimizers.Adam(
            c.learning_rate, **({clip: c.clipnorm} if clip else {})
        ),
        "loss": task.loss(),
        "weighted_metrics": [task.metric()],
        "jit_compile": XLA[c.xla],
    }
    if not recurrent:
        model = keras.Model(inputs, outputs)
        model.compile(**settings)
        return model
    model = FlossingModel(
        inputs,
        outputs,
        flossing=c.settings,
        strength=c.strength if c.flossing == "joint" else None,
    )
    model.compile(
        **settings,
        flossing_optimizer=keras.optimizers.Adam(c.flossing_learning_rate)
        if c.flossing_optimizer == "adam"
        else None,
    )
    return model


def _recurrent(inputs: Any, c: Configuration) -> Any:
    layer = NETWORKS[c.network](
        c.units, return_sequences=TASKS[c.task].every_step, name=RECURRENT, **options(c)
    )
    states = layer(inputs)
    recurrent_kernel = layer.cell.recurrent_kernel
    recurrent_kernel.assign(c.gain * recurrent_kernel)
    return states


def _other(inputs: Any, c: Configuration) -> Any:
    task = TASKS[c.task]
    states = OTHER_NETWORKS[c.network](inputs, c.units, task.steps(c))
    return states if task.every_step else states[:, -1]
