"""Claim: joint flossing takes half of the time where XLA compiles its pass alone.

On a CPU Keras compiles nothing by XLA. Times an update of `fit` on a delayed copy, 16
sequences of 300 steps: of the plain model; with the penalty of a FlossingModel, and of a
LyapunovRegularizer, as they come and without XLA (`jit_compile=False`), in turns in one
process; and the first `fit` of one update each, which traces and compiles.

Run: python benchmarks/joint_flossing.py [--rounds 5]
"""

import argparse
import statistics
import time

import keras

from keras_floss import FlossingModel, LyapunovRegularizer, layers, tasks

LENGTH, DELAY, UPDATES = 300, 40, 20
NETWORKS = {
    "RateRNN(80)": lambda: layers.RateRNN(80, return_sequences=True),
    "LSTM(64)": lambda: keras.layers.LSTM(64, return_sequences=True),
}


def make(layer, way):
    """A compiled model."""
    inputs, read = keras.Input((LENGTH, 1)), keras.layers.Dense(1)
    options = {}
    if way.startswith("LyapunovRegularizer"):
        alone = False if way.endswith("without XLA") else "auto"
        layer = LyapunovRegularizer(layer, 0.1, jit_compile=alone)
    outputs = read(layer(inputs))
    if way.startswith("FlossingModel"):
        model = FlossingModel(inputs, outputs, strength=0.1)
        if way.endswith("without XLA"):
            options = {"jit_compile": False}
    else:
        model = keras.Model(inputs, outputs)
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), **options)
    return model


WAYS = [
    "plain",
    "FlossingModel, without XLA",
    "FlossingModel",
    "LyapunovRegularizer, without XLA",
    "LyapunovRegularizer",
]


def main():
    """Prints a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    data = tasks.delayed_copy(DELAY, LENGTH, batch_size=16, seed=0)

    def seconds(model, updates):
        start = time.perf_counter()
        model.fit(data, epochs=1, steps_per_epoch=updates, verbose=0)
        return time.perf_counter() - start

    for name, layer in NETWORKS.items():
        models = {way: make(layer(), way) for way in WAYS}
        first = {way: seconds(model, 1) for way, model in models.items()}
        times = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, model in models.items():
                times[way].append(1e3 * seconds(model, UPDATES) / UPDATES)
        print(f"\n{name}")
        for way in WAYS:
            median = statistics.median(times[way])
            print(f"  {way:34s} first {first[way]:4.1f} s   {median:6.1f} ms an update")
        plain = statistics.median(times["plain"])
        for way in ("FlossingModel", "LyapunovRegularizer"):
            penalty, without = (
                statistics.median(times[w]) - plain for w in (way, f"{way}, without XLA")
            )
            print(f"  penalty of {way}: {penalty / without:.2f} of that without XLA")


if __name__ == "__main__":
    main()
