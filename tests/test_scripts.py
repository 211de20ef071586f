"""Every script of examples/ runs, in its short form, and says what it did."""

import ast
import pathlib
import runpy
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
# Two seconds; the others are for `pytest -m slow`.
FAST = ("own_train_step",)
NEEDS = {
    "keras_tuner_search": "keras_tuner",
    "neurogym_delayed_match": "neurogym",
    "tensorboard_logs": "tensorboard",
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in FAST else pytest.mark.slow)
        for path in SCRIPTS
    ],
    ids=lambda path: path.stem,
)
def test_runs(path, monkeypatch, capfd):
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem])
    monkeypatch.setenv("KERAS_FLOSS_QUICK", "1")
    if path.stem == "two_devices":  # which are made before TensorFlow starts
        subprocess.run([sys.executable, path], check=True)
    else:
        monkeypatch.setattr(sys, "argv", [str(path)])
        runpy.run_path(str(path), run_name="__main__")
    assert capfd.readouterr().out.strip()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_says_what_it_shows(path):
    text = path.read_text("utf-8")
    title, _, more = ast.get_docstring(ast.parse(text)).partition("\n\n")
    assert title.endswith(".")
    assert "prints" in more
    assert 'if __name__ == "__main__":' in text
