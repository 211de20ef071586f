"""Question: what does a wide network cost, beside JAX, and what takes the time?

The flossing loss of one sequence and its gradient, as in peers.py: a tanh network of 1,024
units with 64 exponents over 300 steps, and an LSTM of 512 units with 64 over 500. Each way
has a process of its own: the median of its seconds, and by how much its memory is more at
the peak than before the first call, which compiles. The parts are LAPACK's QRs, BLAS's
products with the recurrent weights, and both with the rest, each alone, from NumPy. Then
windows in one call beside as many calls: 1 to 8 sequences of 55 steps.

Run, on Linux: pip install -e ".[bench]" && python benchmarks/wide.py [--rounds 3]
"""

import argparse
import statistics
import time

import peers
from own_process import alone, forget_peak, megabytes

SHAPES = [("tanh", 1, 300, 1024, 64), ("LSTM", 1, 500, 512, 64)]
WINDOWS = [
    ("tanh", batch, 55, units, 64) for units in (128, 1024) for batch in (1, 2, 4, 8)
]
PARTS = {"QR": "QR", "products": "products", "LAPACK and BLAS": None}
WAYS = ("JAX", "keras_floss, graph", "keras_floss, XLA", *PARTS)


def measure(way, shape, rounds):
    """`(median seconds, MiB, loss)` of a way."""
    peers.limit_threads()
    weights, inputs, frame = peers.arguments(*shape)
    kind, k = shape[0], shape[-1]
    if way == "JAX":
        call = peers.in_jax(peers.STEPS[kind], weights, inputs, frame)
    elif way.startswith("keras_floss"):
        call = peers.in_keras_floss(
            peers.LAYERS[kind], weights, inputs, k, way.endswith("XLA")
        )
    else:
        call = peers.in_lapack(*shape, only=PARTS[way])
    forget_peak()
    before = megabytes("VmRSS")
    found = call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    loss = None if found is None else float(found[0])
    return statistics.median(times), megabytes("VmHWM") - before, loss


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    for shape in SHAPES:
        kind, _, steps, units, k = shape
        print(f"\n{kind}, {units} units, {k} exponents, {steps} steps")
        found = {way: alone(measure, way, shape, rounds) for way in WAYS}
        base, _, wanted = found["JAX"]
        for way, (seconds, memory, loss) in found.items():
            if loss is not None and not abs(loss - wanted) < 0.01 * wanted:
                raise SystemExit(f"{way} has the loss {loss}, JAX {wanted}.")
            print(f"  {way:20s} {seconds:7.2f} s {seconds / base:6.2f} {memory:7.0f} MiB")
    for shape in WINDOWS:
        _, batch, steps, units, k = shape
        seconds, _, _ = alone(measure, "keras_floss, XLA", shape, rounds)
        if batch == 1:
            print(f"\ntanh, {units} units, {k} exponents, windows of {steps} steps")
            one = seconds
        ratio = seconds / (batch * one)
        print(
            f"  {batch} in one call {1e3 * seconds:7.0f} ms, {ratio:5.2f} of as many calls"
        )


if __name__ == "__main__":
    main()
