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
    "initializers",
    "recurrent",
    "flow",
    "lyapunov",
    "diagnostics",
    "flossing",
    "advice",
    "models",
    "layers",
    "tasks",
    "plots",
    "callbacks",
    "experiments",
    "results",
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


EXPERIMENTS = ROOMS.index("experiments")  # the command line's rooms are from here on
# What the command line may use, as any script may.
PUBLIC = {keras_floss, keras_floss.callbacks, keras_floss.layers}
PUBLIC |= {keras_floss.initializers, keras_floss.plots, keras_floss.tasks}


def not_public(path):
    """What a module of the command line takes that is in no `__all__`."""
    public = {module.__name__: module.__all__ for module in PUBLIC}
    tree = ast.parse(path.read_text())
    modules = {}  # name in this module -> address of a public module
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "keras_floss"
        ):
            own = "keras_floss.experiments", "keras_floss.results", "keras_floss_command"
            if node.module.startswith(own):
                continue
            for alias in node.names:
                if alias.name not in public.get(node.module, ()):
                    yield f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("keras_floss"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module in public and node.attr not in public[module]:
                yield f"{module}.{node.attr}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if ROOMS.index(room_of(path)) >= EXPERIMENTS],
    ids=lambda path: path.stem,
)
def test_the_command_line_stands_on_what_is_public(path):
    assert not list(not_public(path))
