"""A GRU that forecasts a river's level from rain that takes its time.

Rain upstream, which is rare, arrives at the gauge 40 hours later; what is there runs off, a
third in an hour. The network sees rain and level of each hour and says the next level. The
last level says most of it; to foresee a rise it has to remember rain for 40 hours. It
prints the mean square error of a GRU as Keras makes it, after `Preflossing`, and with
chrono biases, which are made for long delays; then that of the best forecast without
memory, and that of the rule which made the data, which no forecast beats. (On one seed,
after 20 epochs: only the plain GRU is no better than without memory, and none is near the
rule.)
"""

import os

import keras
import numpy as np

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
HOURS, WAY, KEPT, NOISE = 120, 40, 2 / 3, 0.1
EPOCHS, RIVERS, UNITS = (1, 64, 8) if QUICK else (20, 2000, 64)


def rivers(count, seed):
    """Rain and level of each hour, the next level, and which hours count."""
    rng = np.random.default_rng(seed)
    falls = rng.random((count, HOURS + 1)) < 1 / 30
    rain = 4 * falls * rng.exponential(1.0, falls.shape)
    rain = rain.astype("float32")
    level = rng.normal(0.0, NOISE, (count, HOURS + 1)).astype("float32")
    for t in range(1, HOURS + 1):
        level[:, t] += KEPT * level[:, t - 1]
        if t >= WAY:
            level[:, t] += rain[:, t - WAY]
    x = np.stack([rain, level], axis=-1)[:, :-1]
    weights = np.broadcast_to(np.arange(HOURS) >= WAY, (count, HOURS)).astype("float32")
    return x, level[:, 1:, None], weights


def error(flossed, **settings):
    keras.utils.set_random_seed(0)
    train, test = rivers(RIVERS, seed=0), rivers(500, seed=1)
    model = keras.Sequential(
        [
            keras.Input((HOURS, 2)),
            # Keras's GRU, which trains faster here on a CPU.
            keras_floss.layers.GRU(UNITS, return_sequences=True, **settings),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        keras.optimizers.Adam(3e-3, global_clipnorm=1.0), "mse", weighted_metrics=["mse"]
    )
    preflossing = keras_floss.callbacks.Preflossing(train)
    callbacks = [preflossing] if flossed else []
    data = {"sample_weight": train[2], "epochs": EPOCHS, "batch_size": 32, "verbose": 0}
    model.fit(*train[:2], callbacks=callbacks, **data)
    return model.evaluate(*test[:2], sample_weight=test[2], verbose=0)[1]


def main():
    x, y, weights = rivers(500, seed=1)
    surprise = (y - KEPT * x[:, :, 1:])[weights > 0]  # rain that arrives, and noise
    print(f"GRU, flossed    {error(True):.3f}")
    if not QUICK:
        chrono = keras_floss.initializers.Chrono(UNITS, HOURS)
        print(f"GRU             {error(False):.3f}")
        print(f"chrono biases   {error(False, bias_initializer=chrono):.3f}")
    print(f"without memory  {surprise.var():.3f}")
    print(f"the rule        {NOISE**2:.3f}")


if __name__ == "__main__":
    main()
