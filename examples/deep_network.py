"""A plain network of 60 layers, flossed over its depth, trains.

Depth is time where every layer is as wide as the one before: what the exponents of a
recurrent network are per time step, those of a stack are per layer. The stack is written as
a recurrent cell whose input is the number of the layer, and is flossed like any other. No
step may be left out as warm-up, since each layer has weights of its own. It prints the
accuracy on the digits of scikit-learn flossed, as Keras makes the network, and with
orthogonal weights, on one seed.
"""

import os

import keras
from keras import ops

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
DEPTH, WIDTH, EPOCHS = (4, 8, 1) if QUICK else (60, 64, 10)


@keras.saving.register_keras_serializable(package="examples")
class StackCell(keras.layers.Layer):
    """A stack of dense layers with a tanh: at a step with the input t, layer t."""

    vectorize_tangents = True  # nothing but arithmetic, products and a tanh

    def __init__(self, depth, width, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.depth = depth
        self.state_size = self.output_size = width
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        shape = (self.state_size, self.state_size)

        def kernels(*_, dtype=None):
            return ops.stack(
                [self.kernel_initializer.clone()(shape, dtype) for _ in range(self.depth)]
            )

        self.kernel = self.add_weight((self.depth, *shape), kernels, name="kernel")
        self.bias = self.add_weight((self.depth, self.state_size), "zeros", name="bias")

    def call(self, inputs, states):
        layer = ops.cast(inputs[0, 0], "int32")  # the same in all rows
        drive = ops.matmul(states[0], ops.take(self.kernel, layer, axis=0))
        state = ops.tanh(drive + ops.take(self.bias, layer, axis=0))
        return state, [state]

    def get_config(self):
        return {
            **super().get_config(),
            "depth": self.depth,
            "width": self.state_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def make_model(kernel_initializer):
    keras.utils.set_random_seed(0)
    pixels = keras.Input((64,))
    first = keras.layers.Dense(WIDTH, "tanh")(pixels)
    numbers = ops.reshape(ops.arange(DEPTH, dtype="float32"), (1, DEPTH, 1))
    numbers = numbers + ops.zeros_like(first[:, :1, None])  # (batch, DEPTH, 1)
    stack = keras.layers.RNN(StackCell(DEPTH, WIDTH, kernel_initializer), name="stack")
    last = stack(numbers, initial_state=[first])
    model = keras.Model(pixels, keras.layers.Dense(10, "softmax")(last))
    model.compile(
        keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def accuracy(kernel_initializer, flossed):
    (x, y), _, (x_test, y_test) = keras_floss.tasks.sequential_digits()
    x, x_test = x[..., 0], x_test[..., 0]
    model = make_model(kernel_initializer)
    callbacks = []
    if flossed:
        callbacks = [keras_floss.callbacks.Preflossing((x, y), warmup=0, window=DEPTH)]
    model.fit(x, y, epochs=EPOCHS, batch_size=64, verbose=0, callbacks=callbacks)
    return model.evaluate(x_test, y_test, verbose=0)[1]


def main():
    print(f"flossed         {accuracy('glorot_uniform', True):.3f}")
    if not QUICK:
        print(f"as Keras has it {accuracy('glorot_uniform', False):.3f}")
        print(f"orthogonal      {accuracy('orthogonal', False):.3f}")


if __name__ == "__main__":
    main()
