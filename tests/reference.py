"""Lyapunov exponents from the definition, slowly: what the package must agree with.

NumPy: closed-form steps and Jacobians by hand, one sequence at a time, QR by LAPACK.
TensorFlow: the same loop unrolled and eager, so that autodiff gives the gradient.
"""

import typing

import keras
import numpy as np
import tensorflow as tf

from keras_floss.flow.frame import initial_frame

FEATURES = 3
KINDS = ["SimpleRNN", "GRU", "LSTM", "stacked"]  # D = 5, 5, 8, 10
DIMS = {"SimpleRNN": 5, "GRU": 5, "LSTM": 8, "stacked": 10}


def make_layer(kind, seed=0, **options):
    """A built float64 layer whose weights are all random, biases included."""
    layers, wide = keras.layers, {"dtype": "float64"}
    if kind == "stacked":
        cells = [layers.LSTMCell(3, **wide), layers.GRUCell(4, **wide)]
        cell = layers.StackedRNNCells(cells, **wide)
        layer = layers.RNN(cell, **{**wide, **options})
    else:
        units = DIMS[kind] // (2 if kind == "LSTM" else 1)
        layer = getattr(layers, kind)(units, **{**wide, **options})
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(seed)
    for v in layer.weights:
        v.assign(0.6 * rng.standard_normal(v.shape))
    return layer


def make_inputs(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal((*shape, FEATURES))


def make_states(layer, batch, seed=2):
    rng = np.random.default_rng(seed)
    sizes = keras.tree.flatten(layer.cell.state_size)
    return [0.5 * rng.standard_normal((batch, d)) for d in sizes]


def compiled(function, xla):
    """`function` in graph mode, or under XLA."""
    return tf.function(function, jit_compile=xla, autograph=False)


def central_difference(function, variable, direction, h=1e-5):
    """The slope of `function()` as a variable moves along a direction, and is put back."""
    old, values = variable.numpy(), []
    for step in (h, -h):
        variable.assign(old + step * direction)
        values.append(function())
    variable.assign(old)
    return (values[0] - values[1]) / (2 * h)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def simple_rnn_step(cell):
    """s' = φ(xW + sU + b), φ the tanh, a ReLU or the identity."""
    w, u, b = (v.numpy() for v in cell.weights)
    phi, slope = {
        "tanh": (np.tanh, lambda y: 1 - y**2),
        "relu": (lambda a: np.maximum(a, 0), lambda y: (y > 0) * 1.0),
        "linear": (lambda a: a, np.ones_like),
    }[keras.activations.serialize(cell.activation)]

    def step(x, s):
        new = phi(x @ w + s @ u + b)
        return new, slope(new)[:, None] * u.T, slope(new)[:, None] * w.T

    return step


def rate_rnn_step(cell):
    """s' = tanh(s)U + xW + b: the slope is that of the old state."""
    w, u, b = (v.numpy() for v in cell.weights[:3])

    def step(x, s):
        return np.tanh(s) @ u + x @ w + b, u.T * (1 - np.tanh(s) ** 2), w.T

    return step


def gru_step(cell):
    """Keras's GRU with reset_after: r multiplies hU + b, not h."""
    kernel, recurrent, (bias, recurrent_bias) = (v.numpy() for v in cell.weights)
    wz, wr, wh = np.split(kernel.T, 3)
    uz, ur, uh = np.split(recurrent.T, 3)

    def step(x, h):
        az, ar, ah = np.split(x @ kernel + bias, 3)
        iz, ir, ih = np.split(h @ recurrent + recurrent_bias, 3)
        z, r = sigmoid(az + iz), sigmoid(ar + ir)
        c = np.tanh(ah + r * ih)

        def derivative(d_z, d_r, d_c, d_reset, d_old):
            d_z = (z * (1 - z))[:, None] * d_z
            d_r = (r * (1 - r))[:, None] * d_r
            d_c = d_c + r[:, None] * d_reset + ih[:, None] * d_r
            d_c = (1 - c**2)[:, None] * d_c
            return (h - c)[:, None] * d_z + (1 - z)[:, None] * d_c + z[:, None] * d_old

        by_state = derivative(uz, ur, 0, uh, np.eye(len(h)))
        return z * h + (1 - z) * c, by_state, derivative(wz, wr, wh, 0, 0)

    return step


def lstm_step(cell):
    """State (h, c), gates in the order i, f, candidate, o."""
    kernel, recurrent, bias = (v.numpy() for v in cell.weights)

    def step(x, s):
        h, c_old = np.split(s, 2)
        ai, af, ag, ao = np.split(x @ kernel + h @ recurrent + bias, 4)
        i, f, g, o = sigmoid(ai), sigmoid(af), np.tanh(ag), sigmoid(ao)
        c = f * c_old + i * g

        def derivative(weights, c_old_part):
            di, df, dg, do = np.split(weights.T, 4)
            d_c = (
                (g * i * (1 - i))[:, None] * di
                + (c_old * f * (1 - f))[:, None] * df
                + (i * (1 - g**2))[:, None] * dg
                + c_old_part
            )
            d_h = (o * (1 - np.tanh(c) ** 2))[:, None] * d_c
            return np.vstack([d_h + (np.tanh(c) * o * (1 - o))[:, None] * do, d_c])

        n = len(h)
        by_h = derivative(recurrent, 0)
        by_c = derivative(np.zeros_like(recurrent), np.diag(f))
        new = np.concatenate([o * np.tanh(c), c])
        return new, np.hstack([by_h, by_c]), derivative(kernel, np.zeros((n, 1)))

    return step


def stacked_step(cell):
    """The output of a cell (the first units of its state) is the input of the next."""
    steps = [numpy_step(c) for c in cell.cells]
    sizes = [int(np.sum(c.state_size)) for c in cell.cells]
    outputs = [c.units for c in cell.cells]

    def step(x, s):
        news, rows, by_input = [], [], np.eye(len(x))
        by_state = np.zeros((len(x), len(s)))  # of the input of the cell
        start = 0
        for one, size, out in zip(steps, sizes, outputs, strict=True):
            new, own, through = one(x, s[start : start + size])
            row = through @ by_state
            row[:, start : start + size] += own
            news.append(new)
            rows.append(row)
            by_input = (through @ by_input)[:out]
            x, by_state, start = new[:out], row[:out], start + size
        return np.concatenate(news), np.vstack(rows), by_input

    return step


def numpy_step(cell):
    """`step(x, s) -> (s', ds'/ds, ds'/dx)` of a cell, for one sequence."""
    return {
        "SimpleRNNCell": simple_rnn_step,
        "RateRNNCell": rate_rnn_step,
        "GRUCell": gru_step,
        "LSTMCell": lstm_step,
        "StackedRNNCells": stacked_step,
    }[type(cell).__name__](cell)


def jacobians(cell, inputs, state):
    """J_1..J_T along one sequence: `(time, features)` inputs, flat initial state."""
    step, all_jacobians = numpy_step(cell), []
    for x in inputs:
        state, jacobian, _ = step(x, state)
        all_jacobians.append(jacobian)
    return all_jacobians


def numpy_exponents(cell, inputs, states=None, k=None, warmup=0, qr_interval=1, seed=0):
    """`(batch, k)` exponents; `states` is a flat list of `(batch, d_i)`, or zeros."""
    dim = int(np.sum(keras.tree.flatten(cell.state_size)))
    flat = np.zeros((len(inputs), dim)) if states is None else np.hstack(states)
    result = []
    for sequence, state in zip(inputs, flat, strict=True):
        frame = initial_frame(k or dim, dim, seed).T
        total, time = 0.0, len(sequence)
        for t, jacobian in enumerate(jacobians(cell, sequence, state), start=1):
            frame = jacobian @ frame
            if (t - warmup) % qr_interval == 0 or t == time:
                frame, r = np.linalg.qr(frame)
                if t > warmup:
                    total += np.log(np.abs(np.diag(r)))
        result.append(total / (time - warmup))
    return np.array(result)


def unrolled_exponents(cell, inputs, states, k, warmup=0, qr_interval=1):
    """The same in eager TensorFlow, so that a tape around it sees every operation."""
    sizes = keras.tree.flatten(cell.state_size)
    state, batch = tf.concat(states, axis=-1), len(inputs)
    frame = tf.constant(initial_frame(k, sum(sizes)).T)
    frame = tf.broadcast_to(frame, (batch, *frame.shape))
    total, time = 0.0, inputs.shape[1]
    for t in range(1, time + 1):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(state)
            parts = tf.split(state, sizes, axis=-1)
            packed = keras.tree.pack_sequence_as(cell.state_size, parts)
            packed = packed if isinstance(packed, list) else [packed]
            _, new = cell(inputs[:, t - 1], packed)
            new = tf.concat(keras.tree.flatten(new), axis=-1)
        jacobian = tape.batch_jacobian(new, state, experimental_use_pfor=False)
        state, frame = new, jacobian @ frame
        if (t - warmup) % qr_interval == 0 or t == time:
            frame, r = tf.linalg.qr(frame)
            if t > warmup:
                total += tf.math.log(tf.abs(tf.linalg.diag_part(r)))
    return total / (time - warmup)


class Dual:
    """A vector and its Jacobian in the state: forward differentiation in NumPy.

    `value` is `(n,)` and `slope` `(n, D)`. With it a cell is written as its formula, for
    any activation, and the Jacobian is exact.
    """

    __array_ufunc__ = None  # so that array · Dual is left to Dual

    def __init__(self, value, slope):
        self.value, self.slope = value, slope

    def __add__(self, other):
        if isinstance(other, Dual):
            return Dual(self.value + other.value, self.slope + other.slope)
        return Dual(self.value + other, self.slope)

    def __mul__(self, other):
        if isinstance(other, Dual):
            slope = self.value[:, None] * other.slope + other.value[:, None] * self.slope
            return Dual(self.value * other.value, slope)
        return Dual(self.value * other, self.slope * other)

    def __rsub__(self, other):
        return Dual(other - self.value, -self.slope)

    def __matmul__(self, matrix):
        return Dual(self.value @ matrix, matrix.T @ self.slope)

    def split(self, sections):
        values = np.split(self.value, sections)
        return list(map(Dual, values, np.split(self.slope, sections)))

    def apply(self, name):
        value, slope = ACTIVATIONS[name](self.value)
        return Dual(value, slope[:, None] * self.slope)


def logistic(x):
    """The logistic function without overflow, and right to rounding on both sides."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


# name -> (value, slope); the slopes keep their precision where the value saturates.
ACTIVATIONS = {
    "tanh": lambda x: (np.tanh(x), 4 * logistic(2 * x) * logistic(-2 * x)),
    "sigmoid": lambda x: (logistic(x), logistic(x) * logistic(-x)),
    "relu": lambda x: (np.maximum(x, 0), (x > 0) * 1.0),
    "linear": lambda x: (x, np.ones_like(x)),
}


def concatenate(duals):
    values, slopes = [d.value for d in duals], [d.slope for d in duals]
    return Dual(np.concatenate(values), np.concatenate(slopes))


def dual_step(cell, noise=None):
    """`step(x, states) -> states` on lists of Duals, x a vector or a Dual.

    `noise` is None, or a function that perturbs an array: here the weights.
    """
    if isinstance(cell, keras.layers.StackedRNNCells):
        steps = [dual_step(c, noise) for c in cell.cells]
        counts = [len(keras.tree.flatten(c.state_size)) for c in cell.cells]

        def stacked(x, states):
            new = []
            for one, count in zip(steps, counts, strict=True):
                mine = one(x, states[len(new) : len(new) + count])
                x, new = mine[0], new + mine
            return new

        return stacked
    if hasattr(cell, "dual_step"):
        return cell.dual_step()
    kind, n = type(cell).__name__, cell.units
    name = keras.activations.serialize(cell.activation)
    w, u = cell.kernel.numpy(), cell.recurrent_kernel.numpy()
    bias = cell.bias.numpy() if cell.use_bias else np.zeros(w.shape[1])
    w, u, bias = (x if noise is None else noise(x) for x in (w, u, bias))

    def simple(x, states):
        return [(states[0] @ u + x @ w + bias).apply(name)]

    def rate(x, states):
        return [states[0].apply(name) @ u + x @ w + bias]

    def gru(x, states):
        (h,) = states
        before, after = bias if np.ndim(bias) == 2 else (bias, 0 * bias)
        wz, wr, wh = np.split(w, 3, axis=1)
        uz, ur, uh = np.split(u, 3, axis=1)
        (bz, br, bh), (az, ar, ah) = np.split(before, 3), np.split(after, 3)
        z = (h @ uz + x @ wz + (bz + az)).apply("sigmoid")
        r = (h @ ur + x @ wr + (br + ar)).apply("sigmoid")
        inner = r * (h @ uh + ah) if cell.reset_after else r * h @ uh
        candidate = (inner + x @ wh + bh).apply(name)
        return [z * h + (1 - z) * candidate]

    def lstm(x, states):
        h, c = states
        i, f, g, o = (h @ u + x @ w + bias).split([n, 2 * n, 3 * n])
        i, f, o = (gate.apply("sigmoid") for gate in (i, f, o))
        c = f * c + i * g.apply(name)
        return [o * c.apply(name), c]

    kinds = {"SimpleRNNCell": simple, "RateRNNCell": rate, "GRUCell": gru, "LSTMCell": lstm}
    return kinds[kind]


class Definition(typing.NamedTuple):
    """What the definition of the exponents gives for one sequence.

    Attributes:
        exponents: `(k,)`; NaN without a counted step, −∞ where a stretch is zero.
        stretches: `|R_ii|` at every QR, those of the warm-up included: `(QRs, k)`.
    """

    exponents: np.ndarray
    stretches: np.ndarray


def definition(step, inputs, state, mask, k, warmup=0, qr_interval=1, seed=0, noise=None):
    """The `Definition` along one sequence.

    Args:
        step: what `dual_step` returns.
        inputs: `(time, features)`.
        state: list of initial states, `(d_i,)`.
        mask: `(time,)` booleans.
        k, warmup, qr_interval, seed: as in `lyapunov_exponents`.
        noise: None, or a function that perturbs an array, to see what rounding does.
    """
    noise = noise or (lambda x: x)
    ends = np.cumsum([len(s) for s in state])
    state, dim = np.concatenate(state), ends[-1]
    frame, total, stretches = initial_frame(k, dim, seed).T, np.zeros(k), []
    valid = inputs[mask]
    for t, x in enumerate(valid, start=1):
        new = step(noise(x), Dual(noise(state), np.eye(dim)).split(ends[:-1]))
        new = concatenate(new)
        state, frame = new.value, noise(new.slope) @ noise(frame)
        if (t - warmup) % qr_interval == 0 or t == len(valid):
            # The error of a QR is one of whole columns, not of each number in them.
            norms = np.linalg.norm(frame, axis=0) * np.ones((dim, 1))
            frame, r = np.linalg.qr(frame + (noise(norms) - norms))
            stretches.append(np.abs(np.diag(r)))
            if t > warmup:
                with np.errstate(divide="ignore"):
                    total = total + np.log(stretches[-1])
    counted = len(valid) - warmup
    exponents = total / counted if counted > 0 else np.full(k, np.nan)
    return Definition(exponents, np.reshape(stretches, (-1, k)))


def pretend_gpu(monkeypatch, **details):
    """Has TensorFlow report a GPU of such details, on which nothing runs."""
    devices = tf.config.list_physical_devices

    def with_gpu(kind=None):
        return ["a GPU"] if kind == "GPU" else devices(kind)

    monkeypatch.setattr(tf.config, "list_physical_devices", with_gpu)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
