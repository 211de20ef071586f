"""Claim: a spectrum and its gradient, of any cell, cost no more than a loop for one cell.

Times the spectrum of a tanh network and its gradient in the weights, one sequence, QR at
every step, five ways, taking turns in one process:

- a plain `tf.while_loop` over `tf.linalg.qr`, written for SimpleRNN alone, with
  TensorFlow's autodiff, in graph mode (the measure: 1.00) and under XLA;
- `keras_floss.lyapunov_exponents`, which knows nothing of the cell, likewise; in graph
  mode as it comes, where XLA compiles its two sweeps alone, and without that
  (`jit_compile=False`).

Run: python benchmarks/spectrum_gradient.py [--rounds 7]
"""

import argparse
import functools
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import keras_floss

SHAPES = [(80, 75, 300), (32, 16, 100), (256, 32, 100)]  # (units, exponents, time steps)


def plain_loop(layer, inputs, k):
    """Loss and gradient with autodiff through a while loop."""
    cell, steps = layer.cell, inputs.shape[1]
    weights = [cell.kernel.value, cell.recurrent_kernel.value, cell.bias.value]
    random = np.random.default_rng(0).standard_normal((layer.units, k))
    start = tf.constant(np.linalg.qr(random)[0], tf.float32)
    with tf.GradientTape() as tape:
        kernel, recurrent, bias = [tf.convert_to_tensor(w) for w in weights]

        def step(t, state, frame, total):
            state = tf.tanh(inputs[:, t] @ kernel + state @ recurrent + bias)
            pushed = tf.matmul(recurrent, frame, transpose_a=True)
            frame, r = tf.linalg.qr((1 - state[0] ** 2)[:, None] * pushed)
            return t + 1, state, frame, total + tf.math.log(tf.abs(tf.linalg.diag_part(r)))

        state = tf.zeros((1, layer.units))
        *_, total = tf.while_loop(
            lambda t, *_: t < steps,
            step,
            (0, state, start, tf.zeros(k)),
            maximum_iterations=steps,
        )
        loss = tf.reduce_mean((total / steps) ** 2)
    return loss, tape.gradient(loss, weights)


def ours(layer, inputs, k, jit_compile="auto"):
    """The same by this package."""
    with tf.GradientTape() as tape:
        exponents = keras_floss.lyapunov_exponents(
            layer, inputs, k, qr_interval=1, jit_compile=jit_compile
        )
        loss = tf.reduce_mean(exponents**2)
    return loss, tape.gradient(loss, [w.value for w in layer.trainable_variables])


def measure(units, k, steps, rounds):
    """Median milliseconds of each way, in turns."""
    keras.utils.set_random_seed(0)
    layer = keras.layers.SimpleRNN(
        units, recurrent_initializer=keras.initializers.RandomNormal(stddev=units**-0.5)
    )
    inputs = tf.random.stateless_normal((1, steps, 1), [1, 2])
    layer.build(inputs.shape)
    without_xla = functools.partial(ours, jit_compile=False)
    ways = {
        name: tf.function(
            functools.partial(way, layer, inputs, k), autograph=False, jit_compile=xla
        )
        for name, way, xla in (
            ("plain loop, graph", plain_loop, False),
            ("plain loop, XLA", plain_loop, True),
            ("keras_floss, graph without XLA", without_xla, False),
            ("keras_floss, graph", ours, False),
            ("keras_floss, XLA", ours, True),
        )
    }
    for way in ways.values():
        way()
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            # Flossing runs one program over and over: the first call after the change
            # from another, with cold caches, does not count.
            way()[0].numpy()
            for _ in range(3):
                start = time.perf_counter()
                way()[0].numpy()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    """Prints a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for units, k, steps in SHAPES:
        medians = measure(units, k, steps, rounds)
        base = medians["plain loop, graph"]
        print(f"\nN = {units}, k = {k}, T = {steps}")
        for name, median in medians.items():
            print(f"  {name:30s} {median:8.1f} ms   {median / base:5.2f}", flush=True)


if __name__ == "__main__":
    main()
