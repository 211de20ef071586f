"""The rooms of the package: imports go from the last to the first, and none is a bag."""

import ast
import collections
import pathlib

import pytest

import keras_floss

PACKAGE = pathlib.Path(keras_floss.__file__).parent
# A room knows those before it.
ROOMS = (
    "utils",
    "recurrent",
    "flow",
    "lyapunov",
    "diagnostics",
    "flossing",
    "models",
    "layers",
    "tasks",
    "plots",
    "callbacks",
    "experiments",
    "cli",
)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """The rooms of this package that a module imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "keras_floss":
            yield from (alias.name for alias in node.names if alias.name in ROOMS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "keras_floss."
        ):
            yield node.module.split(".")[1]


MODULES = [
    p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE or p.stem in ROOMS
]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    here = ROOMS.index(room_of(path))
    assert all(ROOMS.index(room) <= here for room in imported_rooms(path))


def test_no_room_holds_much_more_than_its_share():
    lines = collections.Counter()
    for path in MODULES:
        lines[room_of(path)] += len(path.read_text().splitlines())
    assert set(lines) == set(ROOMS)
    assert max(lines.values()) <= 0.16 * sum(lines.values())
