"""A rate network with noise in its units learns to decide, to wait, and to answer.

The task is made like those of NeuroGym: while a fixation point is on, evidence for left or
right comes for some steps, buried in noise; a delay follows; when the fixation point goes
out the network has to say which of the two was stronger. Its units are noisy too, in
training and after. Exponents of such a network are those of one noisy trajectory. It prints
the accuracy as the network comes and after `Preflossing`, on one seed.
"""

import os

import keras
import numpy as np

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
FIXATION, EVIDENCE, DELAY, ANSWER = 5, 15, 40, 5
STEPS = FIXATION + EVIDENCE + DELAY + ANSWER
EPOCHS, TRIALS, UNITS = (1, 64, 16) if QUICK else (10, 2000, 64)


@keras.saving.register_keras_serializable(package="examples")
class NoisyRateCell(keras_floss.layers.RateRNNCell):
    """s_t = φ(s_{t-1}) U + x_t W + b + σ ξ_t."""

    def __init__(self, units, noise=0.05, **kwargs):
        super().__init__(units, **kwargs)
        self.noise = noise
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs, states, training=False):
        state, _ = super().call(inputs, states)
        shape = keras.ops.shape(state)
        drawn = keras.random.normal(shape, seed=self.generator, dtype=state.dtype)
        state = state + self.noise * drawn
        return state, [state]

    def get_config(self):
        return {**super().get_config(), "noise": self.noise}


def trials(count, seed):
    """Inputs (fixation, left, right), the answer at each step, and which steps count."""
    rng = np.random.default_rng(seed)
    right = rng.integers(0, 2, count)
    x = np.zeros((count, STEPS, 3), "float32")
    x[:, : STEPS - ANSWER, 0] = 1.0
    shown = slice(FIXATION, FIXATION + EVIDENCE)
    x[:, shown, 1:] = rng.normal(0.5, 0.3, (count, EVIDENCE, 2))
    x[np.arange(count), shown, 1 + right] += 0.3
    y = np.broadcast_to(right[:, None], (count, STEPS))
    weights = np.zeros((count, STEPS), "float32")
    weights[:, -ANSWER:] = 1.0
    return x, y, weights


def accuracy(flossed):
    keras.utils.set_random_seed(0)
    train, test = trials(TRIALS, seed=0), trials(500, seed=1)
    model = keras.Sequential(
        [
            keras.Input((STEPS, 3)),
            keras.layers.RNN(NoisyRateCell(UNITS), return_sequences=True, name="units"),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        "sparse_categorical_crossentropy",
        weighted_metrics=["accuracy"],
    )
    callbacks = [keras_floss.callbacks.Preflossing(train)] if flossed else []
    data = {"sample_weight": train[2], "epochs": EPOCHS, "batch_size": 32, "verbose": 0}
    model.fit(*train[:2], callbacks=callbacks, **data)
    return model.evaluate(*test[:2], sample_weight=test[2], verbose=0)[1]


def main():
    print(f"flossed      {accuracy(True):.3f}")
    if not QUICK:
        print(f"as it comes  {accuracy(False):.3f}")


if __name__ == "__main__":
    main()
