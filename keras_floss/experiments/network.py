"""The network of a configuration."""

import keras

from keras_floss.experiments.configuration import METHODS
from keras_floss.experiments.problems import TASKS
from keras_floss.layers import HDetachLSTM, RateRNN
from keras_floss.models import FlossingModel

RECURRENT = "recurrent"  # the name of its recurrent layer
XLA = {"auto": "auto", "on": True, "off": False}


def build(configuration):
    """The compiled network of a configuration, the same for the same seed."""
    c = configuration
    keras.utils.set_random_seed(c.seed)
    task, method = TASKS[c.task], METHODS[c.method]
    # An open number of steps, so that the weights serve at any delay.
    inputs = keras.Input((None, task.channels))
    states = recurrent_layer(c, return_sequences=task.every_step, name=RECURRENT)(inputs)
    initializer = "glorot_uniform"
    if method.network == "rate-rnn":
        # As in the released code of the flossing paper: N(0, 1), not scaled by 1/√units.
        initializer = keras.initializers.RandomNormal(stddev=1.0)
    readout = keras.layers.Dense(
        task.outputs, kernel_initializer=initializer, name="readout"
    )
    joint = {}
    if method.flossing == "joint":
        joint = {"strength": c.strength, "joint": c.flossing()}
    model = FlossingModel(inputs, readout(states), **joint)
    clip = {"global_clipnorm" if c.clip == "global" else "clipnorm": c.clipnorm}
    model.compile(
        keras.optimizers.Adam(c.learning_rate, **clip),
        loss=task.loss(),
        weighted_metrics=[task.metric()],
        jit_compile=XLA[c.xla],
        flossing_optimizer=keras.optimizers.Adam(c.flossing_learning_rate),
    )
    return model


def recurrent_layer(configuration, **options):
    """The recurrent layer of the configuration's method."""
    network, units = METHODS[configuration.method].network, configuration.units
    if network == "rate-rnn":
        return RateRNN(units, **options)
    if network == "lstm":
        return keras.layers.LSTM(units, **options)
    detach = {"h-detach": "h", "c-detach": "c"}[network]
    return HDetachLSTM(units, configuration.detach_rate, detach, **options)
