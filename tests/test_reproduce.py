"""The figures of the results: declared, run once, kept, drawn."""

import json
import types

import numpy as np
import pytest

from keras_floss.results import figures, measures, page, pictures, reproduce
from keras_floss.results.figures import declared, figure
from keras_floss_command.main import main


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", declared())
def test_what_is_declared_can_be_run(name, quick):
    wanted = figure(name, quick)
    assert len({part.key for part in wanted.parts}) == len(wanted.parts)
    assert wanted.picture in pictures.PICTURES
    for part in wanted.parts:
        assert part.measure in measures.MEASURES
        assert part.knobs["seed"] >= figures.FIRST_SEED
        if part.knobs["seed"] == figures.FIRST_SEED:  # the others differ in nothing else
            part.configuration()
    assert bool(wanted.differs) == (wanted.source != "ours")
    if not quick:
        # Ten networks a seed; most of an hour a run.
        few = {"exponents": 1, "copying": 2}
        assert min(wanted.seeds.values()) >= few.get(name, 3)
        assert len({part.across for part in wanted.parts}) >= 2 or not wanted.over


def run(*arguments):
    assert main(["reproduce", *map(str, arguments)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", declared())
def test_each_figure_is_run_and_drawn(name, tmp_path, capsys):
    run(name, "--quick", f"--output={tmp_path}")
    printed = capsys.readouterr().out
    wanted = figure(name, quick=True)
    for arm in wanted.seeds:
        assert arm in printed
    rows = (tmp_path / "quick" / f"{name}.jsonl").read_text().splitlines()
    assert len(rows) == len(wanted.parts)
    assert (tmp_path / "quick" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def counted(monkeypatch):
    """Runs that take no time; the list of those that were done."""
    done = []

    def without_data(part):
        return types.SimpleNamespace(**part.knobs)

    monkeypatch.setattr(figures.Part, "configuration", without_data)

    def training(configuration):
        done.append(configuration)
        score = 0.5 + 0.4 * (configuration.flossing != "none")
        return {"score": score + 0.01 * (configuration.seed - figures.FIRST_SEED)}

    monkeypatch.setitem(measures.MEASURES, "training", training)
    return done


def test_what_is_done_is_not_done_again(counted, tmp_path, capsys):
    run("copy", f"--output={tmp_path}")
    parts = figure("copy").parts
    assert counted == [part.configuration() for part in parts]
    line = capsys.readouterr().out.split("Delayed copy\n")[1].splitlines()
    assert "delay 76" in line[0]
    flossed = next(text for text in line if text.strip().startswith("SimpleRNN, flossed"))
    assert "0.920 (0/5)" in flossed

    path = tmp_path / "copy.jsonl"
    kept = path.read_bytes().splitlines(keepends=True)
    rest = [*kept[:7], b"null\n", *kept[8:-1]]
    path.write_bytes(b"".join([*rest, kept[-1][:40]]))  # killed while it wrote the last
    counted.clear()
    run("copy", f"--output={tmp_path}")
    assert "is damaged" in capsys.readouterr().out
    assert counted == [parts[7].configuration(), parts[-1].configuration()]
    counted.clear()
    run("copy", f"--output={tmp_path}")
    assert not counted


def test_an_interrupted_figure_goes_on(counted, monkeypatch, tmp_path):
    training = measures.MEASURES["training"]

    def killed(configuration):
        if len(counted) == 5:
            raise KeyboardInterrupt
        return training(configuration)

    monkeypatch.setitem(measures.MEASURES, "training", killed)
    assert main(["reproduce", "xor", f"--output={tmp_path}"]) == 130
    monkeypatch.setitem(measures.MEASURES, "training", training)
    run("xor", f"--output={tmp_path}")
    assert counted == [part.configuration() for part in figure("xor").parts]


def test_what_there_is_is_listed(counted, tmp_path, capsys):
    run("limit", f"--output={tmp_path}")
    capsys.readouterr()
    run(f"--output={tmp_path}")
    listed = capsys.readouterr().out
    run("--list", f"--output={tmp_path}")
    assert capsys.readouterr().out == listed
    lines = {line.split()[0]: line.split() for line in listed.splitlines()}
    assert set(declared()) < set(lines)
    runs = str(len(figure("limit").parts))
    assert lines["limit"][1:3] == [runs, runs]
    xor = figure("xor")
    minutes = round(len(xor.parts) * xor.seconds / 60)
    assert lines["xor"][1:5] == [str(len(xor.parts)), "0", str(minutes), "min"]


def test_the_page_says_what_is_done_and_what_is_not(counted, tmp_path):
    run("copy", f"--output={tmp_path}")
    path = tmp_path / "xor.jsonl"
    run("xor", f"--output={tmp_path}")
    rows = path.read_text().splitlines()
    path.write_text("\n".join(rows[:-3]))
    counted.clear()
    text, drawn = page.page(tmp_path)
    assert not counted
    assert set(drawn) == {"copy.png", "xor.png"}
    sections = dict(zip(declared(), text.split("\n## "), strict=True))
    assert "| SimpleRNN, flossed | 0.920 (0/5) | 0.920 (0/5) |" in sections["copy"]
    assert "Seeds an arm: 3 or 5" in sections["copy"]
    assert "still to do" not in sections["copy"]
    assert figure("copy").found in sections["copy"]
    assert "Not as in the paper: bits, as in the released code" in sections["copy"]
    assert "Not as in the paper" not in sections["limit"]
    assert figure("xor").found not in sections["xor"]
    assert f"**3 of {len(rows)} runs are still to do**" in sections["xor"]
    assert "keras-floss reproduce spectra" in sections["spectra"]
    assert "runs are still to do**, about 81 s" in sections["spectra"]


def test_runs_that_collapse_are_counted(monkeypatch, tmp_path, capsys):
    def training(configuration):
        score = 0.5 if configuration.clip == "none" and configuration.seed > 101 else 0.9
        return {"score": score, "best": 0.95}

    monkeypatch.setitem(measures.MEASURES, "training", training)
    run("clipping-digits", f"--output={tmp_path}")
    table = capsys.readouterr().out.split("h-detach without clipping: digits\n")[1]
    plain, detach, clipped, *_ = table.splitlines()[1:]
    assert "12 of 20  0" in plain
    assert "12 of 20 (p = 1)" in detach
    assert "0 of 20 (p = 4.5e-05)" in clipped
    assert "p of Fisher's exact test" in page.page(tmp_path)[0]


def test_fisher_s_exact_test():
    assert pictures.fisher(1, 10, 11, 14) == pytest.approx(0.002759456, rel=1e-6)
    assert pictures.fisher(3, 3, 3, 3) == 1


def test_an_unknown_figure_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "copy", "magic"])
    assert stop.value.code == 2
    assert "exponents, spectra" in (said := capsys.readouterr().err)
    assert "'magic'" in said


def test_a_row_says_what_was_run_and_where(counted, tmp_path):
    run("limit", f"--output={tmp_path}")
    row = json.loads((tmp_path / "limit.jsonl").read_text().splitlines()[0])
    assert row["knobs"] == dict(figure("limit").parts[0].knobs)
    assert set(row["versions"]) == {"keras_floss", "tensorflow", "keras"}
    assert set(row) == set(reproduce.Row.__annotations__)


def test_measured_flossing_is_that_of_the_model():
    """Exponents before and after, and singular values that belong to them."""
    (part, *_) = figure("spectra", quick=True).parts
    found = measures.flossing(part.configuration())
    for stage in ("before", "after"):
        exponents = np.array(found[stage]["exponents"])
        (horizon,) = found[stage]["horizons"]
        values = np.array(found[stage]["log_singular_values"])[0]
        # The volume shrinks alike.
        np.testing.assert_allclose(np.sum(values), horizon * np.sum(exponents), rtol=1e-3)
    before, after = (np.array(found[s]["exponents"])[0] for s in ("before", "after"))
    assert abs(after) < abs(before)
    assert len(found["lambda_1"]) == part.knobs["flossing_steps"]


def test_a_trained_network_is_tested_at_longer_delays():
    (part, *_) = figure("copying", quick=True).parts
    found = measures.transfer(part.configuration())
    delay = part.knobs["delay"]
    assert found["transfer_delay"] == [delay, 2 * delay, 5 * delay, 10 * delay]
    assert len(found["transfer"]) == 4
    assert all(0 <= accuracy < 0.5 for accuracy in found["transfer"])
    assert found["accuracy"][-1] == found["score"]
    assert len(found["accuracy"]) == len(found["update"])
