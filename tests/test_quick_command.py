"""The command answers at once where there is no work, and says no more than it must."""

import os
import subprocess
import sys
import time

import pytest

# What is imported says more than the clock of a busy machine.
CODE = """
import sys
from keras_floss_command.main import main
try:
    main(sys.argv[1:])
finally:
    imported = {"keras", "keras_floss", "tensorflow"} & set(sys.modules)
    assert not imported, imported
"""


def call(*command):
    """Exit code, lines of output, lines of errors, seconds."""
    given = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=given
    )
    seconds = time.perf_counter() - start
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), seconds


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--version"], "."),
        (["--help"], "spectrum"),
        (["train", "--help"], "--qr-interval"),
        ([], "command"),
        (["magic"], "'magic'"),
        (["train", "--magic"], "--magic"),
        (["train", "--delay=soon"], "--delay"),
        (["train", "--units=0"], "`units`"),
        (["compare", "--jobs=0"], "`jobs`"),
        (["compare", "--arms=magic"], "`network`"),
        (["demo", "--seeds=0"], "`seeds`"),
        (["spectrum", "no.keras", "--data=x.npy"], "no file no.keras"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_answers_without_tensorflow(flags, words):
    code, output, errors, seconds = call("-c", CODE, *flags)
    assert seconds < 2
    right = flags[-1:] in (["--version"], ["--help"])
    assert code == (0 if right else 2)
    assert any(words in line for line in (output if right else errors))
    assert len(errors) == (0 if right else 1)


def test_nothing_is_said_of_tensorflow_s_start(tmp_path):
    """Of a command that fails after it, in a line."""
    (tmp_path / "file").write_text("mine")
    output = tmp_path / "file" / "folder"
    code, printed, errors, _ = call("-m", "keras_floss_command", "demo", "--output", output)
    assert (code, printed) == (2, [])
    (line,) = errors
    assert line.startswith("keras-floss demo: error: Results could not be written")
