"""The page of results: every figure with its runs, from what is kept of them."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from keras_floss.experiments.output import Path
from keras_floss.results.figures import Figure, declared, figure
from keras_floss.results.pictures import COLLAPSED, LEARNED, Rows, png, table
from keras_floss.results.reproduce import minutes, of_figure, read, seconds_to_do


def page(folder: Path) -> tuple[str, dict[str, bytes]]:
    """The figures in Markdown, and their pictures by name; nothing is run.

    Args:
        folder: where `reproduce` keeps its lines; the page has the pictures there, too.
    """
    folder = pathlib.Path(folder)
    parts, pictures = [], {}
    for name in declared():
        each = figure(name)
        done = read(folder, name)
        rows = of_figure(each, done)
        parts += [f"## {each.title}", f"{each.about} ({each.source}.)"]
        if rows:
            pictures[f"{name}.png"] = png(each, rows)
            parts.append(f"![{each.title}]({folder.name}/{name}.png)")
            if len(rows) == len(each.parts) and each.found:
                parts.append(each.found)
            parts.append(as_markdown(each, rows))
        if each.differs:
            parts.append(f"Not as in the paper: {each.differs}")
        parts.append(f"```\nkeras-floss reproduce {name}\n```")
        if left := len(each.parts) - len(rows):
            parts.append(
                f"**{left} of {len(each.parts)} runs are still to do**, about "
                f"{minutes(seconds_to_do(each, done))} on one core."
            )
    return "\n\n".join(parts) + "\n", pictures


def as_markdown(wanted: Figure, rows: Rows) -> str:
    """The table of a figure, and what its numbers are."""
    lines = table(wanted, rows)
    cells = [
        list(lines[0]),
        ["---"] * len(lines[0]),
        *(list(line.values()) for line in lines),
    ]
    text = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return f"{text}\n\n{below(wanted, rows)}"


def below(wanted: Figure, rows: Rows) -> str:
    """What the numbers of a table are, of how many runs, when and where they were made."""
    seeds, task = sorted(set(wanted.seeds.values())), wanted.task
    if "score" not in rows[0][1]["result"]:
        score = "Medians."
    elif task.measure == "error":
        score = "The median of the last error."
    elif wanted.picture == "collapse":
        score = (
            f"The median of the last {task.label}; collapsed: {COLLAPSED:g} or more under "
            "its best at the end, with p of Fisher's exact test against the first line."
        )
    else:
        score = (
            f"The median of the last {task.label} (how many seeds have {LEARNED:g} or "
            f"more, of how many); chance is {task.chance:g}."
        )
    dates = sorted(row["date"] for _, row in rows)
    versions = sorted(
        {", ".join(f"{k} {v}" for k, v in row["versions"].items()) for _, row in rows}
    )
    return (
        f"{score} s: median seconds of a run, compilation included. Seeds an arm: "
        f"{_in_words(seeds)}. Run {_between(dates)} ({'; '.join(versions)}; "
        f"{'; '.join(sorted({row['machine'] for _, row in rows}))})."
    )


def _in_words(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


def _between(dates: Sequence[str]) -> str:
    first, last = dates[0], dates[-1]
    return f"on {first}" if first == last else f"from {first} to {last}"
