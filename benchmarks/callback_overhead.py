"""Claim: flossing callbacks that have nothing to do cost next to nothing.

Times `fit` of a small recurrent network, as a plain Keras model and as a FlossingModel
with PeriodicFlossing, AdaptiveFlossing and LyapunovMonitor whose time does not come, in
turns in one process; and the callbacks' own methods, called as `fit` calls them.

Run: python benchmarks/callback_overhead.py [--rounds 9]
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from keras_floss import Flossing, FlossingModel, callbacks

UPDATES, BATCH, TIME = 300, 16, 50


def make(flossing):
    """A compiled network, and its callbacks."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIME, 1))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(32)(inputs))
    model = FlossingModel(inputs, outputs) if flossing else keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    return model


def idle(x, y):
    """Callbacks whose time does not come."""
    return [
        callbacks.PeriodicFlossing(x, every=10**9),
        callbacks.AdaptiveFlossing(x, every=10**9),
        callbacks.LyapunovMonitor((x[:1], y[:1]), 10**9, flossing=Flossing(k=1)),
    ]


def main():
    """Prints both figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, TIME, 1)).astype("float32")
    y = rng.standard_normal((BATCH, 1)).astype("float32")
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    plain, flossing = make(False), make(True)
    own = idle(x, y)

    def per_update(model, callbacks):
        # The first epoch does not count: tracing, and the first look of the monitor.
        clock = Clock()
        model.fit(
            data,
            epochs=2,
            steps_per_epoch=UPDATES,
            shuffle=False,
            verbose=0,
            callbacks=[*callbacks, clock],
        )
        return 1e3 * clock.seconds / UPDATES

    ways = {
        "plain": (plain, []),
        "FlossingModel": (flossing, []),
        "FlossingModel with callbacks": (flossing, own),
    }
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(per_update(*way))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print("fit, milliseconds an update")
    for name, median in medians.items():
        print(f"  {name:30s} {median:8.3f}   {median / medians['plain']:5.2f}")

    start = time.perf_counter()
    for batch in range(UPDATES):
        for callback in own:
            callback.on_train_batch_begin(batch)
            callback.on_train_batch_end(batch)
    seconds = time.perf_counter() - start
    print(f"the callbacks' own time, milliseconds a batch: {1e3 * seconds / UPDATES:.4f}")


class Clock(keras.callbacks.Callback):
    """Times the last epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self._start


if __name__ == "__main__":
    main()
