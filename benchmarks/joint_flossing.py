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


def plain(layer):
    """A model that is not flossed."""
    inputs = keras.Input((LENGTH, 1))
    return keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))


def compiled(model, jit_compile="auto"):
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit_compile)
    return model


def flossing_model(layer, jit_compile="auto"):
    return compiled(FlossingModel(plain(layer), strength=0.1), jit_compile)


def regularizer(layer, jit_compile="auto"):
    return compiled(plain(LyapunovRegularizer(layer, 0.1, jit_compile=jit_compile)))


WITHOUT = "{}, without XLA"
PENALTIES = {"FlossingModel": flossing_model, "LyapunovRegularizer": regularizer}


def make(layer):
    """A compiled model of each way; `layer()` makes the layer."""
    models = {"plain": compiled(plain(layer()))}
    for name, penalty in PENALTIES.items():
        models[WITHOUT.format(name)] = penalty(layer(), jit_compile=False)
        models[name] = penalty(layer())
    return models


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
        models = make(layer)
        first = {way: seconds(model, 1) for way, model in models.items()}
        times = {way: [] for way in models}
        for _ in range(rounds):
            for way, model in models.items():
                times[way].append(1e3 * seconds(model, UPDATES) / UPDATES)
        print(f"\n{name}")
        medians = {way: statistics.median(values) for way, values in times.items()}
        for way, median in medians.items():
            print(f"  {way:34s} first {first[way]:4.1f} s   {median:6.1f} ms an update")
        for way in PENALTIES:
            penalty, without = (
                medians[w] - medians["plain"] for w in (way, WITHOUT.format(way))
            )
            print(f"  penalty of {way}: {penalty / without:.2f} of that without XLA")


if __name__ == "__main__":
    main()
