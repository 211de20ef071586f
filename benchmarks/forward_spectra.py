"""Question: how fast are exponents alone, without a gradient, beside other packages?

First the spectra of tanh networks that nothing drives, s' = tanh(W s), as plain functions,
one orbit: milliseconds a call, and those of the first call. lyapax (`lax.scan` over `jvp`
and LAPACK's QR, under `jit`) is the measure, 1.00; chaotax cannot be put under `jit` whole,
so that it traces at each call. Both have a QR at every step; keras_floss has one where it
is needed, which is `qr_interval="auto"`, its default, and at every step in its last row.

Then known systems in float64, as steps per second: the Hénon map, Lorenz's equations by
Runge and Kutta's method in steps of 0.01, and a ring of 16 logistic maps, 1 orbit and 1,024
side by side. pynamicalsys is compiled by Numba, with Jacobians by hand, and does one orbit
after the other. All exponents are compared.

Run: pip install -e ".[bench,peers]" && python benchmarks/forward_spectra.py [--rounds 5]
"""

import argparse
import functools
import os
import statistics
import time

THREADS = 2
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)

import chaotax._lyapunov as chaotax  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import lyapax  # noqa: E402
import numba  # noqa: E402
import numpy as np  # noqa: E402
import pynamicalsys  # noqa: E402
import tensorflow as tf  # noqa: E402

import keras_floss  # noqa: E402

# (units, exponents, steps), the sizes of peers.py
NETWORKS = [(80, 75, 300), (80, 75, 55), (64, 8, 200), (64, 16, 100), (128, 32, 120)]
CALLS = 10  # of those that take less than 10 ms, one after the other
ORBITS = {1: 20_000, 1024: 200}  # and how many steps of each
MAPS, COUPLING = 16, 0.1


def by_lyapax(step, start, k, steps):
    """Exponents of each orbit of `(orbits, d)`."""

    def one(state):
        found = lyapax.lyapunov_spectrum(step, state, dt=1.0, n_steps=steps, k=k)
        return found.exponents

    run = jax.jit(jax.vmap(one))
    return lambda: np.asarray(run(start))


def by_chaotax(step, start, k, steps):
    """The same."""
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((start.shape[1], k)))[0]
    growth = chaotax.rollout_growth_spectrum(step, steps)
    frame = jnp.asarray(frame.T.astype(start.dtype))
    return lambda: np.stack(
        [np.log(np.abs(growth(jnp.asarray(state), frame))).mean(0) for state in start]
    )


def by_keras_floss(step, start, k, steps, jit_compile, alone="auto", qr_interval="auto"):
    """The same."""
    start = tf.constant(start)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run(start):
        return keras_floss.lyapunov_exponents(
            step,
            steps,
            k,
            initial_state=start,
            qr_interval=qr_interval,
            jit_compile=alone,
        )

    return lambda: run(start).numpy()


def ways_of(step, start, k, steps):
    """Each package but pynamicalsys; `step(state, f)` computes with the functions of f."""
    in_jax = functools.partial(step, f=jnp)
    in_tensorflow = functools.partial(step, f=tf)
    ours = functools.partial(by_keras_floss, in_tensorflow, start, k, steps)
    return {
        "lyapax": by_lyapax(in_jax, start, k, steps),
        "keras_floss, graph": ours(jit_compile=False, alone=False),
        "keras_floss, graph, compiled alone": ours(jit_compile=False, alone=True),
        "keras_floss, XLA": ours(jit_compile=True),
        "keras_floss, XLA, QR at every step": ours(jit_compile=True, qr_interval=1),
    }


def measure(ways, rounds, apart):
    """`(milliseconds of the first call, median of the others)` of each way."""
    first, wanted = {}, None
    for name, way in ways.items():
        start = time.perf_counter()
        found = np.sort(way(), axis=-1).mean(axis=0)
        first[name] = 1e3 * (time.perf_counter() - start)
        wanted = found if wanted is None else wanted
        if not np.abs(found - wanted).max() < apart:
            raise SystemExit(f"{name} finds {found}, lyapax {wanted}.")
    times, slow = {name: [] for name in ways}, {}
    for name, way in ways.items():
        start = time.perf_counter()
        way()
        slow[name] = 1e3 * (time.perf_counter() - start)
    for _ in range(rounds):
        for name, way in ways.items():
            # After another way, whose threads may still wait for work and whose program
            # and data are in the caches.
            way()
            for _ in range(CALLS if slow[name] < 10 else 1):
                start = time.perf_counter()
                way()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: (first[name], statistics.median(x)) for name, x in times.items()}


def network(state, f, weights):
    return f.tanh(state @ weights)


def networks(rounds):
    """The first table."""
    for units, k, steps in NETWORKS:
        rng = np.random.default_rng(0)
        weights = rng.standard_normal((units, units)) * 1.5 / np.sqrt(units)
        step = functools.partial(network, weights=weights.astype("float32"))
        start = rng.standard_normal((1, units)).astype("float32")
        ways = ways_of(step, start, k, steps)
        ways["chaotax"] = by_chaotax(functools.partial(step, f=jnp), start, k, steps)
        found = measure(ways, rounds, apart=0.3)  # frames start elsewhere
        print(f"\n{units} units, {k} exponents, {steps} steps")
        for name, (first, median) in found.items():
            ratio = median / found["lyapax"][1]
            print(f"  {name:34s} first {first:6.0f} ms  {median:7.1f} ms  {ratio:6.2f}")


def henon(state, f):
    x, y = state[..., 0], state[..., 1]
    return f.stack([1 - 1.4 * x**2 + y, 0.3 * x], -1)


def lorenz(state, f, dt=0.01):
    def rate(state):
        x, y, z = state[..., 0], state[..., 1], state[..., 2]
        return f.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], -1)

    a = rate(state)
    b = rate(state + dt / 2 * a)
    c = rate(state + dt / 2 * b)
    return state + dt / 6 * (a + 2 * b + 2 * c + rate(state + dt * c))


def ring(state, f):
    new = 4 * state * (1 - state)
    return (1 - COUPLING) * new + COUPLING / 2 * (f.roll(new, 1, -1) + f.roll(new, -1, -1))


@numba.njit
def ring_map(state, parameters):
    new = 4 * state * (1 - state)
    out = np.empty(MAPS)
    for i in range(MAPS):
        around = new[i - 1] + new[(i + 1) % MAPS]
        out[i] = (1 - COUPLING) * new[i] + COUPLING / 2 * around
    return out


@numba.njit
def ring_jacobian(state, parameters, *_):
    slope = 4 - 8 * state
    out = np.zeros((MAPS, MAPS))
    for i in range(MAPS):
        out[i, i] = (1 - COUPLING) * slope[i]
        out[i, i - 1] = COUPLING / 2 * slope[i - 1]
        out[i, (i + 1) % MAPS] = COUPLING / 2 * slope[(i + 1) % MAPS]
    return out


def in_numba(name, start, steps):
    """pynamicalsys, orbit after orbit; exponents are those of a step."""
    if name == "Lorenz":
        system = pynamicalsys.ContinuousDynamicalSystem(model="lorenz system")
        system.integrator("rk4", time_step=0.01)

        def one(state):
            return 0.01 * system.lyapunov(state, 0.01 * steps, parameters=[10, 28, 8 / 3])

    else:
        if name == "Hénon":
            system = pynamicalsys.DiscreteDynamicalSystem(model="henon map")
            parameters = [1.4, 0.3]
        else:
            system = pynamicalsys.DiscreteDynamicalSystem(
                mapping=ring_map,
                jacobian=ring_jacobian,
                system_dimension=MAPS,
                number_of_parameters=1,
            )
            parameters = [0.0]

        def one(state):
            return system.lyapunov(state, steps, parameters=parameters)

    return lambda: np.stack([one(state) for state in start])


def systems(rounds):
    """The second table."""
    rng = np.random.default_rng(0)
    starts = {
        "Hénon": (henon, lambda n: rng.uniform(0, 0.1, (n, 2))),
        "Lorenz": (lorenz, lambda n: rng.uniform(5, 6, (n, 3))),
        "ring": (ring, lambda n: rng.uniform(0.1, 0.9, (n, MAPS))),
    }
    for name, (step, draw) in starts.items():
        for orbits, steps in ORBITS.items():
            start = draw(orbits)
            ways = ways_of(step, start, start.shape[1], steps)
            ways["pynamicalsys"] = in_numba(name, start, steps)
            found = measure(ways, rounds, apart=0.05)
            print(f"\n{name}, {orbits} orbit(s) of {steps} steps")
            for way, (first, median) in found.items():
                rate = orbits * steps / median / 1e3
                print(f"  {way:34s} first {first:6.0f} ms  {rate:8.3f} million steps / s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    networks(rounds)
    jax.config.update("jax_enable_x64", True)
    systems(rounds)


if __name__ == "__main__":
    main()
