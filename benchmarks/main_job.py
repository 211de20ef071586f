"""Question: what does the whole main job cost next to a program written for it in JAX?

The job: a RateRNN of 80 units takes 500 flossing steps (75 exponents, windows of 55 steps,
one sequence a step), and then 1000 updates on a delayed copy, delay 40, batches of 16
sequences of 300 steps. Both sides start from the same weights, see the same sequences, and
use Adam.

- JAX: both sweeps as `lax.scan` with a QR at every step, and Adam, in one jitted function
  for a step.
- keras_floss: `FlossingModel.floss(qr_interval="auto")` and `fit`, compiled with
  `jit_compile=True, steps_per_execution=10`.

They take turns, 250 flossing steps or 100 updates at a time; compilation is counted.

Run: pip install -e ".[bench]" && python benchmarks/main_job.py
"""

import os
import time

THREADS = 2
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import keras_floss  # noqa: E402

UNITS, K, WINDOW, WARMUP, DELAY, LENGTH, BATCH = 80, 75, 55, 16, 40, 300, 16
FLOSSING_STEPS, FLOSSING_BLOCK = 500, 250
UPDATES, UPDATE_BLOCK = 1000, 100
RATE, CLIPNORM = 1e-3, 0.03


class InJax:
    """The job in JAX."""

    def __init__(self, weights):
        # Recurrent layer: kernel, recurrent kernel, bias; readout: kernel, bias.
        self.weights = [jnp.asarray(w) for w in weights]
        self.flossing_moments = self.moments = None
        random = np.random.default_rng(0).standard_normal((K, UNITS))
        self.frame = jnp.asarray(np.linalg.qr(random.T)[0], jnp.float32)
        self.floss_step = jax.jit(self._floss_step)
        self.update = jax.jit(self._update)

    @staticmethod
    def adam(weights, gradients, moments):
        number, first, second = moments
        number += 1
        rate = RATE * jnp.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, gradients, strict=True)]
        weights = [
            w - rate * m / (jnp.sqrt(v) + 1e-7)
            for w, m, v in zip(weights, first, second, strict=True)
        ]
        return weights, (number, first, second)

    def exponents(self, weights, x):
        kernel, recurrent, bias = weights

        def step(carry, x):
            state, frame = carry
            rates = jnp.tanh(state)
            pushed = recurrent.T @ ((1 - rates**2)[:, None] * frame)
            state = rates @ recurrent + x @ kernel + bias
            frame, r = jnp.linalg.qr(pushed)
            return (state, frame), jnp.log(jnp.abs(jnp.diag(r)))

        stretch = jax.lax.scan(step, (jnp.zeros(UNITS), self.frame), x)[1]
        return stretch[WARMUP:].mean(axis=0)

    def _floss_step(self, weights, moments, x):
        def loss(weights):
            return jnp.mean(self.exponents(weights, x) ** 2)

        value, gradients = jax.value_and_grad(loss)(weights[:3])
        moved, moments = self.adam(weights[:3], gradients, moments)
        return [*moved, *weights[3:]], moments, value

    def _update(self, weights, moments, x, y, counted):
        def loss(weights):
            kernel, recurrent, bias, readout, readout_bias = weights

            def step(state, x):
                state = jnp.tanh(state) @ recurrent + x @ kernel + bias
                return state, state

            start = jnp.zeros((BATCH, UNITS))
            states = jax.lax.scan(step, start, x.swapaxes(0, 1))[1].swapaxes(0, 1)
            logits = states @ readout + readout_bias
            each = (
                jnp.maximum(logits, 0) - logits * y + jnp.log1p(jnp.exp(-jnp.abs(logits)))
            )
            right = (logits > 0) == (y > 0.5)
            accuracy = jnp.sum(right[..., 0] * counted) / jnp.sum(counted)
            return jnp.mean(each[..., 0] * counted), accuracy

        (_, accuracy), gradients = jax.value_and_grad(loss, has_aux=True)(weights)
        norms = [jnp.sqrt(jnp.sum(g**2)) for g in gradients]
        gradients = [
            g * jnp.minimum(1.0, CLIPNORM / jnp.maximum(n, 1e-30))
            for g, n in zip(gradients, norms, strict=True)
        ]
        weights, moments = self.adam(weights, gradients, moments)
        return weights, moments, accuracy

    def fresh(self, weights):
        return (
            0.0,
            [jnp.zeros_like(w) for w in weights],
            [jnp.zeros_like(w) for w in weights],
        )

    def floss(self, sequences):
        moments = self.flossing_moments or self.fresh(self.weights[:3])
        for x in sequences:
            self.weights, moments, loss = self.floss_step(self.weights, moments, x[:WINDOW])
        self.flossing_moments = moments
        return float(loss)

    def train(self, batches):
        moments, accuracies = self.moments or self.fresh(self.weights), []
        for x, y, counted in batches:
            self.weights, moments, accuracy = self.update(
                self.weights, moments, x, y, counted
            )
            accuracies.append(accuracy)
        self.moments = moments
        return float(np.mean(accuracies))


class InKerasFloss:
    """The job with this package."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((None, 1))
        states = keras_floss.layers.RateRNN(UNITS, return_sequences=True)(inputs)
        normal = keras.initializers.RandomNormal(stddev=1.0)
        outputs = keras.layers.Dense(1, kernel_initializer=normal)(states)
        self.model = keras_floss.FlossingModel(inputs, outputs)
        self.model.compile(
            keras.optimizers.Adam(RATE, clipnorm=CLIPNORM),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            weighted_metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
            flossing_optimizer=keras.optimizers.Adam(RATE),
            jit_compile=True,
            steps_per_execution=10,
        )

    def floss(self, sequences):
        data = tf.data.Dataset.from_tensor_slices(sequences).batch(1)
        settings = {"window": WINDOW, "k": K, "warmup": WARMUP, "qr_interval": "auto"}
        settings |= {"batch_size": 1, "seed": 0}
        # As in the paper: no target but 0, nothing damped, all steps.
        settings |= {"target": 0.0, "damping": 0.0, "tolerance": 0.0}
        logs = self.model.floss(data, len(sequences), verbose=0, **settings).history
        return logs["flossing_loss"][-1]

    def train(self, batches):
        parts = tuple(map(np.stack, zip(*batches, strict=True)))
        options = tf.data.Options()
        # Or TensorFlow waits up to seconds for the thread that tunes it when `fit` is done.
        options.autotune.enabled = False
        data = tf.data.Dataset.from_tensor_slices(parts).with_options(options)
        return self.model.fit(data, verbose=0).history["accuracy"][0]


def main():
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    data = keras_floss.tasks.delayed_copy(DELAY, LENGTH, batch_size=BATCH, seed=0)
    batches = [
        tuple(np.asarray(part, "float32") for part in batch)
        for batch in data.take(UPDATES).as_numpy_iterator()
    ]
    sequences = np.concatenate([x for x, _, _ in batches])[:FLOSSING_STEPS]
    ours = InKerasFloss()
    sides = {"JAX": InJax(ours.model.get_weights()), "keras_floss": ours}
    seconds = {name: {"flossing": [], "training": []} for name in sides}
    results = {name: {} for name in sides}
    work = [("flossing", "floss", sequences, FLOSSING_BLOCK)]
    work.append(("training", "train", batches, UPDATE_BLOCK))
    for part, method, items, block in work:
        for at in range(0, len(items), block):
            for name, side in sides.items():
                start = time.perf_counter()
                results[name][part] = getattr(side, method)(items[at : at + block])
                seconds[name][part].append(time.perf_counter() - start)
    for name in sides:
        flossing, training = seconds[name]["flossing"], seconds[name]["training"]
        step = 1e3 * np.mean(flossing[1:]) / FLOSSING_BLOCK
        update = 1e3 * np.mean(training[1:]) / UPDATE_BLOCK
        print(name)
        loss, accuracy = results[name]["flossing"], results[name]["training"]
        print(f"  flossing {sum(flossing):6.1f} s, loss {loss:.4f}; ", end="")
        print(f"{step:.1f} ms a step after the first {FLOSSING_BLOCK}")
        print(f"  training {sum(training):6.1f} s, accuracy {accuracy:.3f}; ", end="")
        print(f"{update:.1f} ms an update after the first {UPDATE_BLOCK}")
    total = {name: sum(map(sum, parts.values())) for name, parts in seconds.items()}
    ratio = total["keras_floss"] / total["JAX"]
    steps = {name: np.mean(parts["flossing"][1:]) for name, parts in seconds.items()}
    print(f"keras_floss / JAX: the job {ratio:.2f}, ", end="")
    print(f"a flossing step {steps['keras_floss'] / steps['JAX']:.2f}")


if __name__ == "__main__":
    main()
