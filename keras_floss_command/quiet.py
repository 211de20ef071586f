"""TensorFlow starts without saying so."""

import contextlib
import os
import pickle
import sys
from collections.abc import Iterator
from typing import Any

LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """A block in which TensorFlow can be imported without what it says on starting.

    Some of that is written to the standard error of the process before the setting of what
    is logged is looked at. All of it is shown where the user has set that.
    """
    if LEVEL in os.environ:
        yield
        return
    os.environ[LEVEL] = "3"
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        # Read by now; a process that is started from here has a quiet start of its own.
        del os.environ[LEVEL]


def call(pickled: bytes) -> Any:
    """Calls a pickled `(function, arguments)` in a process where TensorFlow may be new."""
    with quiet_start():
        function, arguments = pickle.loads(pickled)
    return function(*arguments)
