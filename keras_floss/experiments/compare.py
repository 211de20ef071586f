"""Methods and seeds side by side on one task."""

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import zlib

import numpy as np
import tensorflow as tf

from keras_floss import plots
from keras_floss.experiments.output import check_folder, staged
from keras_floss.experiments.problems import TASKS
from keras_floss.experiments.run import FILES, run
from keras_floss.utils.checks import check_positive_int

PICTURE = "comparison.png"
DONE = "result.json"
MOST_SEEDS = 1000


def compare(configuration, methods, seeds=2, output="keras-floss-compare", jobs=1):
    """Runs each method with each seed; prints a table and draws a picture.

    A run that is done is not done again: what it came to is read from `output`.

    Args:
        configuration: a `Configuration`, but for `method` and `seed`.
        methods: list of methods.
        seeds: number of seeds, from 0 on.
        output: folder of results, one folder a run in it, and of the picture.
        jobs: number of runs side by side, in processes of their own; more than one, or
            another `joblib.parallel_config` backend (Dask, Ray), needs joblib.

    Returns:
        `{method: [history of each seed]}`, the histories as in `Result.history`.
    """
    check_positive_int("seeds", seeds)
    check_positive_int("jobs", jobs)
    if seeds > MOST_SEEDS:
        raise ValueError(f"`seeds` must be at most {MOST_SEEDS}. Received: {seeds}")
    plots.require_matplotlib()
    output = pathlib.Path(output)
    # All of them before the first is run, for what is wrong with one of them.
    configurations = {
        (method, seed): dataclasses.replace(configuration, method=method, seed=seed)
        for method in methods
        for seed in range(seeds)
    }
    check_folder(output, PICTURE)
    folders = {key: output / f"{key[0]}-{key[1]}" for key in configurations}
    for folder in folders.values():
        if folder.exists():
            check_folder(folder, *FILES, DONE)
    runs = {key: _done(c, folders[key]) for key, c in configurations.items()}
    todo = {key: (configurations[key], folders[key], jobs) for key in runs if not runs[key]}
    if todo:
        print(
            f"{len(todo)} of {len(runs)} runs to do, {jobs} at a time. What is done stays "
            f"in {output}, if this is interrupted.",
            flush=True,
        )
        # From memory: another `compare` may have put other runs there meanwhile.
        runs.update(zip(todo, _run_all(todo.values(), jobs), strict=True))
    histories = {m: [runs[m, seed] for seed in range(seeds)] for m in methods}
    print(f"\n{table(configuration, histories)}\n")
    path = output / PICTURE
    with staged(output) as part:
        draw(configuration, histories).savefig(part / PICTURE, dpi=150)
    print(f"Picture: {path}")
    return histories


def read(configuration, folder):
    """What the run of this very configuration came to; None where it is not there.

    Returns its history, `flossing_steps` and `seconds`. Raises ValueError where what is
    there is damaged.
    """
    path = folder / DONE
    if not path.exists():
        return None
    try:
        done = json.loads(path.read_text())
        if done["configuration"] != dataclasses.asdict(configuration):
            return None
        # Runs of the first version have no checksums.
        for name, checksum in done.get("checksums", {}).items():
            path = folder / name
            if zlib.crc32(path.read_bytes()) != checksum:
                raise ValueError("it is not what the run wrote")
        path = folder / "history.csv"
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        history = {name: [float(row[name]) for row in rows] for name in rows[0]}
        if history["update"][-1] != configuration.updates:
            raise ValueError("it ends early")
        return {**history, **{name: done[name] for name in ("flossing_steps", "seconds")}}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def _done(configuration, folder):
    try:
        return read(configuration, folder)
    except ValueError as error:
        print(f"{error}: this run is done again.", flush=True)


def _run_all(todo, jobs):
    try:
        import joblib
    except ImportError as error:
        if jobs > 1:
            raise ImportError(
                'Runs side by side need joblib: pip install "keras-floss[sweep]"'
            ) from error
        return [_run(*arguments) for arguments in todo]
    # No more processes than runs.
    jobs = min(jobs, len(todo))
    return joblib.Parallel(n_jobs=jobs)(joblib.delayed(_run)(*each) for each in todo)


def _run(configuration, folder, jobs):
    """One run, in a process of its own where there are several jobs."""
    if jobs > 1:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        # An error says that the process has run one before, with so many threads.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
    # Damaged, if it is: it is done again. Or by another `compare` meanwhile, and whole.
    with contextlib.suppress(ValueError):
        if done := read(configuration, folder):
            return done
    result = run(configuration, verbose=0)
    steps = len(result.flossing.get("flossing_loss", []))
    came_to = {"flossing_steps": steps, "seconds": result.seconds}
    with staged(folder, FILES) as part:
        result.save(part)
        done = {
            "configuration": dataclasses.asdict(configuration),
            **came_to,
            "checksums": {p.name: zlib.crc32(p.read_bytes()) for p in part.iterdir()},
        }
        # The last in the order of names: a run without it was interrupted.
        (part / DONE).write_text(json.dumps(done, indent=2) + "\n")
    print(
        f"{configuration.method}, seed {configuration.seed}: "
        f"{TASKS[configuration.task].label} "
        f"{result.measure:.3f} in {result.seconds:.0f} s",
        flush=True,
    )
    return {**result.history, **came_to}


def table(configuration, histories):
    """The last measure of each method and seed, their median, and what it took."""
    task = TASKS[configuration.task]
    seeds = len(next(iter(histories.values())))
    head = [
        task.label,
        *(f"seed {s}" for s in range(seeds)),
        "median",
        *(f"updates to {threshold:g}" for threshold in task.thresholds),
        "flossing steps",
        "s",
    ]
    rows = [head]
    for method, runs in histories.items():
        last = [each[task.measure][-1] for each in runs]
        rows.append(
            [
                method,
                *(f"{value:.3f}" for value in (*last, np.median(last))),
                *(
                    ", ".join(updates_to(t, each, task.measure) for each in runs)
                    for t in task.thresholds
                ),
                ", ".join(str(each["flossing_steps"]) for each in runs),
                f"{np.median([each['seconds'] for each in runs]):.0f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([*lines, _note(configuration, histories)])


def updates_to(threshold, history, measure):
    """After how many updates a run had reached an accuracy, as text; "–": never."""
    reached = np.asarray(history[measure]) >= threshold
    return f"{history['update'][reached.argmax()]:.0f}" if reached.any() else "–"


def _note(configuration, histories):
    """What the numbers of the table are."""
    c, task = configuration, TASKS[configuration.task]
    over = "of the test set"
    if not task.test:
        over = f"mean of the last {c.updates - _before_last(histories)}"
    return (
        f"({title(c)}, {c.updates} updates; {over}; chance is {task.chance:.3g}; s: median "
        "seconds)"
    )


def _before_last(histories):
    """The number of updates before those of the last entry."""
    updates = next(iter(histories.values()))[0]["update"]
    return int(updates[-2]) if len(updates) > 1 else 0


def draw(configuration, histories):
    """Learning curves by method: the median over seeds and the range of most of them."""
    task = TASKS[configuration.task]
    figure, axis = plots.figure()
    curves = {
        method: (runs[0]["update"], [each[task.measure] for each in runs])
        for method, runs in histories.items()
    }
    plots.learning_curves(curves, chance=task.chance, measure=task.label, ax=axis)
    axis.set_title(title(configuration))
    return figure


def title(configuration):
    """The task and how long it is, in words."""
    knob = TASKS[configuration.task].knob
    length = f", {knob} {getattr(configuration, knob)}" if knob else ""
    return configuration.task + length
