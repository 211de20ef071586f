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
  sequence (https://github.com/RainerEngelken/GradientFlossing). For both the flossing loss
  is then measured by `lyapunov_exponents`, the 75 exponents along unseen sequences.

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

UNITS, EXPONENTS, TIME, WINDOW, DELAY = 80, 75, 300, 55, 40
STEPS, RATE = 500, 1e-3
LAYERS = {
    "RateRNN(80)": ("RateRNN", 80),
    "SimpleRNN(64)": ("SimpleRNN", 64),
    "GRU(64)": ("GRU", 64),
    "LSTM(64)": ("LSTM", 64),
}


def make(layer, **compiled):
    """A compiled model, and batches of a delayed copy."""
    import keras

    import keras_floss
    from keras_floss import tasks

    name, units = LAYERS[layer]
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIME, 1))
    rnn = getattr(keras_floss.layers, name)(units, return_sequences=True)
    model = keras.Model(inputs, keras.layers.Dense(1)(rnn(inputs)))
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), **compiled)
    return model, rnn, tasks.delayed_copy(DELAY, TIME, batch_size=16, seed=0)


def preflossing(layer, **compiled):
    """Seconds of `fit` until the first flossing step and the last one, and what came."""
    import keras

    from keras_floss.callbacks import Preflossing

    model, rnn, train = make(layer, **compiled)
    flossing = Preflossing(train, verbose=0)
    marks = {}

    class Mark(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            marks.setdefault("first", time.perf_counter())

    class Flossed(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            marks["flossed"] = time.perf_counter()

    floss = flossing.floss

    def marked(*args, callbacks=(), **kwargs):
        return floss(*args, callbacks=[*callbacks, Mark()], **kwargs)

    flossing.floss = marked
    start = time.perf_counter()
    model.fit(
        train,
        steps_per_epoch=1,
        shuffle=False,
        verbose=0,
        callbacks=[flossing, Flossed()],
    )
    return {
        "first": marks["first"] - start,
        "flossed": marks["flossed"] - start,
        "steps": flossing.history.epoch[-1],
        "loss": loss(rnn) if layer == "RateRNN(80)" else None,
    }


def exponents(layer):
    """Seconds of the first `lyapunov_exponents`."""
    import keras_floss

    model, rnn, train = make(layer)
    x = next(iter(train))[0][:4]
    model(x)
    start = time.perf_counter()
    keras_floss.lyapunov_exponents(rnn, x)
    return {"first": time.perf_counter() - start}


def gradients(layer):
    """Seconds of the first `gradient_norms`."""
    import keras_floss

    model, _, train = make(layer)
    x, y, *weight = next(iter(train))
    model(x)
    start = time.perf_counter()
    keras_floss.gradient_norms(model, x, y, *weight)
    return {"first": time.perf_counter() - start}


def jax_recipe(layer):
    """Seconds of a JAX program with the published recipe, and the loss that it leaves."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    _, rnn, train = make(layer)
    sequences = np.stack([np.asarray(x)[0] for x, *_ in train.take(STEPS)])
    weights = [jnp.asarray(w) for w in rnn.get_weights()]
    random = np.random.default_rng(0).standard_normal((UNITS, EXPONENTS))
    frame = jnp.asarray(np.linalg.qr(random)[0], "float32")

    def flossing_loss(weights, inputs):
        kernel, recurrent, bias = weights

        def one_step(carry, x):
            state, q = carry
            rates = jnp.tanh(state)
            tangents = recurrent.T @ ((1 - rates**2)[:, None] * q)
            q, r = jnp.linalg.qr(tangents)
            state = rates @ recurrent + x @ kernel + bias
            return (state, q), jnp.log(jnp.abs(jnp.diagonal(r)))

        start = jnp.zeros(UNITS), frame
        _, stretch = jax.lax.scan(one_step, start, inputs[:WINDOW])
        warmup = 10 + -(-WINDOW // 10)
        return jnp.mean(jnp.mean(stretch[warmup:], axis=0) ** 2)

    @jax.jit
    def update(weights, moments, step, inputs):
        gradients = jax.grad(flossing_loss)(weights, inputs)
        first = [0.9 * m + 0.1 * g for m, g in zip(moments[0], gradients, strict=True)]
        second = [
            0.999 * v + 0.001 * g**2 for v, g in zip(moments[1], gradients, strict=True)
        ]
        rate = RATE * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        moved = [
            w - rate * m / (jnp.sqrt(v) + 1e-7)
            for w, m, v in zip(weights, first, second, strict=True)
        ]
        return moved, (first, second)

    zeros = [jnp.zeros_like(w) for w in weights]
    moments = zeros, zeros
    start = time.perf_counter()
    for step, inputs in enumerate(sequences, start=1):
        weights, moments = update(weights, moments, float(step), inputs)
        if step == 1:
            jax.block_until_ready(weights)
            first = time.perf_counter() - start
    jax.block_until_ready(weights)
    flossed = time.perf_counter() - start
    rnn.set_weights([np.asarray(w) for w in weights])
    return {"first": first, "flossed": flossed, "steps": STEPS, "loss": loss(rnn)}


def loss(rnn):
    """The flossing loss along unseen sequences, the same for all."""
    import numpy as np

    import keras_floss
    from keras_floss import tasks

    unseen = tasks.delayed_copy(DELAY, TIME, batch_size=4, seed=1)
    x = next(iter(unseen))[0][:, :WINDOW]
    warmup = keras_floss.Flossing().warmup_of(WINDOW)
    found = keras_floss.lyapunov_exponents(rnn, x, k=EXPONENTS, warmup=warmup)
    return float(np.mean(np.square(found)))


CASES = {
    "graph": lambda layer: preflossing(layer),
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
        if layer == "RateRNN(80)":
            flossed = graph
    for case, name in (
        ("exponents", "lyapunov_exponents"),
        ("gradients", "gradient_norms"),
    ):
        first = measure(case, "RateRNN(80)", args.rounds)["first"]
        print(f"first `{name}`, RateRNN(80): {first:.2f}", flush=True)
    peer = measure("jax", "RateRNN(80)", args.rounds)
    print("\nRateRNN(80), 300 steps, to the end     seconds   steps   flossing loss")
    for name, row in (("Preflossing(train) in fit", flossed), ("JAX, 500 steps", peer)):
        print(f"{name:38} {row['flossed']:7.2f} {row['steps']:7.0f} {row['loss']:15.5f}")
    print(f"ratio {flossed['flossed'] / peer['flossed']:.2f}")


if __name__ == "__main__":
    main()
