"""Units that are on or off learn by a surrogate derivative, once they are flossed.

The step of a binary unit, or of a spiking one, has no derivative that a gradient could use;
in training a smooth one takes its place. The Jacobians are then made of surrogates, and so
are the exponents, which say how far a surrogate gradient comes, and can be flossed. This is
the network of the flossing paper with such units, on its temporal XOR over 12 steps. It
prints the accuracy after 2,000 updates, flossed and as the network comes, on one seed.
"""

import os

import keras
import tensorflow as tf

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
UNITS, LENGTH, EPOCHS, STEPS = (12, 40, 1, 2) if QUICK else (80, 100, 20, 100)
SEED = 0


@keras.saving.register_keras_serializable(package="examples")
@tf.custom_gradient
def binary(x):
    """1 where x is positive, else 0; its surrogate derivative is 1 / (1 + |x|)²."""
    return tf.cast(x > 0, x.dtype), lambda d: d / (1.0 + tf.abs(x)) ** 2


def accuracy(flossed):
    keras.utils.set_random_seed(SEED)
    bits = keras.Input((None, 1))
    currents = keras_floss.layers.RateRNN(UNITS, binary, return_sequences=True)(bits)
    outputs = keras.layers.Dense(1)(keras.layers.Activation(binary)(currents))
    model = keras.Model(bits, outputs)
    model.compile(
        keras.optimizers.Adam(1e-3, clipnorm=0.03),
        keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )
    settings = {"length": LENGTH, "batch_size": 16}
    data = keras_floss.tasks.temporal_xor(12, seed=SEED, **settings)
    callbacks = []
    if flossed:
        # Ten directions: more do not come to zero through so coarse a derivative.
        sequences = keras_floss.tasks.temporal_xor(12, seed=SEED + 1, **settings)
        callbacks = [keras_floss.callbacks.Preflossing(sequences, steps=STEPS, k=10)]
    fit = model.fit(
        data, epochs=EPOCHS, steps_per_epoch=STEPS, callbacks=callbacks, verbose=0
    )
    return fit.history["accuracy"][-1]


def main():
    print(f"flossed      {accuracy(True):.3f}")
    if not QUICK:
        print(f"as it comes  {accuracy(False):.3f}")


if __name__ == "__main__":
    main()
