"""h-detach from the definition, in NumPy: an LSTM, its reverse pass, the paper's blocks.

Kernels have Keras's order of gates, i, f, candidate, o. `blocked[t]` says whether the
gradient of step t is cut off from h_{t-1}, or from c_{t-1} with `detach="c"`.
"""

import typing

import numpy as np
from reference import sigmoid


class Step(typing.NamedTuple):
    """What the reverse pass needs of one step; arrays `(batch, ...)`."""

    x: np.ndarray
    h: np.ndarray  # before the step, as is c
    c: np.ndarray
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    tanh: np.ndarray  # of the new c
    valid: np.ndarray


def forward(weights, inputs, states, mask=None):
    """Outputs `(batch, time, units)`, and the steps for `backward`."""
    kernel, recurrent, bias = weights
    h, c = states
    outputs, steps, y = [], [], np.zeros_like(h)
    for t in range(inputs.shape[1]):
        x = inputs[:, t]
        valid = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        ai, af, ag, ao = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        i, f, g, o = sigmoid(ai), sigmoid(af), np.tanh(ag), sigmoid(ao)
        new = f * c + i * g
        steps.append(Step(x, h, c, i, f, g, o, np.tanh(new), valid))
        # At a masked step the state stays, and the output is the one before it.
        y = np.where(valid, o * np.tanh(new), y)
        h, c = np.where(valid, o * np.tanh(new), h), np.where(valid, new, c)
        outputs.append(y)
    return np.stack(outputs, axis=1), steps


def backward(weights, steps, by_outputs, blocked, detach="h"):
    """Gradients by inputs, h_0, c_0, kernel, recurrent kernel and bias.

    `by_outputs` is the gradient of the loss by the outputs, `(batch, time, units)`.
    """
    kernel, recurrent, bias = weights
    by_weights = [np.zeros_like(w) for w in weights]
    by_inputs = []
    dh, dc, dy = (np.zeros_like(by_outputs[:, 0]) for _ in range(3))
    for t in reversed(range(len(steps))):
        x, h, c, i, f, g, o, tanh, valid = steps[t]
        dy = dy + by_outputs[:, t]
        # Of the step: the head sees h_t whether or not the step is blocked.
        to_h, to_c = np.where(valid, dh + dy, 0), np.where(valid, dc, 0)
        to_c = to_c + to_h * o * (1 - tanh**2)
        by_gates = [
            to_c * g * i * (1 - i),
            to_c * c * f * (1 - f),
            to_c * i * (1 - g**2),
            to_h * tanh * o * (1 - o),
        ]
        dz = np.concatenate(by_gates, axis=1)
        changes = x.T @ dz, h.T @ dz, dz.sum(axis=0)
        by_weights = [a + b for a, b in zip(by_weights, changes, strict=True)]
        by_inputs.append(dz @ kernel.T)
        # And on to the step before, where a block cuts; past a masked step nothing does.
        on_h = 0 if blocked[t] and detach == "h" else dz @ recurrent.T
        on_c = 0 if blocked[t] and detach == "c" else to_c * f
        dh, dc = np.where(valid, on_h, dh), np.where(valid, on_c, dc)
        dy = np.where(valid, 0, dy)
    return [np.stack(by_inputs[::-1], axis=1), dh, dc, *by_weights]


def blocks(weights, inputs, h, c):
    """The paper's A_t and B_t along one sequence, `(time, 2 units, 2 units)`, order (c, h).

    s_t = (c_t, h_t), ds_t/ds_{t-1} = A_t + B_t. B_t has the path through h_{t-1}.
    """
    kernel, recurrent, bias = weights
    ui, uf, ug, uo = np.split(recurrent.T, 4)
    linear, rest = [], []
    for x in inputs:
        ai, af, ag, ao = np.split(x @ kernel + h @ recurrent + bias, 4)
        i, f, g, o = sigmoid(ai), sigmoid(af), np.tanh(ag), sigmoid(ao)
        new = f * c + i * g
        dc = np.diag(o * (1 - np.tanh(new) ** 2))
        df, di = np.diag(c * f * (1 - f)), np.diag(g * i * (1 - i))
        dg, do = np.diag(i * (1 - g**2)), np.diag(np.tanh(new) * o * (1 - o))
        psi = df @ uf + di @ ui + dg @ ug
        zero, by_c = np.zeros_like(dc), np.diag(f)
        linear.append(np.block([[by_c, zero], [dc @ by_c, zero]]))
        rest.append(np.block([[zero, psi], [zero, do @ uo + dc @ psi]]))
        h, c = o * np.tanh(new), new
    return np.array(linear), np.array(rest)
