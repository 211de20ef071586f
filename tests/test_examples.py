"""Every example of README, site and docstrings runs, on smaller numbers."""

import inspect
import pathlib
import re
import textwrap

import keras
import numpy as np
import pytest
from public_api import public_api

import keras_floss

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
ALWAYS = "README.md", "docs/getting-started.md"  # the other pages are slow
SMALLER = [
    (r"steps=\d\d\d\b", "steps=3"),
    (r'"steps": \d+', '"steps": 3'),
    (r"steps_per_epoch=\d+", "steps_per_epoch=2"),
    (r"epochs=\d+", "epochs=1"),
    (r'"epochs": \d+', '"epochs": 1'),
    (r'"steps_per_epoch": \d+', '"steps_per_epoch": 2'),
    (r"RNN\(64", "RNN(16"),
    (r"LSTM\(64", "LSTM(16"),
    (r"Input\(\(300, 1\)\)", "Input((60, 1))"),
    (r"(Preflossing\(.*train\)?)\)", r"\1, steps=3)"),
    (r"Preflossing\(data", "Preflossing(data, steps=3"),
    (r"floss\(train", "floss(train, 3"),
    # The gallery's sweep.
    (r"delays, seeds = .*", "delays, seeds = (10,), range(1)"),
    (r"range\(5, 101, 5\)", "range(5, 101, 50)"),
    (r"k=32\)", "k=8)"),
]


def examples(text):
    """The Python code in a text."""
    return re.findall(r"```python\n(.*?)```", textwrap.dedent(text), flags=re.DOTALL)


EXAMPLES = {
    address: codes
    for address, thing in public_api()
    if (codes := examples(inspect.cleandoc(thing.__doc__)))
    # One downloads, the other sets what holds for the whole process.
    and address not in ("tasks.sequential_mnist", "set_memory_limit")
}


def execute(code):
    for old, new in SMALLER:
        code = re.sub(old, new, code)
    rng = np.random.default_rng(0)
    namespace = {
        "keras": keras,
        "keras_floss": keras_floss,
        "x_train": rng.standard_normal((8, 60, 1)).astype("float32"),
        "y_train": rng.standard_normal((8, 1)).astype("float32"),
        "inputs": keras.Input((60, 1)),
    }
    if "return_sequences=True" in code:
        namespace["y_train"] = rng.standard_normal((8, 60, 1)).astype("float32")
    exec(code, namespace)
    return namespace


# What trains takes seconds: those of README and of the first steps do it by default.
@pytest.mark.parametrize(
    "address",
    [
        pytest.param(address, marks=pytest.mark.slow if ".fit(" in "".join(codes) else ())
        for address, codes in EXAMPLES.items()
    ],
)
def test_docstring_example(address):
    for code in EXAMPLES[address]:
        execute(code)


def test_callbacks_layers_and_tasks_have_an_example():
    rooms = ("callbacks.", "initializers.", "layers.", "tasks.")
    without = {address for address, _ in public_api()} - set(EXAMPLES)
    assert [a for a in without if a.startswith(rooms)] == ["tasks.sequential_mnist"]


def pages():
    """README and the pages of the site that have Python code, one parameter each."""
    for path in (README, *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text()
        # Every block of code says what it is, or is none for Python.
        opened = re.findall(r"^ *```+(.*)$", text, flags=re.MULTILINE)[::2]
        assert set(opened) <= {"", "python", "text", "bibtex"}, path
        if codes := examples(text):
            assert len(codes) == opened.count("python"), path
            name = str(path.relative_to(ROOT))
            peers = pytest.mark.peers if "keras_tuner" in text else pytest.mark.slow
            marks = () if name in ALWAYS else peers
            yield pytest.param("\n".join(codes), id=name, marks=marks)


@pytest.mark.parametrize("code", list(pages()))
def test_page_examples(code, tmp_path, monkeypatch):
    """Those of a page build on each other, as a reader would run them."""
    monkeypatch.chdir(tmp_path)  # where backups and models go
    namespace = execute(code)
    if "preflossing" in namespace and namespace["preflossing"].history:
        assert namespace["preflossing"].history.ended
