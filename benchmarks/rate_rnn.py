"""Question: what does RateRNN's own loop over time save in training?

Output and gradient of a RateRNN and of `keras.layers.RNN` over the same cell, in graph mode
and under XLA. They take turns in one process; the smallest and the median time of each.

Run: python benchmarks/rate_rnn.py
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf

from keras_floss.layers import RateRNN, RateRNNCell

SHAPES = [(1, 300, 80), (16, 300, 80), (32, 200, 256)]  # batch, time, units


def make_step(layer, inputs, jit_compile):
    layer.build(inputs.shape)
    weights = [v.value for v in layer.trainable_variables]

    @tf.function(jit_compile=jit_compile)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(layer(inputs, training=True) ** 2)
        return tape.gradient(loss, weights)

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)

    for jit_compile in (False, True):
        for batch, steps, units in SHAPES:
            random = np.random.default_rng(0).standard_normal((batch, steps, 1))
            inputs = tf.constant(random, tf.float32)
            keras_own = keras.layers.RNN(RateRNNCell(units), return_sequences=True)
            layers = {"RNN": keras_own, "RateRNN": RateRNN(units, return_sequences=True)}
            steps_of = {
                name: make_step(layer, inputs, jit_compile)
                for name, layer in layers.items()
            }
            times = {name: [] for name in layers}
            for step in steps_of.values():
                step()
            for _ in range(options.rounds):
                for name, step in steps_of.items():
                    start = time.perf_counter()
                    step()
                    times[name].append(1e3 * (time.perf_counter() - start))
            middle = {name: np.median(t) for name, t in times.items()}
            mode = "XLA" if jit_compile else "graph"
            print(f"{mode:5} batch {batch}, {steps} steps, {units} units: ", end="")
            for name, each in times.items():
                print(f"{name} {middle[name]:.1f} ms (least {min(each):.1f}), ", end="")
            print(f"ratio {middle['RateRNN'] / middle['RNN']:.2f}")


if __name__ == "__main__":
    main()
