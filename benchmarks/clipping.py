"""Claim: with its gradient clipped, flossing a RateRNN takes a third of the steps.

Most flossing steps have a gradient of norm 0.3 to 3, a few of the first ones of 10 and
more, and Adam remembers those for a thousand steps. Flosses the network of the README
(RateRNN, 64 units, a delayed copy over 40 steps) for 100 and 300 steps by Adam, with and
without clipping, and trains it for 500 updates. Prints the median flossing loss of the last
50 flossing steps and the accuracy in the last 50 updates.

Run: python benchmarks/clipping.py [--seeds 3]
"""

import argparse

import keras
import numpy as np

import keras_floss


def run(seed, steps, clipnorm):
    """Flossing loss and accuracy at the end."""
    keras.utils.set_random_seed(seed)
    train = keras_floss.tasks.delayed_copy(delay=40, length=100, seed=seed)
    inputs = keras.Input((100, 1))
    x = keras_floss.layers.RateRNN(64, return_sequences=True)(inputs)
    model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(x))
    model.compile(
        keras.optimizers.Adam(1e-3, clipnorm=0.03),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
        flossing_optimizer=keras.optimizers.Adam(1e-3, global_clipnorm=clipnorm),
    )
    settings = {"window": 55, "k": 60, "seed": seed, "qr_interval": "auto"}
    flossed = model.floss(train, steps, verbose=0, **settings).history
    trained = model.fit(train, epochs=10, steps_per_epoch=50, verbose=0).history
    return np.median(flossed["flossing_loss"][-50:]), trained["binary_accuracy"][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    for clipnorm in (None, 1.0, 0.1, 0.01):
        name = "not clipped" if clipnorm is None else f"clipped to {clipnorm}"
        for steps in (100, 300):
            results = [run(seed, steps, clipnorm) for seed in range(seeds)]
            losses, accuracies = np.transpose(results)
            print(f"{name}, {steps} steps: flossing loss {np.round(losses, 4)}, ", end="")
            print(f"accuracy {np.round(accuracies, 3)}", flush=True)


if __name__ == "__main__":
    main()
