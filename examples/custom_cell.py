"""A cell that you wrote yourself: its exponents, a diagnosis, and flossing.

The cell is the minimal gated unit of Zhou et al. (2016), a GRU with one gate. Any cell
that follows Keras's protocol (`state_size`, `call(inputs, states)`) can be looked at and
flossed; nothing has to be derived by hand. It prints exponents and diagnosis of the fresh
layer, what flossing said, and the exponents after it.
"""

import os

import keras
import numpy as np

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
UNITS, LENGTH = (8, 40) if QUICK else (32, 100)


@keras.saving.register_keras_serializable(package="examples")
class MinimalGatedUnit(keras.layers.Layer):
    """f = σ(x W_f + h U_f + b_f);  h' = (1 − f) h + f tanh(x W + (f h) U + b)."""

    vectorize_tangents = True  # a step is arithmetic, products and Keras's activations

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units

    def build(self, input_shape):
        two = 2 * self.units
        self.kernel = self.add_weight((input_shape[-1], two), name="kernel")
        self.recurrent_kernel = self.add_weight(
            (self.units, two), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight((two,), initializer="zeros", name="bias")

    def call(self, inputs, states):
        (h,) = states
        gate, candidate = keras.ops.split(inputs @ self.kernel + self.bias, 2, axis=-1)
        of_gate, of_candidate = keras.ops.split(self.recurrent_kernel, 2, axis=-1)
        gate = keras.ops.sigmoid(gate + h @ of_gate)
        h = (1 - gate) * h + gate * keras.ops.tanh(candidate + (gate * h) @ of_candidate)
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def main():
    keras.utils.set_random_seed(0)
    train = keras_floss.tasks.delayed_copy(delay=LENGTH // 2, length=LENGTH)
    memory = keras.layers.RNN(MinimalGatedUnit(UNITS), return_sequences=True, name="memory")
    model = keras.Sequential([keras.Input((LENGTH, 1)), memory, keras.layers.Dense(1)])
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    batch = next(iter(train))

    def look(when):
        exponents = keras_floss.lyapunov_exponents(memory, batch[0], k=4, warmup=10)
        print(f"{when}: first exponents", np.mean(exponents, axis=0).round(3))

    look("fresh")
    print(keras_floss.diagnose(model, *batch), "\n")
    preflossing = keras_floss.callbacks.Preflossing(train, steps=3 if QUICK else 100)
    model.fit(train, steps_per_epoch=1, verbose=0, callbacks=[preflossing])
    print(preflossing.history.message, "\n")
    look("flossed")


if __name__ == "__main__":
    main()
