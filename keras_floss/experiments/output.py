"""Where results go: found out before the work, and written whole."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from keras_floss import plots


def check_folder(folder: str | os.PathLike[str], *names: str) -> None:
    """Makes a folder; raises OSError where these files could not be written into it."""
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # By trying: the permissions alone do not tell.
        tempfile.TemporaryFile(dir=folder).close()
        for path in (folder / name for name in names):
            if path.exists():
                path.open("ab").close()
    except OSError as error:
        raise OSError(f"Results could not be written to {folder}: {error}") from error


def check_picture(path: str | os.PathLike[str]) -> None:
    """Raises where a picture could not be written: ValueError if its format is unknown."""
    path = pathlib.Path(path)
    known = plots.figure()[0].canvas.get_supported_filetypes()
    if picture_format(path) not in known:
        raise ValueError(
            f"{path} must be a picture of a kind that matplotlib writes: "
            f"{', '.join('.' + kind for kind in known)}."
        )
    # A device is no place for a file, and need not let itself be opened twice.
    if not path.exists() or path.is_file() or path.is_dir():
        check_folder(path.parent, path.name)


def picture_format(path: str | os.PathLike[str]) -> str:
    """The format that the name of a picture asks for; PNG where it does not."""
    return pathlib.Path(path).suffix[1:].lower() or "png"


@contextlib.contextmanager
def staged(
    folder: str | os.PathLike[str], names: Sequence[str] = ()
) -> Iterator[pathlib.Path]:
    """A folder to write into, whose files then come to `folder`, in the order of names.

    Each comes in one stroke: whoever reads there, or is writing there too, meets no half
    of a file. Of `names`, what is not written anew is taken away.
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
