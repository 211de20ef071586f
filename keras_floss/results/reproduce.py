"""Runs what the figures of the results are made of, keeps each run as a line, and draws."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_floss import __version__, plots
from keras_floss.experiments.output import Path, aligned, check_folder, staged
from keras_floss.experiments.side_by_side import side_by_side
from keras_floss.results.figures import Figure, Part, declared, figure
from keras_floss.results.measures import MEASURES
from keras_floss.results.pictures import Row, png, table


def reproduce(
    figures: Sequence[str] = (),
    output: Path = "keras-floss-results",
    listed: bool = False,
    quick: bool = False,
    jobs: int = 1,
    dask: str | None = None,
) -> None:
    """Does the runs of figures that are not done, prints a table and draws each.

    A run that is done is a line of `FIGURE.jsonl`, written when the run ends: it is not
    done again, whatever stops the others.

    Args:
        figures: names, or `all`. Empty: what there is, is listed.
        output: folder of the lines and of the pictures.
        listed: say what there is of these figures, and do nothing.
        quick: tiny versions of them, in the folder `quick` of the output.
        jobs, dask: runs side by side, as in `side_by_side`.

    Raises:
        ValueError: there is no figure of a name.
    """
    output = pathlib.Path(output, "quick") if quick else pathlib.Path(output)
    names = list(declared()) if "all" in figures or not figures else figures
    wanted = [figure(name, quick) for name in names]
    if listed or not figures:
        print(listing(wanted, output))
        return
    plots.figure()  # raises where there is no matplotlib
    check_folder(output, *(f"{f.name}{end}" for f in wanted for end in (".jsonl", ".png")))
    for each in wanted:
        rows = of_figure(each, do(each, output, jobs, dask))
        print(f"\n{each.title}\n{aligned(table(each, rows))}\n")
        with staged(output) as part:
            (part / f"{each.name}.png").write_bytes(png(each, rows))
        print(f"Picture: {output / each.name}.png", flush=True)


def do(wanted: Figure, output: pathlib.Path, jobs: int, dask: str | None) -> dict[str, Row]:
    """Does the runs of a figure that are not in its file; returns all, as `read` does."""
    done = read(output, wanted.name)
    todo = [part for part in wanted.parts if part.key not in done]
    if not todo:
        return done
    print(
        f"{wanted.name}: {len(todo)} of {len(wanted.parts)} runs to do, "
        f"{minutes(seconds_to_do(wanted, done))} one by one. What is done stays in "
        f"{output}, if this is interrupted.",
        flush=True,
    )
    # No more processes than runs.
    results = side_by_side(measured, todo, min(jobs, len(todo)), dask)
    for number, (part, row) in enumerate(results, 1):
        append(output / f"{wanted.name}.jsonl", row)
        done[part.key] = row
        at = "" if part.across is None else f", {wanted.over} {part.across:.3g}"
        score = row["result"].get("score")
        print(
            f"{wanted.name} {number}/{len(todo)}: {part.arm}{at}, seed "
            f"{part.knobs['seed']}: {'' if score is None else f'{score:.3f} '}"
            f"in {row['seconds']:.0f} s",
            flush=True,
        )
    return done


def measured(part: Part) -> Row:
    """A run, perhaps on another machine, as it is kept."""
    start = time.perf_counter()
    result = MEASURES[part.measure](part.configuration())
    return {
        "measure": part.measure,
        "knobs": dict(part.knobs),
        "result": result,
        "seconds": round(time.perf_counter() - start, 1),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "keras_floss": __version__,
            **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras")},
        },
    }


def append(path: pathlib.Path, row: Mapping[str, Any]) -> None:
    """Adds a line to a file, whose last one may be cut off."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(row, sort_keys=True).encode() + b"\n")


def read(folder: Path, name: str) -> dict[str, Row]:
    """The runs in the file of a figure, by their keys; what is damaged is left out."""
    path = pathlib.Path(folder, f"{name}.jsonl")
    rows: dict[str, Row] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            key = Part("", None, row["measure"], row["knobs"]).key
            rows[key] = Row(**{name: row[name] for name in Row.__annotations__})  # type: ignore[typeddict-item]
        except (ValueError, TypeError, LookupError):
            print(f"{path} has a line that is damaged, and is left out.", flush=True)
    return rows


def of_figure(wanted: Figure, done: Mapping[str, Row]) -> list[tuple[Part, Row]]:
    """The runs of a figure that are done, in the order of the figure."""
    return [(part, done[part.key]) for part in wanted.parts if part.key in done]


def listing(figures: Iterable[Figure], output: Path) -> str:
    """What there is, what is done of it in a folder, and how long the rest takes."""
    lines = []
    for each in figures:
        kept = read(output, each.name)
        runs, done = len(each.parts), len(of_figure(each, kept))
        lines.append(
            {
                "figure": each.name,
                "runs": str(runs),
                "done": str(done),
                "to do": minutes(seconds_to_do(each, kept)) if done < runs else "",
                "": f"  {each.title} ({each.source})",
            }
        )
    longest = max(len(line[""]) for line in lines)
    for line in lines:
        line[""] = line[""].ljust(longest)  # words begin at one place
    return "\n".join(map(str.rstrip, aligned(lines).splitlines()))


def seconds_to_do(wanted: Figure, done: Mapping[str, Row]) -> float:
    """An estimate: the mean of the arm's runs, or of all, or what the figure says."""
    rows = of_figure(wanted, done)
    seconds = 0.0
    for part in wanted.parts:
        if part.key not in done:
            like = [row["seconds"] for other, row in rows if other.arm == part.arm]
            like = like or [row["seconds"] for _, row in rows] or [wanted.seconds]
            seconds += float(np.mean(like))
    return seconds


def minutes(seconds: float) -> str:
    """A time in words."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
