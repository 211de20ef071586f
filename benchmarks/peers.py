"""Claim: a spectrum and its gradient cost about what the same costs elsewhere.

Times the exponents of a tanh network and an LSTM with QR at every step, and the gradient of
the flossing loss in the weights, taking turns in one process, with two threads each:

- JAX: `lax.scan` over `jnp.linalg.qr` with its autodiff, vectorised over the batch, under
  `jit` (the measure: 1.00);
- PyTorch: an eager loop over `torch.linalg.qr` with its autodiff;
- TensorFlow: a `tf.while_loop` over `tf.linalg.qr` with its autodiff, graph mode and XLA;
- keras_floss, which knows nothing of the cell: XLA; graph mode as it comes, where XLA
  compiles the two sweeps alone; and graph mode without that (`jit_compile=False`).

The first three are given the derivative of a step in closed form, the last finds it for any
cell. Loss and gradient of all are compared. The last row is the limit of what calls LAPACK
and BLAS: its QRs, triangular solves and matrix products alone, without the rest, and on one
thread (the pools of NumPy and SciPy wait for each other; a second gains nothing here).

Run: pip install -e ".[bench]" && python benchmarks/peers.py [--rounds 5]
"""

import argparse
import os
import statistics
import time
from types import SimpleNamespace

THREADS = 2
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402

import keras_floss  # noqa: E402

# (layer, sequences, time steps, units, exponents)
SHAPES = [
    ("tanh", 1, 300, 80, 75),
    ("tanh", 1, 55, 80, 75),
    ("tanh", 1, 200, 64, 8),
    ("tanh", 16, 100, 64, 16),
    ("LSTM", 1, 120, 128, 32),
]


# The networks, by the arithmetic that the three others have in common. States are
# (..., D) and frames (..., D, k); `f` is TensorFlow, or has its names for what the other
# two call otherwise.
def tanh_step(f, weights, x, state, frame):
    kernel, recurrent, bias = weights
    state = f.tanh(x @ kernel + state @ recurrent + bias)
    return state, (1 - state**2)[..., None] * (f.transpose(recurrent) @ frame)


def lstm_step(f, weights, x, state, frame):
    kernel, recurrent, bias = weights
    h, c = f.split(state, 2, -1)
    in_, forget, new, out = f.split(x @ kernel + h @ recurrent + bias, 4, -1)
    in_, forget, out = f.sigmoid(in_), f.sigmoid(forget), f.sigmoid(out)
    new = f.tanh(new)
    d_h, d_c = f.split(frame, 2, -2)
    d_in, d_forget, d_new, d_out = f.split(f.transpose(recurrent) @ d_h, 4, -2)
    d_c = (
        forget[..., None] * d_c
        + (c * forget * (1 - forget))[..., None] * d_forget
        + (new * in_ * (1 - in_))[..., None] * d_in
        + (in_ * (1 - new**2))[..., None] * d_new
    )
    c = forget * c + in_ * new
    read = f.tanh(c)
    d_h = (read * out * (1 - out))[..., None] * d_out + (out * (1 - read**2))[
        ..., None
    ] * d_c
    return f.concat([out * read, c], -1), f.concat([d_h, d_c], -2)


STEPS = {"tanh": tanh_step, "LSTM": lstm_step}
LAYERS = {"tanh": keras.layers.SimpleRNN, "LSTM": keras.layers.LSTM}


def in_jax(step, weights, inputs, frame):
    """A function without arguments that gives the loss and the gradients."""
    f = SimpleNamespace(
        tanh=jnp.tanh,
        sigmoid=jax.nn.sigmoid,
        split=jnp.split,
        concat=jnp.concatenate,
        transpose=jnp.transpose,
    )
    weights = [jnp.asarray(w) for w in weights]
    inputs, frame = jnp.asarray(inputs), jnp.asarray(frame)

    def exponents(weights, x):
        def one_step(carry, x):
            state, pushed = step(f, weights, x, *carry)
            frame, r = jnp.linalg.qr(pushed)
            return (state, frame), jnp.log(jnp.abs(jnp.diag(r)))

        start = jnp.zeros(len(frame)), frame
        return jax.lax.scan(one_step, start, x)[1].mean(axis=0)

    def loss(weights, inputs):
        return jnp.mean(jax.vmap(lambda x: exponents(weights, x))(inputs) ** 2)

    both = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(both(weights, inputs))


def in_torch(step, weights, inputs, frame):
    """The same."""
    f = SimpleNamespace(
        tanh=torch.tanh,
        sigmoid=torch.sigmoid,
        split=torch.chunk,
        concat=torch.cat,
        transpose=torch.t,
    )
    weights = [torch.tensor(w, requires_grad=True) for w in weights]
    inputs = torch.tensor(inputs)
    first = torch.tensor(frame).expand(len(inputs), *frame.shape)

    def run():
        state, frame, total = torch.zeros(first.shape[:2]), first, 0.0
        for t in range(inputs.shape[1]):
            state, pushed = step(f, weights, inputs[:, t], state, frame)
            frame, r = torch.linalg.qr(pushed)
            total = total + torch.log(torch.abs(torch.diagonal(r, dim1=-2, dim2=-1)))
        loss = torch.mean((total / inputs.shape[1]) ** 2)
        return loss.detach(), torch.autograd.grad(loss, weights)

    return run


def in_tensorflow(step, weights, inputs, frame, jit_compile):
    """The same."""
    weights = [tf.constant(w) for w in weights]
    inputs, steps = tf.constant(inputs), inputs.shape[1]
    first = tf.broadcast_to(tf.constant(frame), (len(inputs), *frame.shape))

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(weights)

            def one_step(t, state, frame, total):
                state, pushed = step(tf, weights, inputs[:, t], state, frame)
                frame, r = tf.linalg.qr(pushed)
                total += tf.math.log(tf.abs(tf.linalg.diag_part(r)))
                return t + 1, state, frame, total

            zero = tf.zeros(first.shape[:2])
            start = 0, zero, first, tf.zeros((len(inputs), frame.shape[1]))
            *_, total = tf.while_loop(
                lambda t, *_: t < steps, one_step, start, maximum_iterations=steps
            )
            loss = tf.reduce_mean((total / steps) ** 2)
        return loss, tape.gradient(loss, weights)

    return lambda: tf.nest.map_structure(lambda x: x.numpy(), run())


def in_keras_floss(layer, weights, inputs, k, jit_compile, alone="auto"):
    """The same, by this package. Its frame is the one that all of them start from."""
    layer = layer(len(weights[1]))
    layer.build(inputs.shape)
    layer.set_weights(weights)
    inputs = tf.constant(inputs)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run():
        with tf.GradientTape() as tape:
            exponents = keras_floss.lyapunov_exponents(
                layer, inputs, k, qr_interval=1, jit_compile=alone
            )
            loss = tf.reduce_mean(exponents**2)
        return loss, tape.gradient(loss, [w.value for w in layer.trainable_variables])

    return lambda: tf.nest.map_structure(lambda x: x.numpy(), run())


def in_lapack(kind, batch, steps, units, k, only=None):
    """The QRs, triangular solves and matrix products alone, by NumPy and SciPy.

    `only`: one of the parts, by its name.
    """
    rng = np.random.default_rng(0)
    gates, states = (4, 2) if kind == "LSTM" else (1, 1)

    def matrices(*shape):
        return rng.standard_normal(shape).astype("float32")

    recurrent = matrices(units, gates * units)
    pushed = matrices(batch, states * units, k)
    frame, gate_frame = matrices(batch, units, k), matrices(batch, gates * units, k)
    q, r = np.linalg.qr(pushed)

    def adjoint():
        m = pushed.swapaxes(-1, -2) @ q
        right = (pushed + q @ m).swapaxes(-1, -2)
        for a, b in zip(r, right, strict=True):
            scipy.linalg.solve_triangular(a, b, check_finite=False)

    def products():
        recurrent.T @ frame  # the tangents of the pre-activations
        recurrent @ gate_frame  # the cotangents of the tangents, and of the weights
        gate_frame @ frame.swapaxes(-1, -2)

    parts = {
        "QR": lambda: np.linalg.qr(pushed),
        "adjoint of QR": adjoint,
        "products": products,
    }
    calls = [parts[only]] if only else parts.values()

    def run():
        for _ in range(steps):
            for call in calls:
                call()

    return run


def arguments(kind, batch, steps, units, k):
    """Weights, inputs and the first frame."""
    rng = np.random.default_rng(0)
    gates, states = (4, 2) if kind == "LSTM" else (1, 1)
    weights = [
        rng.standard_normal((1, gates * units)),
        rng.standard_normal((units, gates * units)) / np.sqrt(units),
        np.zeros(gates * units),
    ]
    weights = [w.astype("float32") for w in weights]
    inputs = rng.standard_normal((batch, steps, 1)).astype("float32")
    # That of `lyapunov_exponents(seed=0)`.
    random = np.random.default_rng(0).standard_normal((k, states * units))
    return weights, inputs, np.linalg.qr(random.T)[0].astype("float32")


def measure(kind, batch, steps, units, k, rounds):
    """Median milliseconds of each way."""
    weights, inputs, frame = arguments(kind, batch, steps, units, k)
    step, layer = STEPS[kind], LAYERS[kind]
    ways = {
        "JAX": in_jax(step, weights, inputs, frame),
        "PyTorch": in_torch(step, weights, inputs, frame),
        "TensorFlow, graph": in_tensorflow(step, weights, inputs, frame, False),
        "TensorFlow, XLA": in_tensorflow(step, weights, inputs, frame, True),
        "keras_floss, graph without XLA": in_keras_floss(
            layer, weights, inputs, k, False, alone=False
        ),
        "keras_floss, graph": in_keras_floss(layer, weights, inputs, k, False),
        "keras_floss, XLA": in_keras_floss(layer, weights, inputs, k, True),
    }
    wanted = None
    for name, way in ways.items():
        loss, gradients = way()
        found = np.concatenate([np.ravel(loss), *(np.ravel(g) for g in gradients)])
        wanted = found if wanted is None else wanted
        apart = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        if not apart < 0.01:
            raise SystemExit(f"{name} is {apart:.1e} from JAX in loss and gradients.")
    ways["LAPACK and BLAS"] = in_lapack(kind, batch, steps, units, k)
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            for _ in range(3):  # after another, whose threads may still wait for work
                way()
            for _ in range(5):
                start = time.perf_counter()
                way()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def limit_threads():
    """Two threads for each library."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    torch.set_num_threads(THREADS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    limit_threads()
    for kind, batch, steps, units, k in SHAPES:
        medians = measure(kind, batch, steps, units, k, rounds)
        title = f"{kind}, {batch} sequence(s) of {steps} steps, {units} units"
        print(f"\n{title}, {k} exponents")
        for name, median in medians.items():
            ratio = median / medians["JAX"]
            print(f"  {name:30s} {median:8.1f} ms   {ratio:5.2f}", flush=True)


if __name__ == "__main__":
    main()
