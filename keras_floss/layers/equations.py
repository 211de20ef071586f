"""The equations of SimpleRNN, GRU and LSTM, and of RateRNN."""

import keras
import tensorflow as tf

from keras_floss.layers.time_loop import Equations, product, total

# φ'(s) as one number for each unit is what an adjoint takes; softmax has none.
ELEMENTWISE = {
    keras.activations.celu,
    keras.activations.elu,
    keras.activations.exponential,
    keras.activations.gelu,
    keras.activations.hard_sigmoid,
    keras.activations.hard_silu,
    keras.activations.hard_tanh,
    keras.activations.leaky_relu,
    keras.activations.linear,
    keras.activations.log_sigmoid,
    keras.activations.mish,
    keras.activations.relu,
    keras.activations.relu6,
    keras.activations.selu,
    keras.activations.sigmoid,
    keras.activations.silu,
    keras.activations.softplus,
    keras.activations.softsign,
    keras.activations.squareplus,
    keras.activations.tanh,
}

# φ' as a function of y = φ(x), which a step has computed already.
SLOPES = {
    keras.activations.tanh: lambda y: 1 - y * y,
    keras.activations.sigmoid: lambda y: y * (1 - y),
    keras.activations.relu: lambda y: tf.cast(y > 0, y.dtype),
    keras.activations.linear: tf.ones_like,
}


class RateRNNEquations(Equations):
    """`s_t = φ(s_{t-1}) U + x_t W + b`, for a φ of `ELEMENTWISE`."""

    def __init__(self, activation):
        self.activation = activation

    def step(self, state, drive, weights):
        return (tf.matmul(self.activation(state[0]), weights[1]) + drive,), ()

    def slopes(self, before, kept, weights):
        with tf.GradientTape() as tape:
            tape.watch(before)
            rates = self.activation(before[0])
        return tape.gradient(rates, before[0]), rates

    def adjoint(self, later, slopes, transposed):
        return (tf.matmul(later[0], transposed[1]) * slopes[0],), later

    def gradients(self, before, slopes, cotangents, weights):
        return super().gradients(slopes[1:], slopes, cotangents, weights)


class SimpleRNNEquations(Equations):
    """`h_t = φ(x_t W + h_{t-1} U + b)`."""

    kept = 1

    def __init__(self, activation):
        self.activation = activation
        self.slope = SLOPES[activation]

    def step(self, state, drive, weights):
        h = self.activation(tf.matmul(state[0], weights[1]) + drive)
        return (h,), (h,)

    def slopes(self, before, kept, weights):
        return (self.slope(kept[0]),)

    def adjoint(self, later, slopes, transposed):
        d_drive = later[0] * slopes[0]
        return (tf.matmul(d_drive, transposed[1]),), (d_drive,)


class Gated(Equations):
    """What LSTM and GRU have in common: gates with an activation σ of their own."""

    def __init__(self, activation, recurrent_activation):
        self.activation = activation
        self.gate = recurrent_activation
        self.slope = SLOPES[activation]
        self.gate_slope = SLOPES[recurrent_activation]


class LSTMEquations(Gated):
    """`i, f, g, o = σ, σ, φ, σ (x_t W + h_{t-1} U + b)`.

    `c_t = f c_{t-1} + i g`, `h_t = o φ(c_t)`.
    """

    kept = 5

    def step(self, state, drive, weights):
        h, c = state
        i, f, g, o = tf.split(tf.matmul(h, weights[1]) + drive, 4, axis=-1)
        i, f, g, o = self.gate(i), self.gate(f), self.activation(g), self.gate(o)
        c = f * c + i * g
        y = self.activation(c)
        return (o * y, c), (i, f, g, o, y)

    def slopes(self, before, kept, weights):
        i, f, g, o, y = kept
        to_i = g * self.gate_slope(i)
        to_f = before[1] * self.gate_slope(f)
        to_g = i * self.slope(g)
        to_o = y * self.gate_slope(o)
        return to_i, to_f, to_g, to_o, o * self.slope(y), f

    def adjoint(self, later, slopes, transposed):
        d_h, d_c = later
        *to_gates, to_o, to_c, f = slopes
        d_c = d_c + d_h * to_c
        d_drive = tf.concat([*(d_c * s for s in to_gates), d_h * to_o], axis=-1)
        return (tf.matmul(d_drive, transposed[1]), d_c * f), (d_drive,)


class GRUEquations(Gated):
    """`reset_after`: `z, r = σ(x_t W + b + h_{t-1} U + b')`, of two thirds of the columns.

    `g = φ(x_t W + b + r (h_{t-1} U + b'))`, of the last third; `h_t = z h_{t-1} + (1-z) g`.
    """

    kept = 4

    def drive(self, inputs, weights):
        drive = tf.tensordot(inputs, weights[0], 1)
        return drive + weights[2][0] if len(weights) > 2 else drive

    def step(self, state, drive, weights):
        (h,) = state
        inner = tf.matmul(h, weights[1])
        if len(weights) > 2:
            inner += weights[2][1]
        units = h.shape[-1]
        drive, drive_g = tf.split(drive, [2 * units, units], axis=-1)
        inner, inner_g = tf.split(inner, [2 * units, units], axis=-1)
        z, r = tf.split(self.gate(drive + inner), 2, axis=-1)
        g = self.activation(drive_g + r * inner_g)
        return (g + z * (h - g),), (z, r, g, inner_g)

    def slopes(self, before, kept, weights):
        z, r, g, inner_g = kept
        to_g = (1 - z) * self.slope(g)
        to_z = (before[0] - g) * self.gate_slope(z)
        return to_z, to_g * inner_g * self.gate_slope(r), to_g * r, to_g, z

    def adjoint(self, later, slopes, transposed):
        (d_h,) = later
        *to_inner, to_g, z = slopes
        d_inner = tf.concat([d_h * s for s in to_inner], axis=-1)
        return (d_h * z + tf.matmul(d_inner, transposed[1]),), (d_inner, d_h * to_g)

    def gradients(self, before, slopes, cotangents, weights):
        d_inner, d_g = cotangents
        d_drive = tf.concat([d_inner[..., : -d_g.shape[-1]], d_g], axis=-1)
        d_bias = [tf.stack([total(d_drive), total(d_inner)]) for _ in weights[2:]]
        return d_drive, product(before[0], d_inner), *d_bias


class GRUBeforeEquations(Gated):
    """As `GRUEquations`, but `g = φ(x_t W + b + (r h_{t-1}) U)`: `reset_after=False`.

    The weights are W, the first two thirds of the columns of U, the last one, and b.
    """

    kept = 3

    def drive(self, inputs, weights):
        drive = tf.tensordot(inputs, weights[0], 1)
        return drive + weights[3] if len(weights) > 3 else drive

    def step(self, state, drive, weights):
        (h,) = state
        units = h.shape[-1]
        drive, drive_g = tf.split(drive, [2 * units, units], axis=-1)
        gates = self.gate(drive + tf.matmul(h, weights[1]))
        z, r = tf.split(gates, 2, axis=-1)
        g = self.activation(drive_g + tf.matmul(r * h, weights[2]))
        return (g + z * (h - g),), (z, r, g)

    def slopes(self, before, kept, weights):
        z, r, g = kept
        (h,) = before
        to_z = (h - g) * self.gate_slope(z)
        return to_z, h * self.gate_slope(r), (1 - z) * self.slope(g), z, r

    def adjoint(self, later, slopes, transposed):
        (d_h,) = later
        to_z, to_r, to_g, z, r = slopes
        d_g = d_h * to_g
        d_reset = tf.matmul(d_g, transposed[2])
        d_gates = tf.concat([d_h * to_z, d_reset * to_r], axis=-1)
        d_before = tf.matmul(d_gates, transposed[1])
        return (d_h * z + d_reset * r + d_before,), (d_gates, d_g)

    def gradients(self, before, slopes, cotangents, weights):
        d_gates, d_g = cotangents
        d_drive = tf.concat([d_gates, d_g], axis=-1)
        d_last = product(slopes[-1] * before[0], d_g)
        d_bias = [total(d_drive) for _ in weights[3:]]
        return d_drive, product(before[0], d_gates), d_last, *d_bias
