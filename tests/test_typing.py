"""What is public says what it takes and gives, and a type checker believes it."""

import collections
import inspect
import pathlib
import re
import subprocess
import sys

import pytest
from public_api import public_api
from test_examples import examples

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = "keras_floss", "keras_floss_command"


def is_ours(thing):
    return getattr(thing, "__module__", "").startswith("keras_floss")


def functions():
    """Every public function, method and constructor by its address."""
    for address, thing in public_api():
        if inspect.isfunction(thing):
            yield address, thing
            continue
        ours = [base for base in thing.__mro__ if is_ours(base)]
        for name in {name for base in ours for name in vars(base)}:
            member = inspect.getattr_static(thing, name)
            member = getattr(member, "__func__", getattr(member, "fget", member))
            public = name == "__init__" or not name.startswith("_")
            if public and inspect.isfunction(member) and is_ours(member):
                yield f"{address}.{name}", member


FUNCTIONS = dict(functions())


@pytest.mark.parametrize("address", sorted(FUNCTIONS))
def test_parameters_and_result_are_annotated(address):
    signature = inspect.signature(FUNCTIONS[address])
    parameters = list(signature.parameters.values())
    if "." in FUNCTIONS[address].__qualname__:
        parameters = parameters[1:]  # self, cls
    assert not [p.name for p in parameters if p.annotation is p.empty]
    assert signature.return_annotation is not signature.empty


def complaints(text):
    """`{(file, line): {codes of errors}}` of what mypy wrote."""
    found = collections.defaultdict(set)
    for file, line, code in re.findall(r"^(.+?):(\d+): error: .*\[(.+)\]$", text, re.M):
        found[pathlib.Path(file).name, int(line)].add(code)
    return found


def expected(path):
    """What the comments of a file say of it, in the same form."""
    lines = enumerate(path.read_text().splitlines(), 1)
    marked = ((number, line.partition("# E: ")[2].split()) for number, line in lines)
    return {(path.name, number): set(codes) for number, codes in marked if codes}


def test_a_type_checker_takes_what_is_right_and_nothing_else(tmp_path):
    """The package, README and site, right uses and wrong ones, all in one go."""
    pytest.importorskip("mypy")
    folder = tmp_path / "pages"
    folder.mkdir()
    pages = [folder / "__init__.py"]
    pages[0].touch()
    for number, path in enumerate([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        pages.append(folder / f"page_{number}_{path.stem.replace('-', '_')}.py")
        pages[-1].write_text("\n".join(examples(path.read_text())))
    right, wrong = (ROOT / "tests" / "typing" / f"{x}_uses.py" for x in ("right", "wrong"))
    command = [sys.executable, "-m", "mypy", *PACKAGES, right, wrong, *pages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert complaints(done.stdout) == expected(wrong), done.stdout + done.stderr
