"""Claims: time grows as the number of time steps does, and memory has a bound.

Times a spectrum and its gradient of a tanh network under XLA with a QR at every step, for
growing T, N, k and batch, one at a time, and prints the slope of time on a log-log plot:
the median, least and largest over rounds in which the sizes take turns.
Then measures, each in a process of its own, what a pass that is compiled adds to the memory
of the process at its peak, for growing T, with everything kept and with
`set_memory_limit(32 MiB)`, and for T = 10,000, N = 256, k = 16.

Run, on Linux: python benchmarks/scaling.py [--rounds 15]
"""

import argparse
import os
import time

import numpy as np
from own_process import alone, forget_peak, megabytes

BASE = {"batch": 1, "time": 200, "units": 64, "k": 16}
GROWING = {
    "time": [500, 1000, 2000, 4000, 8000],
    "units": [64, 128, 256, 512],
    "k": [8, 16, 32, 64],
    "batch": [1, 4, 16, 64],
}
LENGTHS = [1000, 2000, 4000, 8000]
SMALL = 32 * 2**20


def make_pass(batch, time, units, k):
    """A function without arguments, which XLA compiles when it is first called."""
    import keras
    import tensorflow as tf

    import keras_floss

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    rng = np.random.default_rng(0)
    layer = keras.layers.SimpleRNN(units)
    layer.build((None, None, 1))
    kernel = rng.standard_normal((1, units))
    recurrent = rng.standard_normal((units, units)) / np.sqrt(units)
    layer.set_weights([kernel, recurrent, np.zeros(units)])
    inputs = tf.constant(rng.standard_normal((batch, time, 1)).astype("float32"))

    @tf.function(jit_compile=True, autograph=False)
    def run(inputs):
        with tf.GradientTape() as tape:
            exponents = keras_floss.lyapunov_exponents(layer, inputs, k, qr_interval=1)
            loss = tf.reduce_mean(exponents**2)
        return loss, tape.gradient(loss, [w.value for w in layer.trainable_variables])

    def call():
        loss, gradients = run(inputs)
        for x in (loss, *gradients):
            if not np.isfinite(x.numpy()).all():
                raise SystemExit("A result is not finite.")

    return call


def seconds(calls, rounds):
    """`(rounds, calls)`: they take turns, since the speed of a machine changes."""
    for call in calls:
        call()
    times = np.empty((rounds, len(calls)))
    for turn in times:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            turn[i] = time.perf_counter() - start
    return times


def peak(limit, shape):
    """MiB that the pass adds at its peak and of the process in all, and its seconds."""
    # With oneDNN, TensorFlow keeps the memory of the first pass for the second.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    import keras_floss

    if limit is not None:
        keras_floss.set_memory_limit(limit)
    call = make_pass(**shape)
    start = time.perf_counter()
    call()  # and compile
    first = time.perf_counter() - start
    whole = megabytes("VmHWM")
    forget_peak()
    before = megabytes("VmRSS")
    start = time.perf_counter()
    call()
    second = time.perf_counter() - start
    return megabytes("VmHWM") - before, whole, first, second


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print("one pass:", ", ".join(f"{name} {n}" for name, n in BASE.items()))
    for name, sizes in GROWING.items():
        times = seconds([make_pass(**{**BASE, name: n}) for n in sizes], rounds)
        slopes = np.polyfit(np.log(sizes), np.log(times.T), 1)[0]
        middle = 1e3 * np.median(times, axis=0)
        row = ", ".join(f"{n}: {t:.1f} ms" for n, t in zip(sizes, middle, strict=True))
        print(f"  {name:6s} slope {np.median(slopes):.2f} ", end="")
        print(f"({slopes.min():.2f} to {slopes.max():.2f})   {row}", flush=True)
    print("\nmemory that a pass adds, units 64, k 48")
    for steps in LENGTHS:
        shape = {**BASE, "k": 48, "time": steps}
        (kept, _, _, fast), (bounded, _, _, slow) = (
            alone(peak, limit, shape) for limit in (None, SMALL)
        )
        print(
            f"  T = {steps}: {kept:.0f} MiB; limited to 32 MiB: {bounded:.0f} MiB, "
            f"in {slow / fast:.2f} of the time",
            flush=True,
        )
    shape = {"batch": 1, "time": 10_000, "units": 256, "k": 16}
    added, whole, compiled, again = alone(peak, None, shape)
    print(f"\nT = 10000, units 256, k 16: adds {added:.0f} MiB, ", end="")
    print(f"the process takes {whole:.0f} MiB in all; ", end="")
    print(f"{compiled:.0f} s with compilation, then {again:.1f} s")


if __name__ == "__main__":
    main()
