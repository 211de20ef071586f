"""On two devices flossing is what it is on one, on the two parts joined.

Keras splits a batch between the replicas of a MirroredStrategy, and flossing takes the
first `batch_size` sequences of each part: two of each part are four of the whole.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_floss
from keras_floss import Flossing
from keras_floss.callbacks import (
    AdaptiveFlossing,
    LyapunovMonitor,
    PeriodicFlossing,
    Preflossing,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 8, 2)).astype("float32")
Y = RNG.standard_normal((12, 1)).astype("float32")
FLOSSING = Flossing(k=2, warmup=1)
SETTINGS = {"flossing": FLOSSING, "verbose": 0}


def batches(x=X):
    return tf.data.Dataset.from_tensor_slices(x).batch(4)


# The scope of the strategy that models are made in.
scope = contextlib.nullcontext


def make(**settings):
    keras.utils.set_random_seed(0)
    with scope():
        inputs = keras.Input((8, 2))
        outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(3, name="rnn")(inputs))
        model = keras_floss.FlossingModel(inputs, outputs, **settings)
        # Not Adam for the task, which makes a large step of a rounding error.
        task, flossing = keras.optimizers.SGD(0.05), keras.optimizers.Adam(0.01)
        model.compile(task, "mse", flossing_optimizer=flossing, jit_compile=False)
    return model


def fit(model, *callbacks, epochs=2):
    data = {"batch_size": 4, "shuffle": False, "verbose": 0, "epochs": epochs}
    return model.fit(X, Y, callbacks=list(callbacks), **data).history


def floss(batch_size):
    model = make()
    logs = model.floss(batches(), 5, batch_size=batch_size, **SETTINGS).history
    spectrum = model.lyapunov_spectrum(X, batch_size=4)["rnn"]
    return [*model.get_weights(), spectrum, *(logs[name] for name in sorted(logs))]


def auto_interval(batch_size):
    """Each device chooses its own intervals."""
    model = make()
    settings = {**SETTINGS, "batch_size": batch_size, "qr_interval": "auto"}
    logs = model.floss(batches(), 8, **settings).history
    return [*model.get_weights(), logs["flossing_loss"]]


def callbacks(batch_size):
    model = make()
    flossing = dataclasses.replace(FLOSSING, batch_size=batch_size)
    settings = {"flossing": flossing, "verbose": 0}
    before = Preflossing(batches(), steps=3, **settings)
    periodic = PeriodicFlossing(batches(), every=2, steps=2, **settings)
    fit(model, before, periodic)
    found = [before.history.history["flossing_loss"]]
    found += [h.history["flossing_loss"] for h in periodic.history]
    return [*found, *model.get_weights()]


def raced(batch_size):
    """Both halves of a batch are trained on, and so in the race."""
    model = make()
    flossing = dataclasses.replace(FLOSSING, batch_size=batch_size)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    before = Preflossing(data, 3, flossing=flossing, race_updates=30, verbose=0)
    fit(model, before)
    raced = re.search(
        r"In (\d+) updates each.* (\d\S+) flossed.* (\d\S+) as", before.history.message
    )
    return [[float(number) for number in raced.groups()], *model.get_weights()]


def adaptive(batch_size):
    model = make()
    flossing = dataclasses.replace(FLOSSING, batch_size=batch_size)
    settings = {"flossing": flossing, "verbose": 0}
    callback = AdaptiveFlossing(batches(), every=2, tolerance=0.01, steps=4, **settings)
    logs = fit(model, callback)
    return [*callback.looks.values(), logs["loss"], *model.get_weights()]


def joint(batch_size):
    flossing = dataclasses.replace(FLOSSING, batch_size=batch_size)
    model = make(strength=0.5, flossing=flossing)
    logs = fit(model)
    return [*(logs[name] for name in sorted(logs)), *model.get_weights()]


def monitor(batch_size):
    callback = LyapunovMonitor((X, Y), every=2, batch_size=4, flossing=FLOSSING)
    fit(make(), callback)
    return list(callback.history.values())


def regularizer(batch_size):
    keras.utils.set_random_seed(0)
    with scope():
        rnn = keras.layers.SimpleRNN(3)
        inputs = keras.Input((8, 2))
        flossing = dataclasses.replace(FLOSSING, batch_size=None)
        x = keras_floss.LyapunovRegularizer(rnn, 0.5, flossing)(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1)(x))
        model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    return [fit(model)["loss"], *model.get_weights()]


def non_finite(batch_size):
    """The second batch has a NaN, in the part of the first device."""
    x = X.copy()
    x[4] = np.nan
    model = make()
    logs = model.floss(batches(x), 5, batch_size=batch_size, **SETTINGS).history
    steps = model.flossing_optimizer.iterations.numpy()
    return [*model.get_weights(), logs["flossing_skipped"], steps]


def arrays(batch_size):
    """Arrays come in batches of `batch_size`, here one sequence for each device."""
    model = make()
    logs = model.floss(X[:2], 5, batch_size=2, **SETTINGS).history
    return [*model.get_weights(), logs["flossing_loss"]]


def defaults(batch_size):
    """Of arrays, one sequence: less than one for each device."""
    model = make()
    logs = model.floss(X[:1], 5, **SETTINGS).history
    return [*model.get_weights(), logs["flossing_loss"]]


CASES = {
    f.__name__: f
    for f in (
        floss,
        auto_interval,
        callbacks,
        raced,
        adaptive,
        joint,
        monitor,
        regularizer,
        non_finite,
        arrays,
        defaults,
    )
}


def results(folder, name, batch_size):
    try:
        found = CASES[name](batch_size)
        np.savez(folder / f"{name}.npz", *map(np.asarray, found))
    except Exception as error:
        (folder / f"{name}.txt").write_text(f"{type(error).__name__}: {error}")


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_devices")
    subprocess.run([sys.executable, __file__, folder], check=True, timeout=600)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_devices_do_what_one_does(name, two_devices):
    error = two_devices / f"{name}.txt"
    assert not error.exists(), error.read_text()
    results(two_devices / "one", name, 4)
    with (
        np.load(two_devices / f"{name}.npz") as two,
        np.load(two_devices / "one" / f"{name}.npz") as one,
    ):
        assert set(two.files) == set(one.files)
        for key in one.files:
            # The same float32 sums in another order.
            np.testing.assert_allclose(two[key], one[key], rtol=1e-4, atol=1e-5)


WORKER = """
import keras, numpy as np, tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
model.fit(np.ones((4, 2)), np.ones((4, 1)), batch_size=2, verbose=0)
"""


def free_ports(number):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.mark.slow
@pytest.mark.xfail(reason="keras#20585", strict=False)
def test_plain_keras_fits_with_two_workers():
    """Nothing of ours: as long as it does not, neither can flossing."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER], env={**os.environ, "TF_CONFIG": config}
            )
        )
    try:
        assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()


def main(folder):
    global scope
    device = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(device, two)
    (folder / "one").mkdir()
    # One for all: collective operations of a second one would meet those of the first.
    scope = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope
    for name in CASES:
        results(folder, name, 2)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
