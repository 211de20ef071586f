"""Question: what do QRs where they are needed save, and what do they change?

Times the exponents of layers as Keras makes them, driven by noise, and the gradient of the
mean of their squares, with `qr_interval="auto"` and with a QR at every step, in graph mode
and under XLA; the two take turns in one process. Prints ratios of the medians, and how far
exponents and gradient are apart, relative to the largest.

Run: python benchmarks/as_needed.py [--rounds 15]
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import keras_floss

THREADS = 2
# Layer, units, exponents, sequences, steps
CASES = [
    (keras.layers.SimpleRNN, 64, 8, 1, 200),
    (keras.layers.SimpleRNN, 64, 16, 16, 100),
    (keras.layers.GRU, 64, 16, 1, 200),
    (keras.layers.LSTM, 64, 32, 1, 200),
    (keras.layers.LSTM, 128, 32, 1, 120),
]


def program(layer, inputs, k, qr_interval, gradient, xla):
    weights = [v.value for v in layer.trainable_variables]

    @tf.function(autograph=False, jit_compile=xla)
    def run():
        with tf.GradientTape() as tape:
            exponents = keras_floss.lyapunov_exponents(
                layer, inputs, k, qr_interval=qr_interval, jit_compile=False
            )
            loss = tf.reduce_mean(exponents**2)
        slopes = tape.gradient(loss, weights) if gradient else [exponents]
        return tf.concat([tf.reshape(x, [-1]) for x in slopes], axis=0)

    return lambda: run().numpy()


def measure(ways, rounds):
    """`(auto's time over that of every step, how far apart they are)`."""
    auto, every = (way() for way in ways)
    times = [[], []]
    for _ in range(rounds):
        for way, spent in zip(ways, times, strict=True):
            way()  # after the other
            start = time.perf_counter()
            way()
            spent.append(time.perf_counter() - start)
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    return ratio, np.abs(auto - every).max() / np.abs(every).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    for kind, units, k, batch, steps in CASES:
        keras.utils.set_random_seed(0)
        layer = kind(units)
        shape = batch, steps, 3
        inputs = tf.constant(np.random.default_rng(0).standard_normal(shape), tf.float32)
        layer(inputs)
        print(f"\n{kind.__name__}({units}), {k} exponents, {batch} x {steps} steps")
        for gradient in (False, True):
            for xla in (False, True):
                ways = [program(layer, inputs, k, q, gradient, xla) for q in ("auto", 1)]
                ratio, apart = measure(ways, rounds)
                what = "with gradient" if gradient else "exponents"
                how = "XLA" if xla else "graph"
                print(f"  {what:14s} {how:6s} {ratio:.2f}  apart {apart:.0e}", flush=True)


if __name__ == "__main__":
    main()
