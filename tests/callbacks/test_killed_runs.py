"""A run that is killed outright, at any point, ends as the unbroken run does."""

import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_floss
from keras_floss import Flossing
from keras_floss.callbacks import PeriodicFlossing, Preflossing

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 8, 2)).astype("float32")
Y = RNG.standard_normal((10, 1)).astype("float32")


# Flossing ends after 9 steps of all sequences, whose loss falls from step to step.
TOLERANCE = 1.24


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


class KillInTraining(keras.callbacks.Callback):
    def __init__(self, updates):
        super().__init__()
        self.updates = updates

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.updates:
            kill()


class KillInFlossing(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.steps:
            kill()


class KilledPreflossing(Preflossing):
    kill_after = None

    def floss(self, steps=None, *, callbacks=(), **settings):
        callbacks = [*callbacks, KillInFlossing(self.kill_after)]
        return super().floss(steps, callbacks=callbacks, **settings)


def train(folder, kill_after="nothing", order="backup first", tolerance=0):
    """The training script: three epochs of five updates, flossed before 4, 8 and 12.

    Before training 12 steps are flossed, or less where a tolerance is reached.

    Returns weights, and the number of flossing steps of this process: before and during
    training.
    """
    tolerance = float(tolerance)
    # The interval would begin anew where a run goes on.
    fixed = {"batch_size": 10 if tolerance else 1, "qr_interval": 1}
    fixed |= {"target": 0.0, "input_drive": 0.0}
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    outputs = keras.layers.Dense(1)(keras.layers.SimpleRNN(4)(inputs))
    model = keras_floss.FlossingModel(inputs, outputs)
    # Steps large enough that one too many or too few would show.
    optimizer = keras.optimizers.Adam(0.01)
    model.compile(keras.optimizers.Adam(0.01), "mse", flossing_optimizer=optimizer)

    what, _, number = kill_after.partition(" ")
    before = (KilledPreflossing if what == "flossing" else Preflossing)(
        X, steps=12, save_freq=5, seed=1, tolerance=tolerance, **fixed
    )
    before.kill_after = int(number or 0)
    periodic = PeriodicFlossing(
        X, every=4, steps=2, flossing=Flossing(seed=1, tolerance=0, **fixed)
    )
    backup = keras.callbacks.BackupAndRestore(folder, save_freq="epoch")
    callbacks = [backup, before] if order == "backup first" else [before, backup]
    callbacks += [periodic]
    if what == "updates":
        callbacks.append(KillInTraining(int(number)))
    data = {"batch_size": 2, "shuffle": False, "verbose": 0, "epochs": 3}
    model.fit(X, Y, callbacks=callbacks, **data)
    histories = [[before.history] if before.history else [], periodic.history]
    steps = [sum(len(h.history["flossing_loss"]) for h in each) for each in histories]
    return model.get_weights(), steps


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    weights, steps = train(tmp_path_factory.mktemp("unbroken"))
    assert steps == [12, 6]
    return weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill_after", "order", "steps"),
    [
        # Saved after 5 and 10 steps.
        ("flossing 8", "backup last", [7, 6]),
        ("updates 0", "backup first", [0, 6]),
        # Epochs end after 5 and 10 updates, and flossing is at 4, 8 and 12.
        ("updates 9", "backup last", [0, 4]),
        ("updates 10", "backup first", [0, 2]),
    ],
)
def test_a_killed_run_ends_as_the_unbroken_one(
    kill_after, order, steps, unbroken, tmp_path
):
    arguments = [sys.executable, __file__, tmp_path, kill_after, order]
    killed = subprocess.run(arguments, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert list(pathlib.Path(tmp_path).iterdir())
    weights, taken = train(tmp_path, order=order)
    assert taken == steps
    for ours, theirs in zip(weights, unbroken, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("kill_after", "steps"), [("flossing 6", 4), ("updates 2", 0)])
def test_what_ended_early_is_not_flossed_again(kill_after, steps, tmp_path):
    weights, taken = train(tmp_path / "unbroken", tolerance=TOLERANCE)
    assert taken == [9, 6]
    folder = tmp_path / "killed"
    arguments = [sys.executable, __file__, folder, kill_after, "backup first", TOLERANCE]
    killed = subprocess.run(list(map(str, arguments)), timeout=300)
    assert killed.returncode == -signal.SIGKILL
    ours, taken = train(folder, tolerance=TOLERANCE)
    assert taken == [steps, 6]
    for one, other in zip(ours, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


if __name__ == "__main__":
    train(*sys.argv[1:])
