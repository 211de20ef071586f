"""The command `keras-floss`."""

import argparse
import concurrent.futures
import dataclasses
import pathlib
import sys

import tensorflow as tf

from keras_floss import __version__
from keras_floss.experiments import Configuration, run
from keras_floss.experiments.compare import PICTURE as COMPARISON
from keras_floss.experiments.compare import compare
from keras_floss.experiments.configuration import CHOICES
from keras_floss.experiments.demo import PICTURE, demo
from keras_floss.experiments.output import check_folder, staged
from keras_floss.experiments.problems import TASKS
from keras_floss.experiments.run import FILES
from keras_floss.experiments.saved_model import spectrum

HELP = {
    "task": "what the network has to learn",
    "method": "of a RateRNN, none: train it as it is; pre: floss it first; periodic: "
    "first, and again at fixed times during training; adaptive: first, and again whenever "
    "training has moved the exponents; joint: a penalty in every update. Of an LSTM, lstm: "
    "train it as it is; h-detach: block its gradient through h now and then; c-detach: the "
    "one through c, which does harm; preflossed-lstm: floss it first; both: h-detach, and "
    "floss it first",
    "delay": "how many time steps back the answer lies; copying: T",
    "levels": "h of the hierarchical XOR, of 2^h bits",
    "length": "time steps of a sequence",
    "units": "units of the network",
    "batch_size": "sequences of a batch",
    "updates": "updates of the weights on the task",
    "learning_rate": "of the task's optimiser, Adam",
    "clip": "what is clipped: the gradient of each weight on its own, or all together",
    "clipnorm": "norm to which gradients are clipped",
    "detach_rate": "probability that a step is blocked (methods h-detach, c-detach, both)",
    "flossing_steps": "flossing steps before training, and each time (method periodic)",
    "flossing_every": "updates from one flossing to the next (method periodic)",
    "flossing_times": "how many times to floss during training (method periodic)",
    "adaptive_every": "updates from one look at the flossing loss to the next (method "
    "adaptive)",
    "adaptive_tolerance": "flossing loss past which it is flossed (method adaptive)",
    "adaptive_steps": "flossing steps at most each time (method adaptive)",
    "adaptive_until": "updates after which it looks no more (method adaptive)",
    "strength": "of the penalty (method joint)",
    "flossing_learning_rate": "of the flossing optimiser, Adam",
    "window": "time steps of a flossing step",
    "k": "number of Lyapunov exponents that are flossed",
    "warmup": "first steps of the window that are not counted",
    "qr_interval": "time steps from one QR to the next, or auto",
    "seed": "of weights and data",
    "xla": "whether training and flossing are compiled; auto: Keras decides",
}


def main(arguments=None):
    """Runs the command line; returns its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    # A bar that moves is for a terminal; elsewhere one line an epoch.
    options.verbose = 1 if sys.stdout.isatty() else 2
    try:
        return options.command(options)
    except (ValueError, ImportError, OSError, FloatingPointError) as error:
        options.parser.error(str(error))
    except (MemoryError, tf.errors.ResourceExhaustedError):
        options.parser.error("There is not enough memory for this: ask for less.")
    except concurrent.futures.BrokenExecutor as error:
        options.parser.error(
            "A run's process has ended before its run, which often is for want of memory: "
            f"ask for fewer --jobs. ({error})"
        )
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
    _add_knobs(command)
    command.add_argument(
        "--output",
        metavar="DIR",
        help="folder for configuration.json, history.csv, flossing.csv and "
        "model.weights.h5 (default: nothing is written)",
    )

    text = "train with several methods and seeds, side by side, and compare"
    command = commands.add_parser("compare", help=text, description=text)
    command.set_defaults(command=run_compare, parser=command)
    command.add_argument(
        "--methods",
        type=lambda text: text.split(","),
        metavar="METHOD,METHOD,...",
        help=f"{HELP['method']} (default: those without LSTM; copying, adding, digits, "
        "mnist: lstm,h-detach,preflossed-lstm,both)",
    )
    command.add_argument(
        "--seeds", type=int, default=2, help="number of seeds, from 0 on (default: 2)"
    )
    _add_knobs(command, without=("method", "seed"), updates=3000)
    command.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs side by side, with the extra sweep (default: 1)",
    )
    command.add_argument(
        "--output",
        metavar="DIR",
        default="keras-floss-compare",
        help=f"folder for the runs and {COMPARISON}; a run that is done there is not done "
        "again (default: %(default)s)",
    )

    text = "the Lyapunov exponents of the recurrent layers of a saved model, and a verdict"
    command = commands.add_parser("spectrum", help=text, description=text)
    command.set_defaults(command=run_spectrum, parser=command)
    command.add_argument("model", metavar="MODEL.keras", help="a model saved by Keras")
    command.add_argument(
        "--data",
        metavar="X.npy",
        required=True,
        help="its inputs, as numpy.save wrote them; .npz for several, under the names of "
        "the model's inputs, or without names in their order",
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
        type=lambda text: text.split(","),
        metavar="NAME,NAME,...",
        help="recurrent layers (default: all)",
    )
    command.add_argument("--json", action="store_true", help="print JSON, not text")
    command.add_argument(
        "--plot", metavar="PNG", help="draw spectra and condition numbers there"
    )
    return parser


def _add_knobs(command, without=(), **defaults):
    """Adds a flag for each field of `Configuration`; `defaults` are this command's."""
    command.set_defaults(defaults=defaults)
    for field in dataclasses.fields(Configuration):
        if field.name in without:
            continue
        usual = defaults.get(field.name, field.default)
        # What is not given is left out: the default depends on the task.
        command.add_argument(
            "--" + field.name.replace("_", "-"),
            type=_int_or_auto if field.name == "qr_interval" else field.type,
            default=argparse.SUPPRESS,
            choices=CHOICES.get(field.name),
            metavar={int: "INT", float: "FLOAT", str: None}.get(field.type, "INT|auto"),
            help=f"{HELP[field.name]} (default: {_defaults(field.name, usual)})",
        )


def _int_or_auto(text):
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"neither an integer nor auto: {text!r}") from None


def _defaults(name, usual):
    """A default and those of the tasks that have another, in words."""
    others = {}
    for task, its in TASKS.items():
        if its.defaults.get(name, usual) != usual:
            others.setdefault(its.defaults[name], []).append(task)
    groups = [f"{', '.join(names)}: {value}" for value, names in others.items()]
    return "; ".join([str(usual), *groups])


def _configuration(options):
    names = [field.name for field in dataclasses.fields(Configuration)]
    given = {n: getattr(options, n) for n in names if hasattr(options, n)}
    task = given.get("task", Configuration.task)
    return Configuration(**{**options.defaults, **TASKS[task].defaults, **given})


def run_spectrum(options):
    """`keras-floss spectrum`"""
    spectrum(
        options.model,
        options.data,
        sequences=options.sequences,
        k=options.k,
        warmup=options.warmup,
        layers=options.layers,
        as_json=options.json,
        picture=options.plot,
    )
    return 0


def run_demo(options):
    """`keras-floss demo`"""
    demo(options.output, options.seed, options.verbose)
    return 0


def run_train(options):
    """`keras-floss train`"""
    configuration = _configuration(options)
    if options.output:
        check_folder(options.output, *FILES)
    result = run(configuration, verbose=options.verbose)
    spectrum = result.spectra["trained"]
    measure, updates = TASKS[configuration.task].label, result.history["update"][-1]
    print(
        f"\n{measure} {result.measure:.3f} after {updates} updates, "
        f"λ_1 {spectrum[0]:+.3f} per time step, {result.seconds:.0f} s"
    )
    if options.output:
        with staged(options.output, FILES) as part:
            result.save(part)
        print(f"Results: {pathlib.Path(options.output)}")
    return 0


def run_compare(options):
    """`keras-floss compare`"""
    configuration = _configuration(options)
    compare(
        configuration,
        options.methods or TASKS[configuration.task].methods,
        options.seeds,
        options.output,
        options.jobs,
    )
    return 0
