"""The command `keras-floss`."""

import argparse
import concurrent.futures
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_floss import Flossing, __version__
from keras_floss.experiments import Configuration, run
from keras_floss.experiments.compare import PICTURE as COMPARISON
from keras_floss.experiments.compare import compare
from keras_floss.experiments.configuration import SETTINGS
from keras_floss.experiments.demo import PICTURE, demo
from keras_floss.experiments.output import check_folder, staged
from keras_floss.experiments.problems import TASKS, Task
from keras_floss.experiments.run import FILES
from keras_floss.experiments.saved_model import spectrum

UPDATES = 3000  # of `compare`
AUTO = ("window", "k", "warmup", "qr_interval", "tolerance")  # knobs that may be "auto"
# The first knob of each group of flags.
GROUPS = {
    "task": "the task",
    "network": "the network and its training",
    "flossing": "flossing",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = vars(make_parser().parse_args(arguments))
    # The other options are the arguments of the command.
    command, parser = options.pop("command"), options.pop("parser")
    try:
        command(**options)
    except (ValueError, ImportError, OSError, FloatingPointError) as error:
        parser.error(str(error))
    except (MemoryError, tf.errors.ResourceExhaustedError):
        parser.error("There is not enough memory for this: ask for less.")
    except concurrent.futures.BrokenExecutor as error:
        parser.error(
            "The process of a run has ended before the run, often for want of memory: ask "
            f"for fewer --jobs. ({error})"
        )
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="keras-floss",
        description="Recurrent networks that learn long delays, by gradient flossing: "
        "before training, the Lyapunov exponents of the network are moved to zero, so that "
        "gradients neither vanish nor explode on their way back through time.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, function: Callable[..., Any], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function, parser=command)
        return command

    # A bar that moves is for a terminal; elsewhere one line an epoch.
    verbose = 1 if sys.stdout.isatty() else 2
    command = add(
        "demo",
        demo,
        "see a flossed network learn a delay at which Keras's layers fail (two minutes)",
    )
    command.add_argument(
        "--output",
        metavar="DIR",
        default=".",
        help=f"folder for the picture, {PICTURE} (default: the current folder)",
    )
    command.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="INT",
        help="number of seeds of weights and data, from 0 on (default: 3)",
    )

    command = add(
        "train",
        functools.partial(train, verbose=verbose),
        "train one network on one task, flossed or not",
    )
    add_knobs(command)
    command.add_argument(
        "--output",
        metavar="DIR",
        help=f"folder for {', '.join(FILES)} (default: nothing is written)",
    )

    command = add(
        "compare",
        compare_arms,
        "train several networks, flossed or not, with several seeds, and compare",
    )
    by_task = {task: ",".join(its.arms) for task, its in TASKS.items()}
    command.add_argument(
        "--arms",
        type=names,
        default=(),
        metavar="ARM,ARM,...",
        help="what is compared: a network as it is, lstm, or flossed, lstm+pre; `train "
        "--help` lists what --network and --flossing may be "
        f"(default: {in_words(','.join(Task.arms), by_task)})",
    )
    command.add_argument(
        "--seeds",
        type=int,
        default=2,
        metavar="INT",
        help="number of seeds, from 0 on (default: 2)",
    )
    add_knobs(command, without=("network", "flossing", "seed"), updates=UPDATES)
    command.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="INT",
        help="runs side by side, with the extra sweep (default: 1)",
    )
    command.add_argument(
        "--output",
        metavar="DIR",
        default="keras-floss-compare",
        help=f"folder for the runs and {COMPARISON}; a run that is done there is not done "
        "again (default: %(default)s)",
    )

    command = add(
        "spectrum",
        spectrum,
        "the Lyapunov exponents of the recurrent layers of a saved model, and a diagnosis",
    )
    command.add_argument("model", metavar="MODEL.keras", help="a model saved by Keras")
    command.add_argument(
        "--data",
        metavar="X.npy",
        required=True,
        help="its inputs, as numpy.save wrote them; .npz for several, under the names of "
        "the model's inputs, or without names in their order",
    )
    command.add_argument(
        "--targets",
        metavar="Y.npy",
        help="its targets, for the gradient of its loss (default: exponents alone)",
    )
    command.add_argument(
        "--sequences", type=int, default=4, help="how many, the first ones (default: 4)"
    )
    command.add_argument("--k", type=int, help="number of exponents (default: all)")
    command.add_argument(
        "--warmup", type=int, default=0, help="first steps not counted (default: 0)"
    )
    command.add_argument(
        "--layers",
        type=names,
        metavar="NAME,NAME,...",
        help="recurrent layers (default: all)",
    )
    command.add_argument(
        "--json", action="store_true", dest="as_json", help="print JSON, not text"
    )
    command.add_argument(
        "--plot",
        metavar="PNG",
        dest="picture",
        help="draw spectra and condition numbers there",
    )
    return parser


def names(text: str) -> list[str]:
    """The names in a list with commas."""
    return text.split(",")


def number_or_auto(text: str) -> float | str:
    """What a setting may be that can also be chosen automatically."""
    if text == "auto":
        return text
    return int(text) if text.isdecimal() else float(text)


def add_knobs(
    command: argparse.ArgumentParser, without: Collection[str] = (), **defaults: Any
) -> None:
    """Adds a flag for each knob of a `Configuration`; `defaults` are this command's."""
    command.usage = f"{command.prog} [options]"
    knobs: dict[str, tuple[Any, Mapping[str, Any]]] = {
        field.name: (field.default, field.metadata)
        for field in dataclasses.fields(Configuration)
        if field.name != "settings"
    }
    knobs |= {
        name: (getattr(Flossing, name), {"help": SETTINGS[name]}) for name in SETTINGS
    }
    for name, (default, metadata) in knobs.items():
        if name in GROUPS:
            group = command.add_argument_group(GROUPS[name])
        if name in without:
            continue
        usual = defaults.get(name, default)
        kind: Any = number_or_auto if name in AUTO else type(usual)
        by_task = {task: its.defaults.get(name, usual) for task, its in TASKS.items()}
        # What is not given is left out: the default depends on the task.
        group.add_argument(
            "--" + name.replace("_", "-"),
            type=kind,
            default=argparse.SUPPRESS,
            choices=metadata["allowed"] if kind is str else None,
            metavar={int: "INT", float: "FLOAT", str: None}.get(kind, "NUMBER|auto"),
            help=f"{metadata['help']} (default: {in_words(usual, by_task)})",
        )


def in_words(usual: Any, by_task: Mapping[str, Any]) -> str:
    """A default, and the tasks that have another, but for the permuted ones."""
    others: dict[Any, list[str]] = {}
    for task, value in by_task.items():
        if value != usual and not task.startswith("permuted-"):
            others.setdefault(value, []).append(task)
    groups = [f"{', '.join(tasks)}: {value}" for value, tasks in others.items()]
    return "; ".join([str(usual), *groups])


def train(output: str | None, verbose: int, **knobs: Any) -> None:
    """`keras-floss train`"""
    configuration = Configuration.of(**knobs)
    if output:
        check_folder(output, *FILES)
    result = run(configuration, verbose=verbose)
    measure, updates = TASKS[configuration.task].label, result.history["update"][-1]
    print(
        f"\n{measure} {result.measure:.3f} after {updates} updates, "
        f"λ_1 {result.spectra['trained'][0]:+.3f} per time step, {result.seconds:.0f} s"
    )
    if output:
        with staged(output, FILES) as part:
            result.save(part)
        print(f"Results: {pathlib.Path(output)}")


def compare_arms(
    arms: Sequence[str], seeds: int, output: str, jobs: int, **knobs: Any
) -> None:
    """`keras-floss compare`"""
    defaults = TASKS[knobs.get("task", Configuration.task)].defaults
    configuration = Configuration.of(**{"updates": UPDATES, **defaults, **knobs})
    compare(configuration, arms, seeds, output, jobs)
