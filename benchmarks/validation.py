"""Claim: the exponents of systems that others have measured come out right.

For each system: the exponents of the literature, or of an independent computation, and
ours with their standard error, by `keras_floss.lyapunov_statistics` on a plain function
or a Keras layer, in float64. Exits with 1 when a row is outside of its tolerance: four
standard errors, and half of the last published digit.

Run: python benchmarks/validation.py [SYSTEM ...]
"""

import argparse
import dataclasses
import sys

import keras
import numpy as np

import keras_floss

SEQUENCES, STEPS = 32, 10_000


@dataclasses.dataclass
class Row:
    """One system: `(name, source)`, expected and own exponents, and how near they are."""

    system: str
    source: str
    expected: np.ndarray
    exponents: np.ndarray
    error: np.ndarray
    tolerance: np.ndarray

    def line(self):
        """The row of a Markdown table, and whether it is inside its tolerance."""
        inside = np.abs(self.exponents - self.expected) <= self.tolerance
        digits = int(np.clip(np.ceil(-np.log10(self.tolerance.max())), 3, 12))

        def numbers(values):
            return ", ".join(f"{v:.{digits}f}" for v in values)

        error = f" ± {self.error.max():.0e}" if self.error.any() else ""
        verdict = "yes" if inside.all() else "NO"
        largest = np.abs(self.exponents - self.expected).max()
        cells = (
            self.system,
            self.source,
            numbers(self.expected),
            numbers(self.exponents) + error,
            f"{largest:.0e}",
            f"{self.tolerance.max():.0e}",
            verdict,
        )
        return f"| {' | '.join(cells)} |", inside.all()


HEADER = """\
| system | compared with | exponents there | ours | largest difference | allowed | inside |
| --- | --- | --- | --- | --- | --- | --- |"""


def published(system, source, step, start, expected, half_digit, unit=1.0, qr_interval=1):
    """A row for an autonomous map, from many starts near `start`."""
    noise = 0.01 * np.random.default_rng(0).random((SEQUENCES, len(start)))
    statistics = keras_floss.lyapunov_statistics(
        step, STEPS, initial_state=start + noise, warmup=1000, qr_interval=qr_interval
    )
    # Each start is a run of its own.
    runs = statistics.exponents / unit
    error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    tolerance = 4 * error + half_digit
    return Row(system, source, np.array(expected), runs.mean(axis=0), error, tolerance)


def henon():
    """x' = 1 − 1.4 x² + y, y' = 0.3 x."""

    def step(state):
        x, y = keras.ops.unstack(state, axis=-1)
        return keras.ops.stack([1 - 1.4 * x**2 + y, 0.3 * x], axis=-1)

    source = "Sprott, Chaos and Time-Series Analysis, 2003"
    start = np.array([0.1, 0.1])
    return published("Hénon map", source, step, start, [0.419, -1.623], 5e-4)


def logistic():
    """x' = 4 x (1 − x)."""
    source = "log 2, exact"
    step = lambda x: 4 * x * (1 - x)  # noqa: E731
    start = np.array([0.3])
    return published("logistic map, r = 4", source, step, start, [np.log(2)], 1e-4)


def lorenz():
    """Lorenz 63 with σ = 10, ρ = 28, β = 8/3; a Runge-Kutta step of 0.01 is the map."""
    h = 0.01

    def flow(state):
        x, y, z = keras.ops.unstack(state, axis=-1)
        slope = [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]
        return keras.ops.stack(slope, axis=-1)

    def step(s):
        k1 = flow(s)
        k2 = flow(s + h / 2 * k1)
        k3 = flow(s + h / 2 * k2)
        k4 = flow(s + h * k3)
        return s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return published(
        "Lorenz 63, per unit of time",
        "Sprott, Chaos and Time-Series Analysis, 2003",
        step,
        np.array([1.0, 1.0, 20.0]),
        [0.906, 0.0, -14.572],
        5e-4,
        unit=h,
        qr_interval=5,
    )


def cat():
    """Arnold's cat map: a linear map of the torus."""
    matrix = np.array([[2.0, 1.0], [1.0, 1.0]])
    step = lambda s: keras.ops.mod(s @ matrix, 1.0)  # noqa: E731
    exact = np.log((3 + np.sqrt(5)) / 2)
    return published(
        "Arnold's cat map",
        "±log((3 + √5)/2), exact",
        step,
        np.array([0.1, 0.2]),
        [exact, -exact],
        1e-9,
    )


def linear():
    """A linear SimpleRNN whose recurrent kernel has known eigenvalues."""
    rng = np.random.default_rng(3)
    basis = rng.standard_normal((5, 5))
    moduli = np.array([1.2, 0.9, 0.7, 0.5, 0.3])
    signs = np.array([1, -1, 1, 1, -1])
    layer = keras.layers.SimpleRNN(5, activation="linear", dtype="float64")
    layer.build((None, None, 1))
    layer.weights[1].assign(basis @ np.diag(signs * moduli) @ np.linalg.inv(basis))
    exponents = keras_floss.lyapunov_exponents(layer, np.zeros((1, 600, 1)), warmup=300)
    return Row(
        "linear SimpleRNN",
        "log of the moduli of the eigenvalues, exact",
        np.log(moduli),
        exponents[0].numpy(),
        np.zeros(5),
        np.full(5, 1e-9),
    )


def tanh_network():
    """A driven SimpleRNN of 16 units, against its definition in NumPy."""
    units, time, warmup, k = 16, 3000, 1000, 4
    rng = np.random.default_rng(0)
    layer = keras.layers.SimpleRNN(units, dtype="float64")
    layer.build((None, None, 1))
    kernel = rng.standard_normal((1, units))
    recurrent = rng.standard_normal((units, units)) / np.sqrt(units)
    bias = 0.1 * rng.standard_normal(units)
    layer.set_weights([kernel, recurrent, bias])
    inputs = rng.standard_normal((1, time, 1))
    exponents = keras_floss.lyapunov_exponents(layer, inputs, k, warmup=warmup)

    state, frame = np.zeros(units), np.linalg.qr(rng.standard_normal((units, k)))[0]
    total = np.zeros(k)
    for t in range(time):
        state = np.tanh(inputs[0, t] @ kernel + state @ recurrent + bias)
        frame, r = np.linalg.qr((1 - state**2)[:, None] * recurrent.T @ frame)
        total += np.log(np.abs(np.diag(r))) * (t >= warmup)
    return Row(
        "driven tanh network, 16 units, first 4",
        "the definition in NumPy, from another frame",
        total / (time - warmup),
        exponents[0].numpy(),
        np.zeros(k),
        # Gaps of 0.05 per step align any frame in 1000 steps, to rounding.
        np.full(k, 1e-9),
    )


SYSTEMS = {
    "henon": henon,
    "logistic": logistic,
    "lorenz": lorenz,
    "cat": cat,
    "linear": linear,
    "tanh-network": tanh_network,
}


def main():
    """Prints the table; returns 0 where every row is inside its tolerance."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=", ".join(SYSTEMS))
    chosen = parser.parse_args().systems or list(SYSTEMS)
    unknown = [name for name in chosen if name not in SYSTEMS]
    if unknown:
        parser.error(f"unknown system {unknown[0]}; there are: {', '.join(SYSTEMS)}")
    print(HEADER)
    good = True
    for name in chosen:
        line, inside = SYSTEMS[name]().line()
        good = good and inside
        print(line, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
