"""Flossing on two devices, by `tf.distribute.MirroredStrategy`.

Each device flosses on the first sequences of its own part of the batch, and the gradients
are averaged, as in training, for which `fit` is called as ever. Here the two devices are
halves of the CPU; on a machine with two GPUs `tf.distribute.MirroredStrategy()` takes
those. It prints what flossing said, and the largest difference of the weights that are left
from those of one device with the same sequences, which is rounding: the flossing optimiser
here clips no gradients, which Keras does on each device before it averages.
"""

import contextlib
import os

import keras
import numpy as np
import tensorflow as tf

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
UNITS, STEPS, LENGTH = (4, 2, 10) if QUICK else (32, 30, 60)


def floss(scope, batch_size):
    """The weights after flossing within a scope, and what it said."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).integers(0, 2, (4, LENGTH, 1)).astype("float32")
    # Unshuffled: two sequences for each device are the four of one.
    train = tf.data.Dataset.from_tensor_slices(x).batch(4)
    with scope:
        inputs = keras.Input((LENGTH, 1))
        memory = keras.layers.SimpleRNN(UNITS, return_sequences=True)
        model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(memory(inputs)))
        flossing = keras.optimizers.Adam(0.003)
        model.compile("adam", "mse", flossing_optimizer=flossing, jit_compile=False)
    history = model.floss(train, STEPS, batch_size=batch_size, qr_interval=1, verbose=0)
    return model.get_weights(), history.message


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    weights, message = floss(both.scope(), batch_size=2)
    print(both.num_replicas_in_sync, "devices:", message)
    alone, _ = floss(contextlib.nullcontext(), batch_size=4)
    difference = max(np.abs(a - b).max() for a, b in zip(weights, alone, strict=True))
    print(f"largest difference from one device: {difference:.1e}")


if __name__ == "__main__":
    main()
