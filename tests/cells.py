"""Which cells of a table of cases always run: the others are for `pytest -m slow`."""

import fnmatch
import itertools
from collections.abc import Mapping

import pytest

SLOW = pytest.mark.slow
MODES = {"graph": False, "xla": True}


def cells(*axes, always):
    """All cells of a table as parameters of a test, of which some are marked slow.

    axes: the values of each argument, tuples for several arguments, or a dictionary of
        values by their names (`MODES`, where a compiled step may be of XLA).
    always: the names of the cells that are not slow: "LSTM-xla", or "*-graph" for a row.
    """
    axes = [a if isinstance(a, Mapping) else {name_of(v): v for v in a} for a in axes]
    names = ["-".join(words) for words in itertools.product(*axes)]
    values = itertools.product(*(axis.values() for axis in axes))
    unknown = [pattern for pattern in always if not fnmatch.filter(names, pattern)]
    assert not unknown, f"No cell is called {unknown}; there are {names}."
    fast = {name for pattern in always for name in fnmatch.filter(names, pattern)}
    return [
        pytest.param(
            *itertools.chain(*(v if isinstance(v, tuple) else (v,) for v in cell)),
            id=name,
            marks=() if name in fast else SLOW,
        )
        for name, cell in zip(names, values, strict=True)
    ]


def name_of(value):
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
