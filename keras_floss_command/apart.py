"""A call in a process of its own, `python -m keras_floss_command.apart FOLDER`."""

import concurrent.futures
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import threading
from typing import Any

from keras_floss_command.quiet import call

WORK, RESULT = "work", "result"


def call_apart(pickled: bytes) -> Any:
    """Calls a pickled `(function, arguments)` in a new process, and waits for it.

    In a process where others draw random numbers, as the threads of a Dask worker do, the
    weights of a run would not be those of its seed.

    Raises:
        BrokenExecutor: the process ended before the function did.
        Exception: what the function raised.
    """
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, WORK).write_bytes(pickled)
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, folder],
            stdin=subprocess.PIPE,  # which closes when this process dies
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with process:
            code = process.wait()
        result = pathlib.Path(folder, RESULT)
        if not result.exists():
            raise concurrent.futures.BrokenExecutor(f"its exit code: {code}")
        error, value = pickle.loads(result.read_bytes())
    if error:
        raise error
    return value


def main(folder: str) -> None:
    """Does what is in a folder, and leaves there what came of it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    outcome: tuple[Exception | None, Any]
    try:
        outcome = None, call(pathlib.Path(folder, WORK).read_bytes())
    except Exception as error:  # it is raised where the call was made
        outcome = _that_can_be_pickled(error), None
    pathlib.Path(folder, "part").write_bytes(pickle.dumps(outcome))
    os.replace(pathlib.Path(folder, "part"), pathlib.Path(folder, RESULT))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _that_can_be_pickled(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    main(sys.argv[1])
