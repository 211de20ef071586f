"""The results of trial.py as tables in markdown."""

import collections
import statistics

from trial_run import ARMS, RIVALS
from trial_tasks import TASKS

# A pair is worse where no seed of either reaches the mark, and the mean paired difference
# is worse than this: in accuracy, and relative to the error.
LESS_ACCURACY, MORE_ERROR = 0.02, 1.05
# What makes rows runs of one kind, but for their arm and seed.
KIND = (
    *("task", "layer", "units", "updates", "learning_rate", "clip"),
    *("gain", "k", "target", "readout"),
)


def tables(rows, sets=None):
    """All tables, of these sets or of all."""
    text = []
    for name in sets or ("shows", "tune", "pairs", "rest"):
        of_set = [row for row in rows if row["set"] == name]
        if of_set:
            text.append(f"### {name}\n\n{by_arm(of_set)}")
        if name == "pairs" and of_set:
            text.append(compared(of_set))
    return "\n\n".join(text)


def grouped(rows):
    """`{kind: {arm: {seed: row}}}`, in the order of the rows."""
    groups = collections.defaultdict(lambda: collections.defaultdict(dict))
    for row in rows:
        groups[tuple(row[name] for name in KIND)][row["arm"]][int(row["seed"])] = row
    return groups


def table(head, lines):
    """A markdown table."""
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (head, rule, *lines))


def by_arm(rows):
    """One line for each kind of run and arm."""
    head = ["task", "layer", "units, updates, rate, clipping", "arm", "n", "reached"]
    head += ["mean", "worst", "updates to the mark", "largest drop"]
    head += ["flossing steps", "ended", "largest flossing loss (k, target)"]
    head += ["s flossing", "s training"]
    lines = []
    for kind, arms in grouped(rows).items():
        task, layer, units, updates, rate, clip, gain, _, _, readout = kind
        gain = f", gain {float(gain):g}" if float(gain) else ""
        gain += f", read-out {float(readout):g}" if float(readout) else ""
        for arm in sorted(arms, key=ARMS.index):
            runs = list(arms[arm].values())
            line = [task, f"{layer}{gain}", f"{units}, {updates}, {float(rate):g}, {clip}"]
            line += [arm, len(runs), *scores(task, runs), *flossings(runs)]
            line += [middle(runs, "flossing_seconds"), middle(runs, "training_seconds")]
            lines.append(line)
    return table(head, lines)


def scores(task, runs):
    """How many reach the mark, mean, worst, median updates, and the largest drop."""
    if all(row["updates"] == "1" for row in runs):
        return ["", "", "", "", ""]
    values = [float(row["score"]) for row in runs]
    worst = max if TASKS[task].measure == "error" else min
    # A run that never gets there takes longer than all.
    to_mark = sorted(float(row["updates_to_mark"] or "inf") for row in runs)
    median = to_mark[len(to_mark) // 2]
    drop = max(float(row["largest_drop"]) for row in runs)
    return [
        f"{reached(runs)}",
        f"{statistics.fmean(values):.3f}",
        f"{worst(values):.3f}",
        "never" if median == float("inf") else f"{median:.0f}",
        f"{drop:.3f}",
    ]


def flossings(runs):
    """Median and most steps, why they ended, and the largest loss that was measured."""
    steps = sorted(int(row["flossing_steps"]) for row in runs)
    if not steps[-1] and not any(row["ended"] for row in runs):
        return ["", "", ""]
    ended = collections.Counter(row["ended"] for row in runs if row["ended"])
    losses = [float(row["flossing_loss"]) for row in runs if row["flossing_loss"]]
    loss = f"{max(losses):.2g}" if losses else ""
    measured = f" ({runs[0]['measured_k']}, {float(runs[0]['target']):g})" if loss else ""
    return [
        f"{steps[len(steps) // 2]} (most {steps[-1]})",
        "; ".join(f"{reason} ({n})" for reason, n in ended.items()),
        loss + measured,
    ]


def middle(runs, name):
    """The median of a column."""
    return f"{statistics.median(float(row[name]) for row in runs):.1f}"


def reached(runs):
    """The number of runs that reach the mark."""
    return sum(row["reached"] == "True" for row in runs)


def verdict(task, ours, theirs):
    """`"worse"`, `"better"` or `""`, and the mean paired difference, ours − theirs."""
    seeds = sorted(ours.keys() & theirs.keys())
    a, b = ([side[seed] for seed in seeds] for side in (ours, theirs))
    scores = [[float(row["score"]) for row in side] for side in (a, b)]
    difference = statistics.fmean(x - y for x, y in zip(*scores, strict=True))
    if reached(a) != reached(b):
        return "worse" if reached(a) < reached(b) else "better", difference
    if not reached(a):
        if TASKS[task].measure == "error":
            means = [statistics.fmean(side) for side in scores]
            ratio = means[0] / means[1]
            # NaN is no improvement.
            word = "" if ratio <= MORE_ERROR else "worse"
            return "better" if ratio < 1 / MORE_ERROR else word, difference
        word = "" if difference >= -LESS_ACCURACY else "worse"
        return "better" if difference > LESS_ACCURACY else word, difference
    return "", difference


def compared(rows, ours="preflossing"):
    """Each pair of task and layer: flossed against Keras's defaults and the best rival."""
    head = ["task (mark)", "layer", "n", "Keras: reached, mean", "rival: reached, mean"]
    head += ["flossed: reached, mean", "flossed − Keras", "against Keras"]
    head += ["flossed − rival", "against the rival"]
    lines, worse, better = [], [], []
    for kind, arms in grouped(rows).items():
        task, layer = kind[:2]
        rival = RIVALS[layer]
        if not all(arm in arms for arm in ("keras", rival, ours)):
            continue
        measure = TASKS[task].measure
        line = [f"{task} ({measure} {TASKS[task].mark})", layer, len(arms[ours])]
        for arm in ("keras", rival, ours):
            runs = list(arms[arm].values())
            hits, mean, _, updates, _ = scores(task, runs)
            name = f"{arm}: " if arm == rival else ""
            line.append(f"{name}{hits}, {mean} (mark after {updates})")
        for arm in ("keras", rival):
            word, difference = verdict(task, arms[ours], arms[arm])
            line += [f"{difference:+.3f}", word]
            if arm == "keras" and word:
                (worse if word == "worse" else better).append(f"{task} {layer}")
        lines.append(line)
    lines.sort(key=lambda line: (list(TASKS).index(line[0].split()[0]), line[1]))
    return (
        f"{table(head, lines)}\n\n"
        f"Of {len(lines)} pairs of task and layer, flossed is worse than Keras's defaults "
        f"in {len(worse)} ({', '.join(worse) or 'none'}) and better in {len(better)} "
        f"({', '.join(better) or 'none'})."
    )
