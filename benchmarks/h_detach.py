"""Claim: a training step of HDetachLSTM takes no more than 1.1 times that of LSTM.

Times `fit` of the copying task's network (128 units, batch of 100, T = 10) with
`keras.layers.LSTM` without cuDNN and with `HDetachLSTM`, in turns in one process.

Run: python benchmarks/h_detach.py [--rounds 9] [--xla]
"""

import argparse
import statistics
import time

import keras

from keras_floss.layers import HDetachLSTM
from keras_floss.tasks import copying_memory

UPDATES = 50


def make(layer, xla):
    """A compiled network with this recurrent layer."""
    keras.utils.set_random_seed(0)
    states = layer(inputs := keras.Input((None, 1)))
    model = keras.Model(inputs, keras.layers.Dense(9)(states))
    model.compile(
        keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=xla,
    )
    return model


def main():
    """Prints milliseconds an update, and the median of the rounds' ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--xla", action="store_true")
    options = parser.parse_args()
    layers = {
        "LSTM": keras.layers.LSTM(128, return_sequences=True, use_cudnn=False),
        "HDetachLSTM": HDetachLSTM(128, return_sequences=True),
    }
    models = {name: make(layer, options.xla) for name, layer in layers.items()}
    data = copying_memory(10)
    times = {name: [] for name in models}
    for turn in range(1 + options.rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(data, steps_per_epoch=UPDATES, shuffle=False, verbose=0)
            if turn:  # the first one traces
                times[name].append(1e3 * (time.perf_counter() - start) / UPDATES)
    print(f"fit, milliseconds an update, {'XLA' if options.xla else 'graph mode'}")
    for name, values in times.items():
        print(f"  {name:12s} {statistics.median(values):8.2f}")
    ratios = [b / a for a, b in zip(times["LSTM"], times["HDetachLSTM"], strict=True)]
    print(f"  ratio, median of rounds: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
