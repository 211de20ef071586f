"""An LSTM that classifies padded sequences of different lengths by their first symbol.

The first of 100 to 120 symbols says which of 4 classes it is; the others are noise, and
what is padded is masked, for the exponents too. Keras's LSTM and one with chrono biases,
which are made for long delays, see the same data, each as it comes and after
`Preflossing(train)`. It prints four accuracies, of one seed: that is an example and no
comparison, which docs/trial.md makes.
"""

import os

import keras
import numpy as np

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
CLASSES, LONGEST = 4, 120
EPOCHS, SEQUENCES, UNITS = (1, 128, 8) if QUICK else (12, 2000, 32)


def sequences(count, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(1 + CLASSES, 12, (count, LONGEST))
    y = rng.integers(0, CLASSES, count)
    x[:, 0] = 1 + y
    lengths = rng.integers(100, LONGEST + 1, count)
    x[np.arange(LONGEST) >= lengths[:, None]] = 0  # what `mask_zero` masks
    return x, y


def accuracy(flossed, **settings):
    keras.utils.set_random_seed(0)
    train, test = sequences(SEQUENCES, seed=0), sequences(500, seed=1)
    model = keras.Sequential(
        [
            keras.Input((LONGEST,), dtype="int32"),
            keras.layers.Embedding(12, 8, mask_zero=True),
            keras.layers.LSTM(UNITS, name="memory", **settings),
            keras.layers.Dense(CLASSES, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(3e-3, global_clipnorm=1.0),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    preflossing = keras_floss.callbacks.Preflossing(train)
    callbacks = [preflossing] if flossed else []
    model.fit(*train, epochs=EPOCHS, batch_size=64, verbose=0, callbacks=callbacks)
    return model.evaluate(*test, verbose=0)[1]


def main():
    chrono = {
        "bias_initializer": keras_floss.initializers.Chrono(UNITS, LONGEST),
        "unit_forget_bias": False,
    }
    print(f"LSTM, flossed           {accuracy(True):.3f}")
    if not QUICK:
        print(f"LSTM                    {accuracy(False):.3f}")
        print(f"chrono biases           {accuracy(False, **chrono):.3f}")
        print(f"chrono biases, flossed  {accuracy(True, **chrono):.3f}")


if __name__ == "__main__":
    main()
