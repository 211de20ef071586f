"""The command line, as a user meets it."""

import csv
import json

import numpy as np
import pytest

from keras_floss import plots
from keras_floss.cli import main
from keras_floss.experiments import Configuration
from keras_floss.experiments.demo import PICTURE, demo
from keras_floss.experiments.run import build, run

SMALL = {
    "delay": 3,
    "length": 20,
    "units": 8,
    "batch_size": 4,
    "updates": 20,
    "flossing_steps": 5,
    "window": 10,
    "k": 4,
    "warmup": 2,
}
SMALL_FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]


def test_help_lists_the_commands_and_the_knobs(capsys):
    for arguments, words in (
        (["--help"], ("demo", "train")),
        (["train", "--help"], ("--delay", "--flossing-steps", "temporal-xor", "default")),
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        output = capsys.readouterr().out
        assert all(word in output for word in words)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--k=81"], "`k`"),
        (["--window=301"], "`window`"),
        (["--warmup=55"], "`warmup`"),
        (["--qr-interval=0"], "`qr_interval`"),
        (["--delay=300"], "`delay`"),
        (["--delay=5", "--task=temporal-xor"], "`delay`"),
        (["--updates=120"], "`updates`"),
        (["--units=0"], "`units`"),
        (["--clipnorm=0"], "`clipnorm`"),
        (["--learning-rate=nan"], "`learning_rate`"),
        (["--flossing-steps=0"], "`flossing_steps`"),
        (["--flossing-every=0"], "`flossing_every`"),
        (["--method=magic"], "--method"),
        (["--delay=soon"], "--delay"),
    ],
)
def test_bad_flags_are_named_and_end_with_code_2(flags, named, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", *flags])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error


def test_train_writes_what_it_did(tmp_path, capsys):
    assert main(["train", *SMALL_FLAGS, f"--output={tmp_path}", "--seed=3"]) == 0
    assert str(tmp_path) in capsys.readouterr().out

    settings = json.loads((tmp_path / "configuration.json").read_text())
    configuration = Configuration(**settings)
    assert configuration == Configuration(**SMALL, seed=3)

    with open(tmp_path / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["update"] for row in rows] == ["20"]
    assert 0 <= float(rows[0]["accuracy"]) <= 1

    with open(tmp_path / "flossing.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert all(float(row["flossing_loss"]) > 0 for row in rows)

    model = build(configuration)
    before = model.get_weights()
    model.load_weights(tmp_path / "model.weights.h5")
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_run_repeats_itself_and_methods_start_alike():
    first, again = (run(Configuration(**SMALL), verbose=0) for _ in range(2))
    assert first.history == again.history
    assert first.flossing == again.flossing
    plain = run(Configuration(**SMALL, method="none"), verbose=0)
    assert not plain.flossing
    np.testing.assert_array_equal(plain.spectra["initial"], first.spectra["initial"])
    np.testing.assert_array_equal(plain.spectra["initial"], plain.spectra["flossed"])
    assert np.any(first.spectra["initial"] != first.spectra["flossed"])


def test_periodic_flosses_before_and_during():
    during = {"updates": 100, "flossing_every": 40, "flossing_times": 2}
    result = run(Configuration(**{**SMALL, **during}, method="periodic"), verbose=0)
    assert len(result.flossing["flossing_loss"]) == 3 * SMALL["flossing_steps"]


def test_demo_without_matplotlib_says_so_before_it_works(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(SystemExit) as stop:
        main(["demo"])
    assert stop.value.code == 2
    assert "keras-floss[plots]" in capsys.readouterr().err
    with pytest.raises(ImportError, match="plots"):
        plots.figure()


@pytest.mark.slow
def test_demo_learns_only_what_is_flossed(tmp_path, capsys):
    plain, flossed = demo(tmp_path, verbose=2)
    assert plain.measure < 0.6
    assert flossed.measure > 0.95
    assert plain.history["update"] == flossed.history["update"]
    assert 400 <= flossed.history["update"][-1] <= 1000
    # A spectrum moved to zero: the flossed exponents, not the others.
    before, after = flossed.spectra["initial"], flossed.spectra["flossed"]
    assert np.mean(after[:75] ** 2) < 0.05 * np.mean(before[:75] ** 2)
    output = capsys.readouterr().out
    assert f"{flossed.measure:.3f}" in output
    assert str(tmp_path / PICTURE) in output
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
