"""Where results go: checked before the work, and written whole."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from keras_floss import plots

Path: TypeAlias = str | os.PathLike[str]


def check_folder(folder: Path, *names: str) -> None:
    """Makes a folder; raises OSError where these files could not be written into it."""
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Tried, since the permissions alone do not tell.
        tempfile.TemporaryFile(dir=folder).close()
        for path in (folder / name for name in names):
            if path.exists():
                path.open("ab").close()
    except OSError as error:
        raise OSError(f"Results could not be written to {folder}: {error}") from error


def check_picture(path: Path) -> None:
    """Raises where a picture could not be written: ValueError if its format is unknown."""
    path = pathlib.Path(path)
    known = plots.figure()[0].canvas.get_supported_filetypes()
    if picture_format(path) not in known:
        raise ValueError(
            f"{path} must be a picture of a kind that matplotlib writes: "
            f"{', '.join('.' + kind for kind in known)}."
        )
    # A device, /dev/stdout say, is not opened: it may let itself be opened only once.
    if not path.exists() or path.is_file() or path.is_dir():
        check_folder(path.parent, path.name)


def picture_format(path: Path) -> str:
    """The format that the name of a picture asks for; PNG where it does not."""
    return pathlib.Path(path).suffix[1:].lower() or "png"


@contextlib.contextmanager
def staged(folder: Path, names: Sequence[str] = ()) -> Iterator[pathlib.Path]:
    """A folder to write into, whose files are then moved to `folder`, in order of names.

    Each is moved in one stroke: whoever reads or writes there meanwhile never meets half a
    file. Files of `names` that are not written are removed.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
        yield pathlib.Path(part)
        written = sorted(os.listdir(part))
        for name in set(names).difference(written):
            (folder / name).unlink(missing_ok=True)
        for name in written:
            os.replace(pathlib.Path(part, name), folder / name)


def aligned(rows: Sequence[Mapping[str, str]]) -> str:
    """A table of rows, `{head of the column: cell}`, as lines of text."""
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in cells)
