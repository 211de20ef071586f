"""Networks, flossed or not, and seeds side by side on one task."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_floss import plots
from keras_floss.experiments.configuration import Configuration
from keras_floss.experiments.output import Path, aligned, check_folder, staged
from keras_floss.experiments.problems import TASKS
from keras_floss.experiments.run import run
from keras_floss.experiments.side_by_side import side_by_side
from keras_floss_command.files import COMPARISON, RUN
from keras_floss_command.tasks import ARMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DONE = "result.json"


def compare(
    configuration: Configuration,
    arms: Sequence[str] = (),
    seeds: int = 2,
    output: Path = "keras-floss-compare",
    jobs: int = 1,
    dask: str | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Runs each arm with each seed; prints a table and draws a picture.

    A run that is done is not done again: what it came to is read from `output`.

    Args:
        configuration: a `Configuration`, but for `network`, `flossing` and `seed`.
        arms: networks, each followed by `+` and when it is flossed, if it is: `lstm`,
            `lstm+pre`. Empty: those that are usual for the task.
        seeds: number of seeds, from 0 on.
        output: folder of results, one folder a run in it, and of the picture.
        jobs, dask: runs side by side, as in `side_by_side`. Results are written here,
            wherever they come from.

    Returns:
        `{arm: [history of each seed]}`, the histories as in `Result.history`, with
        `flossing_steps` and `seconds`.
    """
    plots.figure()  # raises where there is no matplotlib
    output = pathlib.Path(output)
    # All before the first run, so that what is wrong with any is said at once.
    folders = {}
    for arm in arms or ARMS[configuration.task]:
        for seed in range(seeds):
            c = dataclasses.replace(configuration, seed=seed, **Configuration.of_arm(arm))
            folders[c] = output / f"{c.arm}-{seed}"
    check_folder(output, COMPARISON)
    for folder in folders.values():
        if folder.exists():
            check_folder(folder, *RUN, DONE)
    runs: dict[Configuration, Any] = {c: read(c, folders[c], say=True) for c in folders}
    if todo := [c for c, done in runs.items() if not done]:
        where = f"on {dask}" if dask else f"{jobs} at a time"
        print(
            f"{len(todo)} of {len(runs)} runs to do, {where}. What is done stays in "
            f"{output}, if this is interrupted.",
            flush=True,
        )
        # Another `compare` may have done it meanwhile.
        left = (c for c in todo if not _read_into(runs, c, folders[c]))
        # No more processes than runs.
        results = side_by_side(_run, left, min(jobs, len(todo)), dask)
        for c, (came_to, written) in results:
            # Not read back: another `compare` may put other runs there.
            runs[c] = came_to
            _write(c, folders[c], came_to, written)
    histories: dict[str, list[dict[str, Any]]] = {}
    for c, history in runs.items():
        histories.setdefault(c.arm, []).append(history)
    print(f"\n{table(configuration, histories)}\n")
    with staged(output) as part:
        draw(configuration, histories).savefig(part / COMPARISON, dpi=150)
    print(f"Picture: {output / COMPARISON}")
    return histories


def read(
    configuration: Configuration, folder: pathlib.Path, say: bool = False
) -> dict[str, Any] | None:
    """What the run of this very configuration came to.

    Returns its history, `flossing_steps` and `seconds`; None where it is not there, or is
    damaged, which it may `say`.
    """
    path = folder / DONE
    if not path.exists():
        return None
    try:
        done = json.loads(path.read_text())
        if done["configuration"] != configuration.as_dict():
            return None
        for name, checksum in done["checksums"].items():
            path = folder / name
            if zlib.crc32(path.read_bytes()) != checksum:
                raise ValueError("it is not what the run wrote")
        return done["came_to"]
    except (OSError, ValueError, TypeError, LookupError) as error:
        if say:
            print(f"{path} is damaged ({error}): this run is done again.", flush=True)
        return None


def _read_into(
    runs: dict[Configuration, Any], configuration: Configuration, folder: pathlib.Path
) -> bool:
    runs[configuration] = read(configuration, folder)
    return bool(runs[configuration])


def _run(configuration: Configuration) -> tuple[dict[str, Any], dict[str, bytes]]:
    """One run, perhaps in a process elsewhere: what it came to, and its files."""
    result = run(configuration, verbose=0)
    came_to = {
        **result.history,
        "flossing_steps": result.flossing_steps,
        "seconds": result.seconds,
    }
    with tempfile.TemporaryDirectory() as folder:
        result.save(folder)
        files = {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir()}
    return came_to, files


def _write(
    configuration: Configuration,
    folder: pathlib.Path,
    came_to: dict[str, Any],
    written: Mapping[str, bytes],
) -> None:
    """Puts a run where `read` finds it, and says what it came to."""
    task = TASKS[configuration.task]
    with staged(folder, RUN) as part:
        for name, content in written.items():
            (part / name).write_bytes(content)
        done = {
            "configuration": configuration.as_dict(),
            "came_to": came_to,
            "checksums": {name: zlib.crc32(content) for name, content in written.items()},
        }
        # Moved last, in order of names: a run without it was interrupted.
        (part / DONE).write_text(json.dumps(done, indent=2) + "\n")
    print(
        f"{configuration.arm}, seed {configuration.seed}: "
        f"{task.label} {came_to[task.measure][-1]:.3f} in {came_to['seconds']:.0f} s",
        flush=True,
    )


def table(
    configuration: Configuration, histories: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    """The last measure of each arm and seed, their median, and what it took."""
    c, task = configuration, TASKS[configuration.task]
    rows, before = [], 0
    for arm, runs in histories.items():
        last = [each[task.measure][-1] for each in runs]
        reached = {
            f"updates to {t:g}": ", ".join(updates_to(t, r, task.measure) for r in runs)
            for t in task.thresholds
        }
        rows.append(
            {
                task.label: arm,
                **{f"seed {seed}": f"{value:.3f}" for seed, value in enumerate(last)},
                "median": f"{np.median(last):.3f}",
                **reached,
                "flossing steps": ", ".join(str(r["flossing_steps"]) for r in runs),
                "s": f"{np.median([r['seconds'] for r in runs]):.0f}",
            }
        )
        before = [0, *runs[0]["update"]][-2]
    over = "of the test set" if task.test else f"mean of the last {c.updates - before}"
    return (
        f"{aligned(rows)}\n({title(c)}, {c.updates} updates; {over}; chance is "
        f"{task.chance:.3g}; s: median seconds)"
    )


def updates_to(threshold: float, history: Mapping[str, Any], measure: str) -> str:
    """After how many updates a run had reached an accuracy, as text; "–": never."""
    reached = np.asarray(history[measure]) >= threshold
    return f"{history['update'][reached.argmax()]:.0f}" if reached.any() else "–"


def draw(
    configuration: Configuration, histories: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Figure:
    """Learning curves by arm: the median over seeds and the range of most of them."""
    task = TASKS[configuration.task]
    figure, axis = plots.figure()
    curves = {
        arm: (runs[0]["update"], [each[task.measure] for each in runs])
        for arm, runs in histories.items()
    }
    plots.learning_curves(curves, chance=task.chance, measure=task.label, ax=axis)
    axis.set_title(title(configuration))
    return figure


def title(configuration: Configuration) -> str:
    """The task and how long it is, in words."""
    knob = TASKS[configuration.task].knob
    length = f", {knob} {getattr(configuration, knob)}" if knob else ""
    return configuration.task + length
