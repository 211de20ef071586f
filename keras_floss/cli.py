"""The command `keras-floss`."""

import argparse
import dataclasses
import pathlib
import sys

from keras_floss import __version__
from keras_floss.experiments import Configuration, run
from keras_floss.experiments.configuration import METHODS, TASKS
from keras_floss.experiments.demo import PICTURE, demo

HELP = {
    "task": "what the network has to learn",
    "method": "none: train it as it is; pre: floss it first; periodic: first, and again "
    "during training",
    "delay": "how many time steps back the answer lies",
    "length": "time steps of a sequence",
    "units": "units of the network",
    "batch_size": "sequences of a batch",
    "updates": "updates of the weights on the task",
    "learning_rate": "of the task's optimiser, Adam",
    "clipnorm": "to which the gradient of each weight is clipped",
    "flossing_steps": "flossing steps each time",
    "flossing_every": "updates from one flossing to the next (method periodic)",
    "flossing_times": "how many times to floss during training (method periodic)",
    "flossing_learning_rate": "of the flossing optimiser, Adam",
    "window": "time steps of a flossing step",
    "k": "number of Lyapunov exponents that are flossed",
    "warmup": "first steps of the window that are not counted",
    "qr_interval": "time steps from one QR to the next",
    "seed": "of weights and data",
}


def main(arguments=None):
    """Runs the command line; returns its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    # A bar that moves is for a terminal; elsewhere one line an epoch.
    options.verbose = 1 if sys.stdout.isatty() else 2
    try:
        return options.command(options)
    except (ValueError, ImportError) as error:
        options.parser.error(str(error))
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def make_parser():
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="keras-floss",
        description="Recurrent networks that learn long delays, by gradient flossing: "
        "before training, the Lyapunov exponents of the network are moved to zero, so that "
        "gradients neither vanish nor explode on their way back through time.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    text = "see a network learn a delay that it could not learn before (minutes)"
    command = commands.add_parser("demo", help=text, description=text)
    command.set_defaults(command=run_demo, parser=command)
    command.add_argument(
        "--output",
        metavar="DIR",
        default=".",
        help=f"folder for the picture, {PICTURE} (default: the current folder)",
    )
    command.add_argument("--seed", type=int, default=0, help=f"{HELP['seed']} (default: 0)")

    text = "train one network on one task, flossed or not"
    command = commands.add_parser("train", help=text, description=text)
    command.set_defaults(command=run_train, parser=command)
    for field in dataclasses.fields(Configuration):
        command.add_argument(
            "--" + field.name.replace("_", "-"),
            type=field.type,
            default=field.default,
            choices={"task": list(TASKS), "method": METHODS}.get(field.name),
            metavar=None if field.type is str else field.type.__name__.upper(),
            help=f"{HELP[field.name]} (default: {field.default})",
        )
    command.add_argument(
        "--output",
        metavar="DIR",
        help="folder for configuration.json, history.csv, flossing.csv and "
        "model.weights.h5 (default: nothing is written)",
    )
    return parser


def run_demo(options):
    """`keras-floss demo`"""
    demo(options.output, options.seed, options.verbose)
    return 0


def run_train(options):
    """`keras-floss train`"""
    names = [field.name for field in dataclasses.fields(Configuration)]
    configuration = Configuration(**{name: getattr(options, name) for name in names})
    result = run(configuration, verbose=options.verbose)
    spectrum = result.spectra["trained"]
    print(
        f"\naccuracy {result.accuracy:.3f} after {result.history['update'][-1]} updates, "
        f"λ_1 {spectrum[0]:+.3f} per time step, {result.seconds:.0f} s"
    )
    if options.output:
        result.save(options.output)
        print(f"Results: {pathlib.Path(options.output)}")
    return 0
