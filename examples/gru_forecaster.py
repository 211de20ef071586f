"""A GRU that forecasts a series whose next value depends on what was 50 steps ago.

x_t = 0.9 x_{t−50} + noise: the last values say nothing, the one of 50 steps ago all that
can be known. It prints the mean square error of the next value, for a GRU as Keras makes
it, for the same after `Preflossing`, and for two forecasts without a network: the mean,
and the rule that made the series, which no forecast beats.
"""

import os

import keras
import numpy as np

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
LAG, LENGTH, KEPT = 48, 100, 0.9
EPOCHS, SERIES, UNITS = (1, 64, 8) if QUICK else (30, 2000, 64)


def series(count, seed):
    """Windows of the series, and for each step the value that follows."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, np.sqrt(1 - KEPT**2), (count, LENGTH + 1))  # x has variance 1
    x = rng.normal(size=(count, LENGTH + 1))
    for t in range(LAG, LENGTH + 1):
        x[:, t] = KEPT * x[:, t - LAG] + noise[:, t]
    x = x.astype("float32")[:, :, None]
    weights = np.broadcast_to(np.arange(LENGTH) >= LAG - 1, (count, LENGTH))
    return x[:, :-1], x[:, 1:], weights.astype("float32")


def error(flossed):
    keras.utils.set_random_seed(0)
    train, test = series(SERIES, seed=0), series(500, seed=1)
    model = keras.Sequential(
        [
            keras.Input((LENGTH, 1)),
            keras_floss.layers.GRU(UNITS, return_sequences=True, name="memory"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        keras.optimizers.Adam(3e-3, global_clipnorm=1.0), "mse", weighted_metrics=["mse"]
    )
    callbacks = [keras_floss.callbacks.Preflossing(train)] if flossed else []
    data = {"sample_weight": train[2], "epochs": EPOCHS, "batch_size": 32, "verbose": 0}
    model.fit(*train[:2], callbacks=callbacks, **data)
    return model.evaluate(*test[:2], sample_weight=test[2], verbose=0)[1]


def main():
    print("the mean      1.000")
    print(f"GRU, flossed  {error(True):.3f}")
    if not QUICK:
        print(f"GRU           {error(False):.3f}")
    print(f"the rule      {1 - KEPT**2:.3f}")


if __name__ == "__main__":
    main()
