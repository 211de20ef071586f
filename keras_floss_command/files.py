"""The files that the command reads and writes."""

import os
import pathlib

# Of a run, in its folder:
RUN = ("configuration.json", "history.csv", "flossing.csv", "model.weights.h5")
# Pictures:
DEMO = "keras-floss-demo.png"
COMPARISON = "comparison.png"


def check_file(path: str | os.PathLike[str]) -> None:
    """Raises ValueError where there is nothing at a path."""
    if not pathlib.Path(path).exists():
        raise ValueError(f"There is no file {path}.")
