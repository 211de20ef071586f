"""Claim: a spectrum and its gradient cost about what the same costs elsewhere.

Times the exponents of a tanh network with QR at every step, and the gradient of the
flossing loss in the weights, taking turns in one process, with two threads each:

- JAX: `lax.scan` over `jnp.linalg.qr` with its autodiff, vectorised over the batch, under
  `jit` (the measure: 1.00);
- PyTorch: an eager loop over `torch.linalg.qr` with its autodiff;
- TensorFlow: a `tf.while_loop` over `tf.linalg.qr` with its autodiff, graph mode and XLA;
- keras_floss, which knows nothing of the cell, graph mode and XLA.

All are written for this one network but the last. Loss and gradient of all are compared.

Run: pip install -e ".[bench]" && python benchmarks/peers.py [--rounds 5]
"""

import argparse
import os
import statistics
import time

THREADS = 2
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402

import keras_floss  # noqa: E402

# (sequences, time steps, units, exponents)
SHAPES = [(1, 300, 80, 75), (1, 55, 80, 75), (1, 200, 64, 8), (16, 100, 64, 16)]


def in_jax(weights, inputs, frame):
    """A function without arguments that gives the loss and the gradients."""
    weights = [jnp.asarray(w) for w in weights]
    inputs, frame = jnp.asarray(inputs), jnp.asarray(frame)

    def exponents(weights, x):
        kernel, recurrent, bias = weights

        def step(carry, x):
            state, frame = carry
            state = jnp.tanh(x @ kernel + state @ recurrent + bias)
            pushed = (1 - state**2)[:, None] * (recurrent.T @ frame)
            frame, r = jnp.linalg.qr(pushed)
            return (state, frame), jnp.log(jnp.abs(jnp.diag(r)))

        start = jnp.zeros(recurrent.shape[0]), frame
        return jax.lax.scan(step, start, x)[1].mean(axis=0)

    def loss(weights, inputs):
        return jnp.mean(jax.vmap(lambda x: exponents(weights, x))(inputs) ** 2)

    both = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(both(weights, inputs))


def in_torch(weights, inputs, frame):
    """The same."""
    weights = [torch.tensor(w, requires_grad=True) for w in weights]
    inputs = torch.tensor(inputs)
    first = torch.tensor(frame).expand(len(inputs), *frame.shape)

    def run():
        kernel, recurrent, bias = weights
        state, frame, total = torch.zeros(len(inputs), len(recurrent)), first, 0.0
        for t in range(inputs.shape[1]):
            state = torch.tanh(inputs[:, t] @ kernel + state @ recurrent + bias)
            pushed = (1 - state**2)[..., None] * (recurrent.T @ frame)
            frame, r = torch.linalg.qr(pushed)
            total = total + torch.log(torch.abs(torch.diagonal(r, dim1=-2, dim2=-1)))
        loss = torch.mean((total / inputs.shape[1]) ** 2)
        return loss.detach(), torch.autograd.grad(loss, weights)

    return run


def in_tensorflow(weights, inputs, frame, jit_compile):
    """The same."""
    weights = [tf.constant(w) for w in weights]
    inputs, steps = tf.constant(inputs), inputs.shape[1]
    first = tf.broadcast_to(tf.constant(frame), (len(inputs), *frame.shape))

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(weights)
            kernel, recurrent, bias = weights

            def step(t, state, frame, total):
                state = tf.tanh(inputs[:, t] @ kernel + state @ recurrent + bias)
                pushed = tf.matmul(recurrent, frame, transpose_a=True)
                frame, r = tf.linalg.qr((1 - state**2)[..., None] * pushed)
                total += tf.math.log(tf.abs(tf.linalg.diag_part(r)))
                return t + 1, state, frame, total

            zero = tf.zeros((len(inputs), len(recurrent)))
            start = 0, zero, first, tf.zeros((len(inputs), frame.shape[1]))
            *_, total = tf.while_loop(
                lambda t, *_: t < steps, step, start, maximum_iterations=steps
            )
            loss = tf.reduce_mean((total / steps) ** 2)
        return loss, tape.gradient(loss, weights)

    return lambda: tf.nest.map_structure(lambda x: x.numpy(), run())


def in_keras_floss(weights, inputs, k, jit_compile):
    """The same, by this package. Its frame is the one that all of them start from."""
    layer = keras.layers.SimpleRNN(len(weights[1]))
    layer.build(inputs.shape)
    layer.set_weights(weights)
    inputs = tf.constant(inputs)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras_floss.lyapunov_exponents(layer, inputs, k) ** 2)
        return loss, tape.gradient(loss, [w.value for w in layer.trainable_variables])

    return lambda: tf.nest.map_structure(lambda x: x.numpy(), run())


def measure(batch, steps, units, k, rounds):
    """Median milliseconds of each way."""
    rng = np.random.default_rng(0)
    weights = [
        rng.standard_normal((1, units)),
        rng.standard_normal((units, units)) / np.sqrt(units),
        np.zeros(units),
    ]
    weights = [w.astype("float32") for w in weights]
    inputs = rng.standard_normal((batch, steps, 1)).astype("float32")
    # That of `lyapunov_exponents(seed=0)`.
    random = np.random.default_rng(0).standard_normal((k, units))
    frame = np.linalg.qr(random.T)[0].astype("float32")
    ways = {
        "JAX": in_jax(weights, inputs, frame),
        "PyTorch": in_torch(weights, inputs, frame),
        "TensorFlow, graph": in_tensorflow(weights, inputs, frame, False),
        "TensorFlow, XLA": in_tensorflow(weights, inputs, frame, True),
        "keras_floss, graph": in_keras_floss(weights, inputs, k, False),
        "keras_floss, XLA": in_keras_floss(weights, inputs, k, True),
    }
    wanted = None
    for name, way in ways.items():
        loss, gradients = way()
        found = np.concatenate([np.ravel(loss), *(np.ravel(g) for g in gradients)])
        wanted = found if wanted is None else wanted
        apart = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        if not apart < 0.01:
            raise SystemExit(f"{name} is {apart:.1e} from JAX in loss and gradients.")
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way()  # with cold caches, after another
            for _ in range(3):
                start = time.perf_counter()
                way()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    torch.set_num_threads(THREADS)
    for batch, steps, units, k in SHAPES:
        medians = measure(batch, steps, units, k, rounds)
        print(f"\n{batch} sequence(s) of {steps} steps, {units} units, {k} exponents")
        for name, median in medians.items():
            ratio = median / medians["JAX"]
            print(f"  {name:20s} {median:8.1f} ms   {ratio:5.2f}", flush=True)


if __name__ == "__main__":
    main()
