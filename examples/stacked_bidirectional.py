"""Two Bidirectional layers, one above the other: four recurrent networks, all flossed.

Each step of a sequence of bits is to be tagged with the XOR of the bits 30 steps before and
30 steps after it. `Preflossing` finds the four networks by itself; their exponents are
named after layer and direction. It prints them before and after flossing, and the accuracy
of the tags after each epoch, flossed and as the network comes. (On one seed; trained for 16
epochs in place of 8, the network as it comes learns it too.)
"""

import os

import keras
import numpy as np

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
REACH, LENGTH = (5, 20) if QUICK else (30, 90)
EPOCHS, SEQUENCES, UNITS = (1, 64, 4) if QUICK else (8, 2000, 32)


def tagged(count, seed):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, LENGTH))
    tags = np.roll(bits, REACH, axis=1) ^ np.roll(bits, -REACH, axis=1)
    inside = np.zeros((count, LENGTH), "float32")
    inside[:, REACH:-REACH] = 1.0
    return bits[:, :, None].astype("float32"), tags[:, :, None], inside


def make_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((LENGTH, 1))])
    for name in ("lower", "upper"):
        rnn = keras_floss.layers.SimpleRNN(UNITS, return_sequences=True)
        model.add(keras.layers.Bidirectional(rnn, name=name))
    model.add(keras.layers.Dense(UNITS, "relu"))
    model.add(keras.layers.Dense(1))
    model = keras_floss.FlossingModel(model)
    model.compile(
        keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )
    return model


def accuracies(flossed):
    """On fresh sequences, after each epoch."""
    train, test = tagged(SEQUENCES, seed=0), tagged(500, seed=1)
    model = make_model()

    def show(when):
        for name, exponents in model.lyapunov_spectrum(test[0][:8]).items():
            first, *_, last = np.mean(exponents, axis=0)
            print(f"  {when:8s} {name:15s} λ_1 {first:+.3f}  λ_{UNITS} {last:+.3f}")

    callbacks = []
    if flossed:
        show("fresh")
        preflossing = keras_floss.callbacks.Preflossing(train, steps=2 if QUICK else 100)

        class Then(keras.callbacks.Callback):
            """Comes after it in the list, when it has flossed."""

            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 0:
                    show("flossed")

        callbacks = [preflossing, Then()]
    data = {"sample_weight": train[2], "validation_data": test, "batch_size": 32}
    history = model.fit(
        *train[:2], epochs=EPOCHS, callbacks=callbacks, verbose=0, **data
    ).history
    if flossed:
        print(" ", preflossing.history.message)
    return " ".join(f"{accuracy:.2f}" for accuracy in history["val_accuracy"])


def main():
    print("flossed     ", accuracies(True))
    if not QUICK:
        print("as it comes ", accuracies(False))


if __name__ == "__main__":
    main()
