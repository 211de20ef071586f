"""Claim: `qr_interval="auto"` makes preflossing several times faster, and no less right.

Flosses a RateRNN of 80 units (75 exponents, windows of 55 steps of delayed-copy sequences)
for 500 steps with a QR at every step and with as few as are needed, in graph mode and under
XLA, block by block in turns. Then flosses once more, a step at a time, and compares the
exponents and the gradient of each step with those of a QR at every step, on the same
weights and sequence. (The losses at the end differ from run to run: flossing on one
sequence a step is noisy, and a rounding error sends it elsewhere.)

Run: python benchmarks/auto_interval.py [--blocks 10]
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf

import keras_floss

SETTINGS = {"batch_size": 1, "window": 55, "k": 75, "warmup": 16, "seed": 1}
SETTINGS |= {"target": 0.0, "damping": 0.0, "tolerance": 0.0}
BLOCK = 50


def make_model(jit_compile):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((100, 1))
    rnn = keras_floss.layers.RateRNN(80, return_sequences=True, name="rnn")
    model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(rnn(inputs)))
    adam = keras.optimizers.Adam(1e-3)
    model.compile("adam", "mse", flossing_optimizer=adam, jit_compile=jit_compile)
    return model


def exponents_and_gradient(model, inputs, qr_interval):
    """Exponents, and the gradient of the flossing loss, of one window."""
    rnn = model.model.get_layer("rnn")
    with tf.GradientTape() as tape:
        exponents = keras_floss.lyapunov_exponents(
            rnn, inputs[:, :55], k=75, warmup=16, qr_interval=qr_interval, seed=1
        )
        loss = tf.reduce_mean(exponents**2)
    gradients = tape.gradient(loss, [w.value for w in rnn.trainable_weights])
    return exponents.numpy(), np.concatenate([np.ravel(g) for g in gradients])


def apart(inputs, steps):
    """How far the exponents and the gradient of each flossing step are from those with a
    QR at every step, relative, `(steps, 2)`.
    """
    model, found = make_model(False), []
    for n in range(steps):
        x = inputs[n % len(inputs)][None]
        start = model.get_weights()
        logs = model.floss(x, 1, qr_interval="auto", verbose=0, **SETTINGS).history
        moved = model.get_weights()
        model.set_weights(start)
        intervals = int(logs["qr_interval"][0]), 1
        pairs = zip(*(exponents_and_gradient(model, x, i) for i in intervals), strict=True)
        found.append([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs])
        model.set_weights(moved)
    return np.array(found)


def measure(jit_compile, blocks, inputs):
    """Times by block and last losses of both ways, and the intervals of the second."""
    models = {way: make_model(jit_compile) for way in (1, "auto")}
    times = {way: [] for way in models}
    losses, intervals = {}, []
    for way, model in models.items():  # compile, and go back to the start
        start = model.get_weights()
        model.floss(inputs, 1, qr_interval=way, verbose=0, **SETTINGS)
        model.set_weights(start)
    for _ in range(blocks):
        for way, model in models.items():
            begin = time.perf_counter()
            logs = model.floss(
                inputs, BLOCK, qr_interval=way, verbose=0, **SETTINGS
            ).history
            times[way].append(time.perf_counter() - begin)
            losses[way] = logs["flossing_loss"][-1]
        intervals += logs["qr_interval"]
    return times, losses, intervals


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=10, help=f"of {BLOCK} flossing steps")
    blocks = parser.parse_args().blocks
    batches = keras_floss.tasks.delayed_copy(40, 100).take(8)
    inputs = np.concatenate([x for x, _, _ in batches])
    for jit_compile in (False, True):
        times, losses, intervals = measure(jit_compile, blocks, inputs)
        exact, auto = (1e3 * sum(times[way]) / (blocks * BLOCK) for way in (1, "auto"))
        last = 1e3 * times["auto"][-1] / BLOCK
        counts = {n: intervals.count(n) for n in sorted(set(map(int, intervals)))}
        print("XLA" if jit_compile else "graph mode")
        print(
            f"  ms a flossing step: QR at every step {exact:.1f}, auto {auto:.1f}", end=""
        )
        print(f" (its last block {last:.1f}); ratio {auto / exact:.2f}")
        print(f"  flossing loss at the end: {losses[1]:.4f}, {losses['auto']:.4f}")
        print(f"  number of steps by interval: {counts}")
    for name, errors in zip(("exponents", "gradient"), apart(inputs, 200).T, strict=True):
        middle, most = np.median(errors), np.max(errors)
        print(f"{name} of 200 steps: {middle:.1e} apart (median), at most {most:.1e}")


if __name__ == "__main__":
    main()
