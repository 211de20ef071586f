"""What one would take today where a recurrent layer forgets: two networks without one.

Both see as far back as a sequence is long, whatever their size, and have no exponents to be
flossed: what is carried from step to step is linear, or nothing is.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

# Of the linear recurrent unit: the absolute values of its eigenvalues, as they are made.
LEAST, MOST = 0.9, 0.999
BLOCKS = 2


class LinearRecurrentUnit(layers.Layer):
    """s_t = λ ⊙ s_{t−1} + γ ⊙ B x_t, complex; its output is Re(C s_t) + D ⊙ x_t.

    All steps at once: the sum over the past is a convolution with λ^t.

    Args:
        states: number of complex states.

    References:
        Orvieto et al., ICML 2023 (arXiv:2303.06349)
    """

    def __init__(self, states: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.states = states

    def build(self, shape: Any) -> None:
        channels, n = shape[-1], self.states
        radius = keras.random.uniform((n,), LEAST**2, MOST**2) ** 0.5
        phase = keras.random.uniform((n,), 1e-3, 2 * 3.14159265)

        def weight(name: str, value: Any) -> Any:
            return self.add_weight(value.shape, lambda *_, **__: value, name=name)

        # λ = exp(−exp(decay) + i exp(phase)): its absolute value stays under 1.
        self.decay = weight("decay", ops.log(-ops.log(radius)))
        self.phase = weight("phase", ops.log(phase))
        self.gamma = weight("gamma", ops.log(ops.sqrt(1 - radius**2)))
        into = (2, channels, n), 1 / (2 * channels) ** 0.5
        out_of = (2, n, channels), 1 / n**0.5
        self.b, self.c = (
            weight(name, scale * keras.random.normal(shape))
            for name, (shape, scale) in (("b", into), ("c", out_of))
        )
        self.d = weight("d", keras.random.normal((channels,)))

    def call(self, x: Any) -> Any:
        steps = ops.shape(x)[1]
        exponent = tf.complex(-ops.exp(self.decay), ops.exp(self.phase))
        times = tf.cast(tf.range(steps), exponent.dtype)
        powers = tf.exp(exponent[:, None] * times)  # (states, time)
        gamma = ops.exp(self.gamma)
        driven = tf.complex(
            ops.matmul(x, self.b[0]) * gamma, ops.matmul(x, self.b[1]) * gamma
        )
        driven = tf.transpose(driven, (0, 2, 1))  # (batch, states, time)
        # Twice as long, so that nothing comes round from the end.
        pad = [[0, 0], [0, 0], [0, steps]]
        ahead = tf.signal.fft(tf.pad(driven, pad)) * tf.signal.fft(tf.pad(powers, pad[1:]))
        states = tf.transpose(tf.signal.ifft(ahead)[..., :steps], (0, 2, 1))
        out_of = tf.complex(self.c[0], self.c[1])
        return tf.math.real(tf.matmul(states, out_of)) + self.d * x


def linear_recurrent(x: Any, units: int, steps: int) -> Any:
    """Blocks of a linear recurrent unit and a gate, each beside a shortcut."""
    x = layers.Dense(units)(x)
    for _ in range(BLOCKS):
        y = LinearRecurrentUnit(units)(layers.LayerNormalization()(x))
        y = ops.gelu(y)
        x = x + layers.Dense(units)(y) * layers.Dense(units, "sigmoid")(y)
    return x


def convolution(x: Any, units: int, steps: int) -> Any:
    """Causal convolutions, each twice as far back as the one before, as in a WaveNet."""
    x = layers.Dense(units)(x)
    back = 1
    while back < steps:
        y = layers.Conv1D(units, 2, padding="causal", dilation_rate=back)(x)
        x = x + layers.Dense(units)(ops.relu(y))
        back *= 2
    return x


OTHER_NETWORKS = {"linear": linear_recurrent, "convolution": convolution}
