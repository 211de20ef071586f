"""Claim: intervals of 95 % from `lyapunov_statistics` hold the exponent, or are warned of.

For each system, over many independent runs: the share whose interval (the exponent and
Student's t times its standard error) holds what all of them estimate; the standard error
over the spread of the exponents between the runs; the mean degrees of freedom; the share
that is warned of as too short. Stretches of a known memory are those of a linear map of one
state, whose factor is the exponential of an autoregressive series. Exits with 1 when at
5000 steps a share is below what is wanted and the runs are not warned of.

Run: python benchmarks/standard_errors.py [--runs 500] [--steps 5000 300]
"""

import argparse
import sys
import warnings

import keras
import numpy as np
from scipy import stats

import keras_floss


def autoregressive(rho):
    """Stretches x' = ρ x + noise."""

    def system(runs, steps):
        rng = np.random.default_rng(0)
        x = rng.standard_normal(runs) / np.sqrt(1 - rho**2)
        series = np.empty((runs, steps, 1))
        for t in range(steps):
            series[:, t, 0] = x
            x = rho * x + rng.standard_normal(runs)
        # At the state 0 the factor of each step is its Jacobian, and nothing grows.
        step = lambda state, x: keras.ops.exp(x) * state  # noqa: E731
        return step, series, {"initial_state": np.zeros((runs, 1))}, [0.0]

    return system


def logistic(runs, steps):
    """x' = 4 x (1 − x)."""
    step = lambda x: 4 * x * (1 - x)  # noqa: E731
    start = np.random.default_rng(0).uniform(0.1, 0.9, (runs, 1))
    return step, steps + 100, {"initial_state": start, "warmup": 100}, [np.log(2)]


def henon(runs, steps):
    """x' = 1 − 1.4 x² + y, y' = 0.3 x."""

    def step(state):
        x, y = keras.ops.unstack(state, axis=-1)
        return keras.ops.stack([1 - 1.4 * x**2 + y, 0.3 * x], axis=-1)

    start = 0.1 + 0.1 * np.random.default_rng(0).random((runs, 2))
    return step, steps + 200, {"initial_state": start, "warmup": 200}, None


def tanh_network(runs, steps):
    """A SimpleRNN of 16 units, each run with an input of its own."""
    rng = np.random.default_rng(0)
    layer = keras.layers.SimpleRNN(16, dtype="float64")
    layer.build((None, None, 1))
    recurrent = 1.5 * rng.standard_normal((16, 16)) / 4
    layer.set_weights([rng.standard_normal((1, 16)), recurrent, np.zeros(16)])
    inputs = rng.standard_normal((runs, steps + 200, 1))
    return layer, inputs, {"k": 2, "warmup": 200}, None


# Each with the least share that is wanted of 5000 steps.
SYSTEMS = {
    "independent": (autoregressive(0.0), 0.90),
    "AR(1), ρ = 0.9": (autoregressive(0.9), 0.90),
    "AR(1), ρ = 0.99": (autoregressive(0.99), 0.88),
    "AR(1), ρ = −0.9": (autoregressive(-0.9), 0.90),
    "Hénon map": (henon, 0.90),
    "driven tanh network": (tanh_network, 0.90),
    "logistic map, r = 4": (logistic, 0.90),
}


def measure(system, runs, steps):
    """Coverage, error over spread, degrees of freedom: each `(k,)`; share warned of."""
    rnn, inputs, options, truth = system(runs, steps)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        statistics = keras_floss.lyapunov_statistics(rnn, inputs, **options)
    exponents, error = statistics.exponents, statistics.standard_error
    freedom = statistics.degrees_of_freedom
    truth = exponents.mean(axis=0) if truth is None else truth
    inside = np.abs(exponents - truth) < stats.t.ppf(0.975, freedom) * error
    spread = exponents.std(axis=0, ddof=1)
    ratio = np.sqrt(np.mean(error**2, axis=0)) / spread
    # "12 of 500 standard errors …"
    messages = [str(w.message) for w in caught if "standard errors" in str(w.message)]
    warned = sum(int(m.split()[0]) for m in messages) / error.size
    return inside.mean(axis=0), ratio, freedom.mean(axis=0), warned


def main():
    """Prints the table; returns 0 where every share is as wanted, or warned of."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--steps", type=int, nargs="+", default=[5000, 300])
    arguments = parser.parse_args()
    print("| system | steps | inside | error / spread | degrees of freedom | warned of |")
    print("| --- | --- | --- | --- | --- | --- |")
    good = True
    for name, (system, wanted) in SYSTEMS.items():
        for steps in arguments.steps:
            inside, ratio, freedom, warned = measure(system, arguments.runs, steps)
            good = good and (steps < 5000 or inside.min() >= wanted or warned > 0.9)
            cells = [
                ", ".join(f"{value:.{digits}f}" for value in values)
                for values, digits in ((inside, 3), (ratio, 2), (freedom, 1))
            ]
            print(f"| {name} | {steps} | {' | '.join(cells)} | {warned:.1%} |", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
