"""Question: does `Preflossing(train)`, with no settings, beat what a Keras user has?

Tasks x layers x arms x seeds; every arm has the same updates, data and optimiser. Each run
is a row of a file, written when the run ends: a run that is there is not done again, so the
trial can be stopped at any time and goes on where it was. The sets of runs, in order:

- shows: what is claimed of single networks, seeds 10 to 19;
- tune: learning rate and clipping, two values each, for Keras's defaults, seed 0;
- pairs: every task of at most 128 steps, every layer; Keras's defaults, the best rival
  (`trial_run.RIVALS`) and Preflossing, at the rate and clipping of `tune`, seeds 5 to 10;
- rest: the same with the other arms, and the longer tasks.

SimpleRNN, GRU and LSTM are those of `keras_floss.layers`, which have the weights,
initialisers and outputs of Keras's (to 1e-6) and train faster on a CPU, under XLA, but for
the long tasks, where `jit_compile` is Keras's default and a CPU has no XLA. Each run has a
model of its own and one thread, so its seconds are those of a user with one core,
compilation included. The score is that of sequences the model was not trained on.
"Flossed" is measured when training begins, by `lyapunov_exponents` on unseen sequences,
over 55 steps.

Run: pip install -e ".[tasks]"
     python benchmarks/trial.py --plan
     python benchmarks/trial.py --set shows
     python benchmarks/trial.py --table
Part of it: python benchmarks/trial.py --only task=copy-80 layer=simple-rnn seed=10-12
"""

import argparse
import csv
import dataclasses
import importlib.metadata
import itertools
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import trial_table
from trial_run import ARMS, LAYERS, RIVALS, Outcome, Run, do, use_one_thread
from trial_tasks import TASKS

import keras_floss

RESULTS = pathlib.Path(__file__).parent / "results" / "trial.csv"
SHORT = [name for name in TASKS if not name.endswith("-long")]
LONG = [name for name in TASKS if name not in SHORT]
# After so many runs a process makes way for a new one: what TensorFlow compiled stays in
# memory, some 100 MB a run.
RUNS_OF_A_PROCESS = 10
# That of the flossing paper's networks.
PAPER = {"clip": "weight 0.03", "units": 80}
# Rows of which it is said how far 100 steps floss: no training. (layer, k, target, ...)
FLOSSED = [
    {"layer": "rate-rnn", "units": 80, "k": 75},
    {"layer": "rate-rnn", "units": 32, "k": 30},
    {"layer": "gru", "k": 60},
    {"layer": "gru", "k": 16, "target": -0.01},
    {"layer": "lstm", "k": 64},
    {"layer": "lstm", "k": 16, "target": -0.01},
    {"layer": "simple-rnn", "gain": 0.5, "k": 64},
    {"layer": "simple-rnn", "gain": 2.0, "k": 64},
]


def runs_of(task, layers, arms, seeds, **settings):
    """The runs of all layers, seeds and arms: arms side by side."""
    settings = {"updates": TASKS[task].updates, **settings}
    for layer, seed, arm in itertools.product(layers, seeds, arms):
        yield Run(task=task, layer=layer, arm=arm, seed=seed, **settings)


def shows(seeds, _):
    """What is claimed of single networks."""
    seeds = seeds or range(10, 20)
    both = ("keras", "preflossing")
    yield from runs_of("copy-40-long", ["rate-rnn"], both, seeds, **PAPER)
    for row in FLOSSED:
        for seed in seeds:
            yield Run("copy-40", arm="preflossing", seed=seed, updates=1, **row)
    yield from runs_of("copy-80", ["simple-rnn"], (both[0], "identity", both[1]), seeds)
    clip = {"clip": "weight 0.03"}
    arms = (both[0], "orthogonal", both[1], "orthogonal+preflossing")
    yield from runs_of("copy-80", ["rate-rnn"], arms, seeds, **clip)
    yield from runs_of("copy-80", ["simple-rnn"], both, seeds, readout=1.0)
    yield from runs_of("copy-80", ["rate-rnn"], arms, seeds, readout=1.0, **clip)
    arms = ("keras", "chrono", "preflossing", "chrono+preflossing")
    notebook = {"units": 32, "learning_rate": 3e-3}
    yield from runs_of("first-symbol", ["lstm", "gru"], arms, seeds[:5], **notebook)
    yield from runs_of("xor-40", ["simple-rnn"], both, seeds, updates=1500)
    yield from runs_of("copy-40", ["rate-rnn"], ["adaptive"], seeds, **clip)  # README
    for task in ("xor-60-long", "xor-70-long"):
        yield from runs_of(task, ["rate-rnn"], ["adaptive"], seeds, **PAPER)


def tune(seeds, _):
    """The task's optimiser, for Keras's defaults."""
    for task, layer in itertools.product(SHORT, LAYERS):
        for rate, clip in itertools.product((1e-3, 3e-3), ("global 1.0", "weight 0.03")):
            settings = {"learning_rate": rate, "clip": clip}
            yield from runs_of(task, [layer], ["keras"], seeds or [0], **settings)


def pairs(seeds, rows):
    """Every short task and layer."""
    for task, layer in itertools.product(SHORT, LAYERS):
        arms = ("keras", RIVALS[layer], "preflossing")
        best = tuned(task, layer, rows)
        yield from runs_of(task, [layer], arms, seeds or range(5, 11), **best)


def rest(seeds, rows):
    """The other arms, and the longer tasks."""
    seeds = seeds or range(5, 8)
    for layer in LAYERS:
        clip = {"units": 80, "clip": "weight 0.03" if layer == "rate-rnn" else "global 1.0"}
        for task in LONG:
            arms = ("keras", RIVALS[layer], "preflossing")
            yield from runs_of(task, [layer], arms, seeds, **clip)
    for task, layer in itertools.product(SHORT, LAYERS):
        arms = ["adaptive", "joint"]
        arms += ["chrono+preflossing"] if RIVALS[layer] == "chrono" else []
        yield from runs_of(task, [layer], arms, seeds, **tuned(task, layer, rows))


SETS = {"shows": shows, "tune": tune, "pairs": pairs, "rest": rest}


def tuned(task, layer, rows):
    """The rate and the clipping with which Keras's defaults did best in `tune`."""
    tried = [
        row
        for row in rows
        if (row["set"], row["task"], row["layer"]) == ("tune", task, layer)
    ]
    if not tried:
        return {}
    error = TASKS[task].measure == "error"

    def how_bad(row):
        score = float(row["score"])
        bad = np.inf if np.isnan(score) else score if error else -score
        return bad, float(row["updates_to_mark"] or np.inf)

    best = min(tried, key=how_bad)
    return {"learning_rate": float(best["learning_rate"]), "clip": best["clip"]}


def key(name, run):
    """What a row of the results is told by."""
    return (name, *(str(value) for value in dataclasses.astuple(run)))


def key_of(row):
    """The same of a row that was read, of before there were all columns too."""
    fields = dataclasses.fields(Run)
    return (row["set"], *(row.get(field.name, str(field.default)) for field in fields))


def read(path):
    """The rows of a file of results."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def append(path, row):
    """Adds a row to a file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def versions():
    """What the run was made with."""
    folder = pathlib.Path(keras_floss.__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return {
        "version": keras_floss.__version__,
        "commit": commit,
        "keras_version": keras.__version__,
        "tensorflow_version": importlib.metadata.version("tensorflow"),
    }


def numbers(text):
    """`5`, `5,6` and `5-7` as a list."""
    parts = [part.partition("-") for part in text.split(",")]
    return [n for a, _, b in parts for n in range(int(a), int(b or a) + 1)]


def chosen(run, only):
    """Whether a run is among those that `--only` names."""
    for text in only:
        name, _, values = text.partition("=")
        allowed = map(str, numbers(values)) if name == "seed" else values.split(",")
        if str(getattr(run, name)) not in allowed:
            return False
    return True


def plan(todo, rows):
    """Runs and seconds by set: those measured in the same pair and arm, or the nearest."""
    measured = [(row, float(row["seconds"])) for row in rows]
    print("| set | runs | done | seconds to do |\n| --- | --- | --- | --- |")
    for name, (runs, left) in todo.items():
        seconds = 0.0
        for run in left:
            for fields in (("task", "layer", "arm"), ("task", "layer"), ("layer",), ()):
                like = [
                    s * run.updates / float(row["updates"]) if fields else s
                    for row, s in measured
                    if all(row[field] == getattr(run, field) for field in fields)
                    and (run.updates == 1) == (row["updates"] == "1")
                ]
                if like:
                    seconds += np.mean(like)
                    break
        print(f"| {name} | {len(runs)} | {len(runs) - len(left)} | {seconds:.0f} |")


def main(arguments=None):
    """Returns whether there is more to do, by another process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", action="append", choices=SETS, help="default: all")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE,...",
        help=f"only runs of this task, layer ({', '.join(LAYERS)}), arm "
        f"({', '.join(ARMS)}), seed (5-7) or units",
    )
    parser.add_argument("--seeds", type=numbers, help="in place of those of the set: 0-2")
    parser.add_argument("--plan", action="store_true", help="say what is to do, and end")
    parser.add_argument("--table", action="store_true", help="print the results, and end")
    parser.add_argument("--quick", action="store_true", help="tiny runs: a test")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, help="a CSV file")
    options = parser.parse_args(arguments)
    if options.quick and options.results == RESULTS:
        parser.error("--quick has --results of its own.")
    rows = read(options.results)
    if options.table:
        print(trial_table.tables(rows, options.set))
        return False

    def sets():
        """Each set, its runs, and those that are to do: what is there may tell the next."""
        for name in options.set or SETS:
            runs = [
                run for run in SETS[name](options.seeds, rows) if chosen(run, options.only)
            ]
            if options.quick:
                quick = {"units": 8, "updates": 2, "steps": 2}
                runs = [dataclasses.replace(r, **quick, k=min(r.k, 8)) for r in runs]
            done = set(map(key_of, rows))
            yield name, runs, [run for run in runs if key(name, run) not in done]

    if options.plan:
        plan({name: (runs, left) for name, runs, left in sets()}, rows)
        return False
    made_with, runs_done = versions(), 0
    for name, _, left in sets():
        for number, run in enumerate(left, 1):
            if runs_done == RUNS_OF_A_PROCESS:
                return True
            outcome = do(run)
            runs_done += 1
            row = {"set": name, **dataclasses.asdict(run)}
            for field in dataclasses.fields(Outcome):
                value = getattr(outcome, field.name)
                row[field.name] = f"{value:.4g}" if isinstance(value, float) else value
            row |= made_with
            append(options.results, row)
            rows.append({k: "" if v is None else str(v) for k, v in row.items()})
            print(
                f"{name} {number}/{len(left)}: {run.task} {run.layer} {run.units} "
                f"{run.arm} seed {run.seed}: {outcome.score:.3f}, mark after "
                f"{outcome.updates_to_mark or 'never'}, {outcome.flossing_steps} steps "
                f"{outcome.ended} {row['flossing_loss'] or ''}, "
                f"{outcome.flossing_seconds:.1f} + {outcome.training_seconds:.1f} s",
                flush=True,
            )
    return False


if __name__ == "__main__":
    use_one_thread()
    if main():
        os.execv(sys.executable, [sys.executable, *sys.argv])
