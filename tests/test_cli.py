"""The command line, as a user meets it."""

import contextlib
import csv
import dataclasses
import io
import json
import re
import shutil
import sys

import keras
import numpy as np
import pytest
from cells import SLOW

from keras_floss import Flossing, plots
from keras_floss.experiments import Configuration
from keras_floss.experiments.demo import demo
from keras_floss.experiments.network import NETWORKS, XLA, build
from keras_floss.experiments.other_networks import OTHER_NETWORKS
from keras_floss.experiments.problems import TASKS
from keras_floss.experiments.run import Result, run
from keras_floss_command import files, knobs, tasks
from keras_floss_command.main import main

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
        (["--help"], ("demo", "train", "compare")),
        (["compare", "--help"], ("--arms", "--seeds", "--jobs", "--delay", "lstm+pre")),
        (
            ["train", "--help"],
            ("--network", "--flossing ", "--delay", "--window", "default"),
        ),
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
        (["--warmup=55", "--window=55"], "`warmup`"),
        (["--qr-interval=0"], "`qr_interval`"),
        (["--delay=300"], "`delay`"),
        (["--delay=5", "--task=temporal-xor"], "`delay`"),
        (["--updates=120"], "`updates`"),
        (["--units=0"], "`units`"),
        (["--clipnorm=0"], "`clipnorm`"),
        (["--learning-rate=nan"], "`learning_rate`"),
        (["--flossing-steps=0"], "`flossing_steps`"),
        (["--flossing-every=0"], "`flossing_every`"),
        (["--network=magic"], "--network"),
        (["--network=linear"], "`flossing`"),
        (["--flossing=magic"], "--flossing"),
        (["--delay=soon"], "--delay"),
        (["--units=10000000000000"], "`units`"),
        (["--units=1000000"], "`units`"),
        (["--batch-size=1000000000"], "`batch_size` and `length`"),
        (["--units=10000", "--batch-size=10000"], "`batch_size` and `steps`"),
        (["--length=1000000000"], "`length`"),
        (["--task=copying", "--network=lstm", "--delay=4000000000"], "`delay`"),
        (["--task=hierarchical-xor", "--levels=4000000000"], "`levels`"),
        (["--task=digits", "--network=lstm", "--batch-size=0"], "`batch_size`"),
        (["--flossing=none", "--window=-1"], "`window`"),
        (["--flossing=none", "--qr-interval=-1"], "`qr_interval`"),
        (["--updates=100000000000000000000000000000"], "`updates`"),
        ([f"--seed={'1' * 30}"], "`seed`"),
        (["--seed=-1"], "`seed`"),
        (["--learning-rate=1e300"], "`learning_rate`"),
        (["--clipnorm=1e-300"], "`clipnorm`"),
        (["--target=nan"], "`target`"),
        (["--warmup=soon"], "--warmup"),
        (["--strength=inf"], "`strength`"),
        (["--detach-rate=nan"], "`detach_rate`"),
    ],
    ids=str,
)
def test_bad_flags_are_named_and_end_with_code_2(flags, named, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", *flags])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error


def test_flossing_that_fails_ends_with_its_sentence(capsys):
    """A learning rate that float32 has, but with which no weight stays finite."""
    flags = ["--flossing-steps=20", "--flossing-optimizer=adam"]
    flags.append("--flossing-learning-rate=1e38")
    with pytest.raises(SystemExit) as stop:
        main(["train", *SMALL_FLAGS, *flags])
    assert stop.value.code == 2
    assert "10 " in capsys.readouterr().err.splitlines()[-1]


def test_what_the_flags_say_is_what_there_is():
    """The flags are made without the code that they belong to."""
    allowed = {f.name: f.metadata["allowed"] for f in dataclasses.fields(knobs.Knobs)}
    assert list(allowed["network"]) == [*NETWORKS, *OTHER_NETWORKS]
    assert list(allowed["xla"]) == list(XLA)
    assert list(allowed["task"]) == list(TASKS) == list(tasks.ARMS)
    settings = Flossing(target=0.0, open_gates=0.5)
    for name, (default, _) in knobs.SETTINGS.items():
        assert getattr(settings, name) == default


def no_work(*_, **__):
    raise AssertionError("worked before it knew whether it could write")


@pytest.mark.parametrize(
    ("command", "worker"),
    [
        (["train", "--output"], "keras_floss.cli.run"),
        (["compare", "--seeds=1", "--output"], "keras_floss.experiments.compare.run"),
        (["demo", "--output"], "keras_floss.experiments.demo.train"),
    ],
    ids=["train", "compare", "demo"],
)
@pytest.mark.parametrize("where", ["file", "file/folder", "\0"])
def test_where_nothing_can_be_written_is_said_before_the_work(
    command, worker, where, monkeypatch, tmp_path, capsys
):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(worker, no_work)
    with pytest.raises(SystemExit) as stop:
        main([*command[:-1], f"{command[-1]}={tmp_path / where}"])
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.partition("error: ")[2].splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "taken"),
    [
        ("train", "model.weights.h5"),
        ("compare", "comparison.png"),
        ("compare", "rate-rnn-0/result.json"),
        ("demo", files.DEMO),
    ],
)
def test_a_folder_where_a_file_is_to_go_is_named_before_the_work(
    command, taken, monkeypatch, tmp_path, capsys
):
    (tmp_path / taken).mkdir(parents=True)
    worker = {
        "train": "cli.run",
        "compare": "experiments.compare.run",
        "demo": "experiments.demo.train",
    }[command]
    monkeypatch.setattr(f"keras_floss.{worker}", no_work)
    with pytest.raises(SystemExit) as stop:
        main([command, f"--output={tmp_path}"])
    assert stop.value.code == 2
    assert str(tmp_path / taken) in capsys.readouterr().err


def test_train_leaves_nothing_there_of_another_run(tmp_path):
    (tmp_path / "flossing.csv").write_text("of a run that was flossed")
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["train", *SMALL_FLAGS, "--flossing=none", f"--output={tmp_path}"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    results = {"configuration.json", "history.csv", "model.weights.h5"}
    assert names == {"notes.txt", *results}


def test_train_writes_what_it_did(tmp_path, capsys):
    assert main(["train", *SMALL_FLAGS, f"--output={tmp_path}", "--seed=3"]) == 0
    assert str(tmp_path) in capsys.readouterr().out

    settings = json.loads((tmp_path / "configuration.json").read_text())
    flossing = Flossing(**settings.pop("settings"))
    configuration = Configuration(**settings, settings=flossing)
    assert configuration == Configuration.of(**SMALL, seed=3)

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


@pytest.mark.slow
def test_a_run_repeats_itself_and_arms_start_alike():
    first, again = (run(Configuration.of(**SMALL), verbose=0) for _ in range(2))
    assert first.history == again.history
    assert first.flossing == again.flossing
    plain = run(Configuration.of(**SMALL, flossing="none"), verbose=0)
    assert not plain.flossing
    np.testing.assert_array_equal(plain.spectra["initial"], first.spectra["initial"])
    np.testing.assert_array_equal(plain.spectra["initial"], plain.spectra["flossed"])
    assert np.any(first.spectra["initial"] != first.spectra["flossed"])


@pytest.mark.slow
def test_periodic_flosses_before_and_during():
    during = {"updates": 100, "flossing_every": 40, "flossing_times": 2}
    result = run(Configuration.of(**{**SMALL, **during}, flossing="periodic"), verbose=0)
    assert len(result.flossing["flossing_loss"]) == 3 * SMALL["flossing_steps"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "measure"),
    [
        (["--task=continuous-xor", "--delay=4"], "error"),
        (["--task=spatial-xor"], "accuracy"),
        (["--task=hierarchical-xor", "--levels=3", "--delay=8"], "accuracy"),
    ],
    ids=["continuous-xor", "spatial-xor", "hierarchical-xor"],
)
def test_train_on_the_other_tasks(flags, measure, tmp_path, capsys):
    small = [*SMALL_FLAGS, "--updates=2", "--flossing=none", f"--output={tmp_path}"]
    assert main(["train", *small, *flags]) == 0
    value = last(tmp_path, measure)
    assert f"\n{measure} {value:.3f} after 2 updates" in capsys.readouterr().out
    if measure == "error":
        # A mean of squares of outputs that are far from the targets in [0, 1).
        assert value > 0.1


def test_the_levels_must_divide_the_delay(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--task=hierarchical-xor", "--levels=3", "--delay=12"])
    assert re.search("`delay`.*multiple of 8.*12", capsys.readouterr().err)


def test_demo_without_matplotlib_says_so_before_it_works(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as stop:
        main(["demo"])
    assert stop.value.code == 2
    assert "keras-floss[plots]" in capsys.readouterr().err
    with pytest.raises(ImportError, match="plots"):
        plots.figure()


@pytest.mark.slow
def test_demo_says_and_draws_what_it_did(monkeypatch, tmp_path, capsys):
    for name, value in (("DELAY", 3), ("LENGTH", 24)):
        monkeypatch.setattr(f"keras_floss.experiments.demo.{name}", value)
    arms = demo(tmp_path, seeds=1, updates=2, units=8)
    output = capsys.readouterr().out
    assert list(arms) == ["SimpleRNN, flossed", "SimpleRNN", "LSTM"]
    for name, (arm,) in arms.items():
        assert arm.updates == [2]
        assert re.search(f"{re.escape(name)} +{arm.accuracy:.3f}", output)
        assert (arm.flossing_seconds > 0) == ("flossed" in name)
    assert [*arms["SimpleRNN, flossed"][0].spectra] == ["before flossing", "flossed"]
    assert str(tmp_path / files.DEMO) in output
    assert (tmp_path / files.DEMO).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_demo_learns_only_what_is_flossed(tmp_path):
    arms = demo(tmp_path, seeds=1)
    flossed, *plain = (runs[0].accuracy for runs in arms.values())
    assert flossed > 0.9
    assert max(plain) < 0.75
    spectra = arms["SimpleRNN, flossed"][0].spectra
    before, after = (np.mean(spectra[x] ** 2) for x in ("before flossing", "flossed"))
    assert after < 0.5 * before


ARMS = tuple(f"rate-rnn{when}" for when in ("", "+pre", "+periodic", "+adaptive"))
COMPARED = {
    **SMALL,
    "updates": 4,
    "flossing_steps": 2,
    "flossing_every": 1,
    "flossing_times": 1,
    "adaptive_every": 2,
    "adaptive_steps": 3,
    "adaptive_tolerance": 1e-9,
}


def compare(output, arms, *flags, seeds=2, **changed):
    """What `keras-floss compare` prints."""
    settings = {**COMPARED, "seeds": seeds, "arms": ",".join(arms), **changed}
    knobs = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["compare", *knobs, f"--output={output}", *flags]) == 0
    return printed.getvalue()


def rows_of(printed):
    """`{arm: cells}` of the table."""
    rows = [re.split(" {2,}", line.strip()) for line in printed.splitlines()]
    return {row[0]: row[1:] for row in rows if row[0] in ARMS and len(row) > 1}


def last(folder, measure="accuracy"):
    """The last measure in the history.csv of a run."""
    with open(folder / "history.csv", newline="") as file:
        return float(list(csv.DictReader(file))[-1][measure])


def times(folder):
    """`{path: time of its last change}` of the files of all runs in a folder."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    return folder, compare(folder, ARMS)


@pytest.fixture
def copied(compared, tmp_path):
    """A copy of the results, to change."""
    return shutil.copytree(compared[0], tmp_path / "copy")


@pytest.mark.slow
def test_compare_prints_each_seed_and_the_median(compared):
    folder, printed = compared
    assert "8 of 8 runs to do" in printed
    rows = rows_of(printed)
    assert list(rows) == list(ARMS)
    for arm, cells in rows.items():
        values = [last(folder / f"{arm}-{seed}") for seed in (0, 1)]
        expected = [f"{value:.3f}" for value in (*values, np.median(values))]
        assert cells[:3] == expected
    # Before training; and once more, after the first update or after the second.
    assert [cells[3] for cells in rows.values()] == ["0, 0", "2, 2", "4, 4", "5, 5"]
    assert len({last(folder / f"rate-rnn-{seed}", "loss") for seed in (0, 1)}) == 2


@pytest.mark.slow
def test_compare_draws_a_picture(compared):
    folder, printed = compared
    assert str(folder / "comparison.png") in printed
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_compare_again_does_nothing_anew(compared):
    folder, printed = compared
    before = times(folder)
    again = compare(folder, ARMS)
    assert "to do" not in again
    assert rows_of(again) == rows_of(printed)
    assert times(folder) == before


@pytest.mark.slow
def test_a_run_without_a_result_is_done_again_and_no_other(copied):
    before = times(copied)
    loss = last(copied / "rate-rnn-1", "loss")
    (copied / "rate-rnn-1" / "result.json").unlink()
    assert "1 of 4 runs to do" in compare(copied, ["rate-rnn", "rate-rnn+pre"])
    after = times(copied)
    assert after.keys() == before.keys()
    assert {path.parent.name for path in after if after[path] != before[path]} == {
        "rate-rnn-1"
    }
    # The same float32 operations in two traces.
    np.testing.assert_allclose(last(copied / "rate-rnn-1", "loss"), loss, rtol=1e-5)


@pytest.fixture
def quick(monkeypatch):
    """`compare` with runs that take no time: the loss says which run it was."""

    def fake_run(configuration, verbose):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        loss = configuration.updates + 0.1 * configuration.seed
        history = {"update": [configuration.updates], "loss": [loss], "accuracy": [loss]}
        return Result(configuration, model, history, {}, {}, 1.0)

    monkeypatch.setattr("keras_floss.experiments.compare.run", fake_run)
    monkeypatch.setitem(sys.modules, "joblib", None)
    return fake_run


def cut(path):
    """Leaves the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("result.json", cut),
        ("result.json", lambda path: path.write_bytes(b"\xff\x00")),
        pytest.param("result.json", lambda path: path.write_text("[]"), marks=SLOW),
        pytest.param("result.json", lambda path: path.write_text("{}"), marks=SLOW),
        ("history.csv", cut),
        ("history.csv", lambda path: path.write_text(path.read_text()[:-3])),
        ("history.csv", lambda path: path.unlink()),
        pytest.param("history.csv", lambda path: path.write_text(""), marks=SLOW),
        ("model.weights.h5", cut),
    ],
)
def test_a_damaged_run_is_done_again_and_said_so(name, damage, quick, tmp_path):
    compare(tmp_path, ["rate-rnn", "rate-rnn+pre"])
    whole = {path: path.read_bytes() for path in tmp_path.glob("*/history.csv")}
    damage(tmp_path / "rate-rnn-1" / name)
    printed = compare(tmp_path, ["rate-rnn", "rate-rnn+pre"])
    assert "1 of 4 runs to do" in printed
    assert re.search(rf"rate-rnn-1.{name} is damaged .*done again", printed)
    assert printed.count("is damaged") == 1
    assert {path: path.read_bytes() for path in whole} == whole
    assert "to do" not in compare(tmp_path, ["rate-rnn", "rate-rnn+pre"])


def test_two_at_once_on_one_folder_do_not_disturb_each_other(quick, monkeypatch, tmp_path):
    """While one is at its last run, another with other settings does all of its own."""
    tables = {}

    def run(configuration, verbose):
        if configuration.updates == 4 and configuration.seed == 1:
            tables[5] = compare(tmp_path, ["rate-rnn"], updates=5)
        return quick(configuration, verbose)

    monkeypatch.setattr("keras_floss.experiments.compare.run", run)
    tables[4] = compare(tmp_path, ["rate-rnn"])
    for updates, printed in tables.items():
        assert rows_of(printed)["rate-rnn"][:2] == [
            f"{updates:.3f}",
            f"{updates + 0.1:.3f}",
        ]
    # What is there is whole, and is done again where it is another's.
    assert "2 of 2 runs to do" not in compare(tmp_path, ["rate-rnn"])
    assert "is damaged" not in compare(tmp_path, ["rate-rnn"], updates=5)


def test_what_another_has_done_meanwhile_is_not_done_again(quick, monkeypatch, tmp_path):
    done = []

    def run(configuration, verbose):
        done.append(configuration.seed)
        if done == [0]:
            compare(tmp_path, ["rate-rnn"])
        return quick(configuration, verbose)

    monkeypatch.setattr("keras_floss.experiments.compare.run", run)
    printed = compare(tmp_path, ["rate-rnn"])
    assert done == [0, 0, 1]
    assert rows_of(printed)["rate-rnn"][:2] == ["4.000", "4.100"]


def test_a_folder_of_a_method_is_not_taken_for_that_of_a_network(quick, tmp_path):
    """Before networks and flossing had flags of their own, "lstm" was a method."""
    compare(tmp_path, ["lstm"])
    for path in tmp_path.glob("*/result.json"):
        done = json.loads(path.read_text())
        settings = done["configuration"]
        for name in ("network", "flossing", "settings"):
            del settings[name]
        settings |= {"method": "lstm", "window": 10, "k": 4, "warmup": 2, "qr_interval": 1}
        path.write_text(json.dumps(done))
    assert "2 of 2 runs to do" in compare(tmp_path, ["lstm"])
    assert "to do" not in compare(tmp_path, ["lstm"])


@pytest.mark.slow
def test_changed_settings_are_run_anew_without_joblib_too(copied, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    printed = compare(copied, ["rate-rnn"], seeds=1, updates=5)
    assert "1 of 1 runs to do" in printed
    with open(copied / "rate-rnn-0" / "history.csv", newline="") as file:
        assert [row["update"] for row in csv.DictReader(file)] == ["5"]


def test_side_by_side_without_joblib_says_how_to_install_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(SystemExit) as stop:
        compare(tmp_path, ["rate-rnn"], "--jobs=2")
    assert stop.value.code == 2
    assert 'pip install "keras-floss[sweep]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--arms=lstm,magic"], "`network`.*rate-rnn, .*simple-rnn, gru.*'magic'"),
        (["--arms=lstm+magic"], "`flossing`.*none, pre, periodic.*'magic'"),
        (["--arms="], "`network`"),
        (["--seeds=0"], "`seeds`.*0"),
        (["--seeds=10000000000000"], "`seeds`.*10000000000000"),
        (["--jobs=0"], "`jobs`.*0"),
        (["--adaptive-every=0"], "`adaptive_every`.*0"),
        (["--adaptive-tolerance=0"], "`adaptive_tolerance`.*0"),
        (["--k=81"], "`k`.*81"),
    ],
    ids=str,
)
def test_compare_names_bad_flags_before_it_runs(flags, named, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", f"--output={tmp_path}", *flags])
    assert stop.value.code == 2
    assert re.search(named, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_compare_without_matplotlib_says_so_before_it_works(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit):
        compare(tmp_path, ["rate-rnn"])
    assert "keras-floss[plots]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_jobs_come_to_what_one_does(compared, tmp_path):
    compare(tmp_path, ["rate-rnn", "rate-rnn+pre"], "--jobs=2", seeds=1)
    for run_folder in ("rate-rnn-0", "rate-rnn+pre-0"):
        for measure in ("loss", "accuracy"):
            ours, theirs = (last(f / run_folder, measure) for f in (tmp_path, compared[0]))
            # Float32 sums by another number of threads.
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
