"""Question: how long from the first call to a flossed network, and what takes the time?

Each case has a process of its own, so that everything is a first call, and counts from the
call on: imports, the model and the data are there before.

- `Preflossing(train)` in `fit`, for four layers: until the first flossing step is done, in
  graph mode (what flossing takes for a pass of its length on a CPU) and under XLA
  (`jit_compile=True`, what the first version took);
- first calls of `lyapunov_exponents` and `gradient_norms`;
- the network of the flossing paper (RateRNN, 80 units, 300 steps) until it is flossed, by
  `Preflossing(train)` with no settings, and by a JAX program with the published recipe:
  500 steps of Adam at 1e-3, 75 exponents, a window of 55, QR at every step, one
  sequence (https://github.com/RainerEngelken/GradientFlossing), that of main_job.py. For
  both the flossing loss is then measured by `lyapunov_exponents`, the 75 exponents along
  unseen sequences.

Run: pip install -e ".[bench]" && python benchmarks/first_call.py [--rounds 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from main_job import (
    DELAY,
    FLOSSING_STEPS,
    LENGTH,
    UNITS,
    WARMUP,
    WINDOW,
    InJax,
    K,
)

import keras_floss
from keras_floss import callbacks, tasks

PAPER = f"RateRNN({UNITS})"
LAYERS = {
    PAPER: ("RateRNN", UNITS),
    "SimpleRNN(64)": ("SimpleRNN", 64),
    "GRU(64)": ("GRU", 64),
    "LSTM(64)": ("LSTM", 64),
}


def make(layer, **compiled):
    """A compiled model, and batches of a delayed copy."""
    name, units = LAYERS[layer]
    keras.utils.set_random_seed(0)
    inputs = keras.Input((LENGTH, 1))
    rnn = getattr(keras_floss.layers, name)(units, return_sequences=True)
    model = keras.Model(inputs, keras.layers.Dense(1)(rnn(inputs)))
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), **compiled)
    return model, rnn, tasks.delayed_copy(DELAY, LENGTH, batch_size=16, seed=0)


class Mark(keras.callbacks.Callback):
    """When the first flossing step was done."""

    time = None

    def on_train_batch_end(self, batch, logs=None):
        self.time = self.time or time.perf_counter()


class Marked(callbacks.Preflossing):
    """Preflossing that notes when its first step and its last one were done."""

    def floss(self, *args, callbacks=(), **kwargs):
        self.mark = Mark()
        history = super().floss(*args, callbacks=[*callbacks, self.mark], **kwargs)
        self.end = time.perf_counter()
        return history


def preflossing(layer, **compiled):
    """Seconds of `fit` until the first flossing step and the last one, and what came."""
    model, rnn, train = make(layer, **compiled)
    flossing = Marked(train, verbose=0)
    start = time.perf_counter()
    model.fit(train, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=[flossing])
    return {
        "first": flossing.mark.time - start,
        "flossed": flossing.end - start,
        "steps": flossing.history.epoch[-1],
        "loss": loss(rnn) if layer == PAPER else None,
    }


def exponents(layer):
    """Seconds of the first `lyapunov_exponents`."""
    model, rnn, train = make(layer)
    x = next(iter(train))[0][:4]
    model(x)
    start = time.perf_counter()
    keras_floss.lyapunov_exponents(rnn, x)
    return {"first": time.perf_counter() - start}


def gradients(layer):
    """Seconds of the first `gradient_norms`."""
    model, _, train = make(layer)
    x, y, *weight = next(iter(train))
    model(x)
    start = time.perf_counter()
    keras_floss.gradient_norms(model, x, y, *weight)
    return {"first": time.perf_counter() - start}


def jax_recipe(layer):
    """Seconds of a JAX program with the published recipe, and the loss that it leaves."""
    model, rnn, train = make(layer)
    sequences = np.stack([np.asarray(x)[0] for x, *_ in train.take(FLOSSING_STEPS)])
    job = InJax(model.get_weights())
    start = time.perf_counter()
    job.floss(sequences[:1])
    first = time.perf_counter() - start
    job.floss(sequences[1:])
    flossed = time.perf_counter() - start
    rnn.set_weights([np.asarray(w) for w in job.weights[:3]])
    return {"first": first, "flossed": flossed, "steps": len(sequences), "loss": loss(rnn)}


def loss(rnn):
    """The flossing loss along unseen sequences, the same for all."""
    unseen = tasks.delayed_copy(DELAY, LENGTH, batch_size=4, seed=1)
    x = next(iter(unseen))[0][:, :WINDOW]
    found = keras_floss.lyapunov_exponents(rnn, x, k=K, warmup=WARMUP)
    return float(np.mean(np.square(found)))


CASES = {
    "graph": preflossing,
    "xla": lambda layer: preflossing(layer, jit_compile=True),
    "exponents": exponents,
    "gradients": gradients,
    "jax": jax_recipe,
}


def measure(case, layer, rounds):
    """The medians of what a case gives in processes of its own."""
    command = [sys.executable, __file__, "--case", case, "--layer", layer]
    results = []
    for _ in range(rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    return {
        name: None if value is None else statistics.median(r[name] for r in results)
        for name, value in results[0].items()
    }


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--layer", choices=LAYERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(CASES[args.case](args.layer)))
        return
    print(f"seconds, median of {args.rounds} processes\n")
    print("until the first flossing step in `fit`   graph mode     XLA   ratio")
    for layer in LAYERS:
        graph, xla = (measure(case, layer, args.rounds) for case in ("graph", "xla"))
        seconds = graph["first"], xla["first"], graph["first"] / xla["first"]
        print("{:40} {:10.2f} {:7.2f} {:7.2f}".format(layer, *seconds), flush=True)
        if layer == PAPER:
            flossed = graph
    for case, name in (
        ("exponents", "lyapunov_exponents"),
        ("gradients", "gradient_norms"),
    ):
        first = measure(case, PAPER, args.rounds)["first"]
        print(f"first `{name}`, {PAPER}: {first:.2f}", flush=True)
    peer = measure("jax", PAPER, args.rounds)
    print("\nRateRNN(80), 300 steps, to the end     seconds   steps   flossing loss")
    for name, row in (("Preflossing(train) in fit", flossed), ("JAX, 500 steps", peer)):
        print(f"{name:38} {row['flossed']:7.2f} {row['steps']:7.0f} {row['loss']:15.5f}")
    print(f"ratio {flossed['flossed'] / peer['flossed']:.2f}")


if __name__ == "__main__":
    main()
