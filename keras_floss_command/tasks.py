"""The tasks of the command: what is usually compared on each, and fitting knobs."""

from typing import Any

# Units, batch and clipping are those of the released code of h-detach.
_H_DETACH: dict[str, Any] = {
    "units": 128,
    "batch_size": 100,
    "clip": "global",
    "clipnorm": 1.0,
}
_MNIST = {**_H_DETACH, "units": 100}
_DELAYS = (
    "delayed-copy",
    "temporal-xor",
    "hierarchical-xor",
    "continuous-xor",
    "spatial-xor",
)

# The knobs of a task whose default differs from that of `Knobs`.
DEFAULTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in _DELAYS},
    "copying": {**_H_DETACH, "delay": 10, "updates": 10000},
    "adding": {**_H_DETACH, "length": 100},
    # As in the notebook on LSTMs.
    "first-symbol": {
        **_H_DETACH,
        "units": 32,
        "batch_size": 64,
        "length": 120,
        "learning_rate": 3e-3,
    },
    "digits": _H_DETACH,
    "permuted-digits": _H_DETACH,
    "mnist1d": _H_DETACH,
    "permuted-mnist1d": _H_DETACH,
    "mnist": _MNIST,
    "permuted-mnist": _MNIST,
}

# What a user has without keras_floss, Keras's defaults first: the first arms of a task.
RIVALS = ("simple-rnn", "gru", "lstm", "irnn", "gru-chrono", "lstm-chrono")
# What is usually compared: networks, `network+flossing` where flossed.
USUAL_ARMS = (
    *RIVALS,
    "rate-rnn",
    "rate-rnn+pre",
    "rate-rnn+periodic",
    "rate-rnn+adaptive",
    "rate-rnn+joint",
)
LSTM_ARMS = (*RIVALS, "lstm+pre", "h-detach", "h-detach+pre")
ARMS = {name: USUAL_ARMS if name in _DELAYS else LSTM_ARMS for name in DEFAULTS}
