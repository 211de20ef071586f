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
import multiprocessing
import statistics
import time

SHAPES = [("tanh", 1, 300, 1024, 64), ("LSTM", 1, 500, 512, 64)]
WINDOWS = [
    ("tanh", batch, 55, units, 64) for units in (128, 1024) for batch in (1, 2, 4, 8)
]
WAYS = (
    "JAX",
    "keras_floss, graph",
    "keras_floss, XLA",
    "QR",
    "products",
    "LAPACK and BLAS",
)


def arguments(kind, batch, steps, units, k):
    """Weights, inputs and a frame."""
    import numpy as np

    rng = np.random.default_rng(0)
    gates, states = (4, 2) if kind == "LSTM" else (1, 1)
    weights = [
        rng.standard_normal((1, gates * units)),
        rng.standard_normal((units, gates * units)) / np.sqrt(units),
        np.zeros(gates * units),
    ]
    weights = [w.astype("float32") for w in weights]
    inputs = rng.standard_normal((batch, steps, 1)).astype("float32")
    random = np.random.default_rng(0).standard_normal((k, states * units))
    return weights, inputs, np.linalg.qr(random.T)[0].astype("float32")


def parts(kind, batch, steps, units, k):
    """The QRs alone, and the products with the recurrent weights alone."""
    import numpy as np

    rng = np.random.default_rng(0)
    gates, states = (4, 2) if kind == "LSTM" else (1, 1)
    recurrent = rng.standard_normal((units, gates * units)).astype("float32")
    frame = rng.standard_normal((batch, units, k)).astype("float32")
    wide = rng.standard_normal((batch, gates * units, k)).astype("float32")
    pushed = rng.standard_normal((batch, states * units, k)).astype("float32")

    def qr():
        for _ in range(steps):
            np.linalg.qr(pushed)

    def products():
        for _ in range(steps):
            recurrent.T @ frame  # forward
            recurrent @ wide  # the cotangents of the tangents
            wide @ frame.swapaxes(-1, -2)  # and of the weights

    return {"QR": qr, "products": products}


def megabytes(name):
    """An entry of /proc/self/status in MiB."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith(name))
    return int(line.split()[1]) / 1024


def measure(results, way, shape, rounds):
    """Puts `(median seconds, MiB, loss)` of a way into a queue."""
    import peers

    peers.limit_threads()
    weights, inputs, frame = arguments(*shape)
    kind, k = shape[0], shape[-1]
    if way == "JAX":
        call = peers.in_jax(peers.STEPS[kind], weights, inputs, frame)
    elif way.startswith("keras_floss"):
        call = peers.in_keras_floss(
            peers.LAYERS[kind], weights, inputs, k, way.endswith("XLA")
        )
    elif way == "LAPACK and BLAS":
        call = peers.in_lapack(*shape)
    else:
        call = parts(*shape)[way]
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # forget the peak
    before = megabytes("VmRSS")
    found = call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    loss = None if found is None else float(found[0])
    results.put((statistics.median(times), megabytes("VmHWM") - before, loss))


def alone(*arguments):
    """`measure` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(results, *arguments))
    process.start()
    found = results.get(timeout=600)
    process.join()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    for shape in SHAPES:
        kind, _, steps, units, k = shape
        print(f"\n{kind}, {units} units, {k} exponents, {steps} steps")
        found = {way: alone(way, shape, rounds) for way in WAYS}
        base, _, wanted = found["JAX"]
        for way, (seconds, memory, loss) in found.items():
            if loss is not None and not abs(loss - wanted) < 0.01 * wanted:
                raise SystemExit(f"{way} has the loss {loss}, JAX {wanted}.")
            print(f"  {way:20s} {seconds:7.2f} s {seconds / base:6.2f} {memory:7.0f} MiB")
    for shape in WINDOWS:
        _, batch, steps, units, k = shape
        seconds, _, _ = alone("keras_floss, XLA", shape, rounds)
        if batch == 1:
            print(f"\ntanh, {units} units, {k} exponents, windows of {steps} steps")
            one = seconds
        ratio = seconds / (batch * one)
        print(
            f"  {batch} in one call {1e3 * seconds:7.0f} ms, {ratio:5.2f} of as many calls"
        )


if __name__ == "__main__":
    main()
