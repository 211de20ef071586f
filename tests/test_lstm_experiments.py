"""The tasks and methods of the h-detach paper on the command line."""

import csv
import re

import keras
import numpy as np
import pytest

from keras_floss.cli import main
from keras_floss.experiments import Configuration, run
from keras_floss.experiments.compare import table
from keras_floss.experiments.network import RECURRENT, build
from keras_floss.experiments.problems import TASKS
from keras_floss.layers import HDetachLSTM, RateRNN

SMALL = {
    "units": 6,
    "batch_size": 4,
    "updates": 2,
    "flossing_steps": 2,
    "k": 6,
    "window": 12,
    "warmup": 2,
}


def test_a_task_brings_its_own_defaults_and_a_knob_overrides_them():
    copying = Configuration.of("copying")
    assert (copying.units, copying.batch_size, copying.delay) == (128, 100, 10)
    assert (copying.clip, copying.clipnorm) == ("global", 1.0)
    assert Configuration.of("copying", units=7, k=5).units == 7
    assert Configuration.of("delayed-copy") == Configuration()


@pytest.mark.parametrize(
    ("method", "layer", "detach"),
    [
        ("none", RateRNN, None),
        ("lstm", keras.layers.LSTM, None),
        ("preflossed-lstm", keras.layers.LSTM, None),
        ("h-detach", HDetachLSTM, "h"),
        ("both", HDetachLSTM, "h"),
        ("c-detach", HDetachLSTM, "c"),
    ],
)
def test_each_method_has_its_network(method, layer, detach):
    configuration = Configuration.of("copying", method=method, detach_rate=0.5, **SMALL)
    model = build(configuration)
    recurrent = model.model.get_layer(RECURRENT)
    assert type(recurrent) is layer
    if detach:
        assert recurrent.cell.detach == detach
        assert recurrent.detach_rate.numpy() == 0.5
    assert model.optimizer.global_clipnorm == 1.0
    assert model.optimizer.clipnorm is None


def test_the_methods_start_from_the_same_weights():
    first, *others = (
        build(Configuration.of("digits", method=m, **SMALL)).get_weights()
        for m in ("lstm", "h-detach", "both")
    )
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_only_what_is_to_be_flossed_is_flossed():
    plain = run(Configuration.of("copying", method="h-detach", **SMALL), verbose=0)
    assert not plain.flossing
    np.testing.assert_array_equal(plain.spectra["initial"], plain.spectra["flossed"])
    both = run(Configuration.of("copying", method="both", **SMALL), verbose=0)
    assert len(both.flossing["flossing_loss"]) == SMALL["flossing_steps"]
    np.testing.assert_array_equal(plain.spectra["initial"], both.spectra["initial"])
    assert np.any(both.spectra["initial"] != both.spectra["flossed"])


@pytest.mark.slow
def test_digits_are_judged_on_images_that_were_not_trained_on():
    pytest.importorskip("sklearn")
    configuration = Configuration.of("digits", method="lstm", **SMALL)
    result = run(configuration, verbose=0)
    x, y = TASKS["digits"].test()
    guesses = np.argmax(result.model.predict(x, verbose=0), axis=-1)
    assert result.measure == result.history["test_accuracy"][-1]
    np.testing.assert_allclose(result.measure, np.mean(guesses == y), rtol=1e-6)
    seen = next(iter(configuration.data()))[0].numpy().reshape(4, -1)
    assert not (seen[:, None] == x.reshape(1, len(x), -1)).all(axis=-1).any()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["adding", "permuted-digits"])
def test_train_on_the_other_tasks(task, tmp_path, capsys):
    pytest.importorskip("sklearn")
    knobs = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    flags = [*knobs, "--length=20", "--method=both", f"--output={tmp_path}"]
    assert main(["train", f"--task={task}", *flags]) == 0
    with open(tmp_path / "history.csv", newline="") as file:
        value = float(list(csv.DictReader(file))[-1][TASKS[task].measure])
    assert f"\n{TASKS[task].label} {value:.3f} after 2 updates" in capsys.readouterr().out


def test_the_table_says_how_many_updates_a_threshold_took():
    configuration = Configuration.of("copying", updates=200)
    runs = {
        "lstm": [[0.1, 0.4, 0.49, 0.5], [0.1, 0.95, 0.6, 0.92]],
        "h-detach": [[0.1, 0.2, 0.3, 0.4]] * 2,
    }
    histories = {
        method: [
            {
                "update": [50, 100, 150, 200],
                "accuracy": values,
                "flossing_steps": 0,
                "seconds": 1.0,
            }
            for values in each
        ]
        for method, each in runs.items()
    }
    head, lstm, h_detach, note = table(configuration, histories).splitlines()
    assert re.search("updates to 0.5 +updates to 0.9", head)
    assert re.search("lstm +0.500 +0.920 +0.710 +200, 100 +–, 100 ", lstm)
    assert re.search("h-detach .* –, – +–, – ", h_detach)
    assert "copying, delay 10, 200 updates" in note


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--method=lstm", "--detach-rate=1.5"], "`detach_rate`"),
        (["--method=both", "--k=257"], "`k` must be at most 256"),
        (["--method=both", "--delay=5"], "`window` must be at most 25"),
        (["--clip=all"], "--clip"),
        (["--xla=maybe"], "--xla"),
    ],
)
def test_bad_flags_are_named(flags, named, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--task=copying", *flags])
    assert stop.value.code == 2
    assert named in capsys.readouterr().err


def test_help_says_which_task_has_another_default(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: 40; copying: 10)" in text


def test_without_mnist_another_task_is_named(monkeypatch, capsys):
    def fail(*_):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(SystemExit) as stop:
        main(["train", "--task=mnist", "--method=lstm"])
    assert stop.value.code == 2
    assert "--task digits" in capsys.readouterr().err
