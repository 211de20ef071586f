"""The trial, benchmarks/trial.py: a file of runs that goes on where it was."""

import csv
import importlib
import pathlib

import pytest

BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def trial(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("trial")


@pytest.mark.slow
def test_what_is_in_the_file_is_not_done_again(trial, tmp_path, monkeypatch, capsys):
    path = tmp_path / "results.csv"

    def trial_of(*arguments, arms="keras,preflossing"):
        only = ["task=copy-40", "layer=simple-rnn", f"arm={arms}"]
        flags = ["--quick", "--set=pairs", f"--results={path}", "--only", *only]
        trial.main([*flags, *arguments])
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    plain = trial_of("--seeds=0", arms="keras")
    both = trial_of("--seeds=0")
    assert [row["arm"] for row in both] == ["keras", "preflossing"]
    assert both[0] == plain[0]
    assert int(both[0]["flossing_steps"]) == 0 < int(both[1]["flossing_steps"])
    assert float(both[1]["flossing_loss"]) > 0
    assert 0 < float(both[1]["score"]) < 1

    def no_work(run):
        raise AssertionError(f"done again: {run}")

    monkeypatch.setattr(trial, "do", no_work)
    assert trial_of("--seeds=0") == both
    capsys.readouterr()
    trial_of("--seeds=0-2", "--plan")
    assert "| pairs | 6 | 2 |" in capsys.readouterr().out
    trial_of("--table")
    assert "| copy-40 | simple-rnn |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "ours", "theirs", "word"),
    [
        ("copy-40", [0.96, 0.5], [0.96, 0.97], "worse"),  # fewer learn
        ("copy-40", [0.96, 0.96], [0.99, 0.99], ""),  # as many learn
        ("copy-40", [0.6, 0.6], [0.63, 0.63], "worse"),
        ("copy-40", [0.6, 0.6], [0.61, 0.61], ""),
        ("copy-40", [0.6, 0.96], [0.9, 0.9], "better"),
        ("adding", [0.16, 0.16], [0.15, 0.15], "worse"),
        ("adding", [0.154, 0.154], [0.15, 0.15], ""),
        ("adding", [float("nan")] * 2, [0.15, 0.15], "worse"),
        ("copy-40", [float("nan")] * 2, [0.5, 0.5], "worse"),
    ],
)
def test_a_pair_is_worse_by_the_rule(trial, task, ours, theirs, word):
    def rows(scores):
        reached = map(trial.TASKS[task].reaches, scores)
        pairs = zip(scores, reached, strict=True)
        return {s: {"score": str(x), "reached": str(r)} for s, (x, r) in enumerate(pairs)}

    assert trial.trial_table.verdict(task, rows(ours), rows(theirs))[0] == word
