"""Question: what do SimpleRNN, GRU and LSTM of this package save in a training step?

Output and gradient of each, and of Keras's layer, in graph mode and under XLA, with the
output of every step, or of the last one with `--last`. The two take turns in one process;
the smallest time of each.

Run: python benchmarks/training_steps.py
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf
from rate_rnn import make_step

from keras_floss import layers

KINDS = ("SimpleRNN", "GRU", "LSTM")
# Batch, time, units.
SHAPES = [(16, 100, 32), (32, 300, 64), (32, 300, 128), (16, 784, 128), (64, 300, 256)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument(
        "--modes", nargs="+", choices=("graph", "XLA"), default=["graph", "XLA"]
    )
    parser.add_argument("--last", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)

    for mode in options.modes:
        for name in options.layers:
            for batch, steps, units in SHAPES:
                random = np.random.default_rng(0).standard_normal((batch, steps, 1))
                inputs = tf.constant(random, tf.float32)
                pair = [
                    make_step(
                        getattr(where, name)(units, return_sequences=not options.last),
                        inputs,
                        mode == "XLA",
                    )
                    for where in (layers, keras.layers)
                ]
                times = [[], []]
                for step in pair:
                    step()
                for _ in range(options.rounds):
                    for step, taken in zip(pair, times, strict=True):
                        start = time.perf_counter()
                        step()
                        taken.append(1e3 * (time.perf_counter() - start))
                ours, theirs = map(min, times)
                print(
                    f"{mode:5} {name:9} batch {batch}, {steps} steps, {units:3} units: "
                    f"{ours:6.1f} ms, Keras's {theirs:6.1f} ms, ratio {ours / theirs:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
