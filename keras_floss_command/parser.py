"""The parser of the command line."""

import argparse
import dataclasses
import importlib.metadata
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from keras_floss_command.files import COMPARISON, DEMO, RUN
from keras_floss_command.knobs import SETTINGS, Knobs
from keras_floss_command.tasks import ARMS, DEFAULTS, USUAL_ARMS

UPDATES = 3000  # of `compare`
AUTO = ("window", "k", "warmup", "qr_interval", "tolerance")  # knobs that may be "auto"
# The first knob of each group of flags.
GROUPS = {
    "task": "the task",
    "network": "the network and its training",
    "flossing": "flossing",
}


class Parser(argparse.ArgumentParser):
    """A parser whose error is one line."""

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {line}\n")


class Version(argparse.Action):
    """Looks the version up only where it is asked for."""

    def __call__(self, parser, *args):
        print(importlib.metadata.version("keras-floss"))
        parser.exit()


def make_parser() -> Parser:
    """The parser of all subcommands.

    What it parses has `name`, the subcommand, and `parser`, its parser, beside the options.
    """
    parser = Parser(
        prog="keras-floss",
        description="Recurrent networks that learn long delays, by gradient flossing: "
        "before training, the Lyapunov exponents of the network are moved to zero, so that "
        "gradients neither vanish nor explode on their way back through time.",
    )
    parser.add_argument(
        "--version",
        action=Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="show the version and exit",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, text: str) -> Parser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(name=name, parser=command)
        return command

    command = add(
        "demo",
        "see a flossed network learn a delay at which Keras's layers fail (two minutes)",
    )
    command.add_argument(
        "--output",
        metavar="DIR",
        default=".",
        help=f"folder for the picture, {DEMO} (default: the current folder)",
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
        "train one network on one task, flossed or not",
    )
    add_knobs(command)
    command.add_argument(
        "--output",
        metavar="DIR",
        help=f"folder for {', '.join(RUN)} (default: nothing is written)",
    )

    command = add(
        "compare",
        "train several networks, flossed or not, with several seeds, and compare",
    )
    by_task = {task: ",".join(arms) for task, arms in ARMS.items()}
    command.add_argument(
        "--arms",
        type=names,
        default=(),
        metavar="ARM,ARM,...",
        help="what is compared: a network as it is, lstm, or flossed, lstm+pre; `train "
        "--help` lists what --network and --flossing may be "
        f"(default: {in_words(','.join(USUAL_ARMS), by_task)})",
    )
    command.add_argument(
        "--seeds",
        type=int,
        default=2,
        metavar="INT",
        help="number of seeds, from 0 on (default: 2)",
    )
    add_knobs(command, without=("network", "flossing", "seed"), updates=UPDATES)
    add_places(command)
    command.add_argument(
        "--output",
        metavar="DIR",
        default="keras-floss-compare",
        help=f"folder for the runs and {COMPARISON}; a run that is done there is not done "
        "again (default: %(default)s)",
    )

    command = add(
        "reproduce",
        "run what a figure of the results is made of, and draw it",
    )
    command.add_argument(
        "figures",
        nargs="*",
        metavar="FIGURE",
        help="names of figures, or all (default: they are listed)",
    )
    command.add_argument(
        "--list",
        action="store_true",
        dest="listed",
        help="say what there is, what is done of it, and how long the rest takes",
    )
    command.add_argument(
        "--quick",
        action="store_true",
        help="tiny networks and few updates, some minutes: to see that it runs",
    )
    add_places(command)
    command.add_argument(
        "--output",
        metavar="DIR",
        default="keras-floss-results",
        help="folder for the runs of each figure, FIGURE.jsonl, and its picture; a run "
        "that is there is not done again (default: %(default)s)",
    )

    command = add(
        "spectrum",
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


def add_places(command: argparse.ArgumentParser) -> None:
    """Adds the flags that say where runs are done."""
    command.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="INT",
        help="runs side by side, with the extra sweep (default: 1)",
    )
    command.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="of the scheduler of a Dask cluster that does the runs, in place of --jobs, "
        "with the extra sweep; its workers need keras_floss, and one thread each",
    )


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
    """Adds a flag for each knob; `defaults` are this command's."""
    command.usage = f"{command.prog} [options]"
    knobs: dict[str, tuple[Any, Mapping[str, Any]]] = {
        field.name: (field.default, field.metadata) for field in dataclasses.fields(Knobs)
    }
    knobs |= {name: (value, {"help": text}) for name, (value, text) in SETTINGS.items()}
    for name, (default, metadata) in knobs.items():
        if name in GROUPS:
            group = command.add_argument_group(GROUPS[name])
        if name in without:
            continue
        usual = defaults.get(name, default)
        kind: Any = number_or_auto if name in AUTO else type(usual)
        by_task = {task: its.get(name, usual) for task, its in DEFAULTS.items()}
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
