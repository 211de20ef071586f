"""What happens when the command is called."""

import concurrent.futures
import dataclasses
import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from keras_floss_command.files import check_file
from keras_floss_command.knobs import RANGES, Knobs, check
from keras_floss_command.parser import make_parser
from keras_floss_command.quiet import quiet_start


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    # The other options are the arguments of the command.
    options = vars(make_parser().parse_args(arguments))
    name, parser = options.pop("name"), options.pop("parser")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            check_options(options)
            work(name, options)
    except (ValueError, ImportError, OSError, FloatingPointError) as error:
        parser.error(str(error))
    except MemoryError:
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


def check_options(options: Mapping[str, Any]) -> None:
    """Raises ValueError where that can be told before TensorFlow is there."""
    for name, allowed in RANGES.items():
        if name in options:
            check(name, options[name], allowed)
    for name in ("model", "data", "targets"):
        if options.get(name):
            check_file(options[name])
    fields = [field.name for field in dataclasses.fields(Knobs)]
    knobs = Knobs.of_task(**{name: options[name] for name in fields if name in options})
    for arm in options.get("arms") or ():
        Knobs(**{**knobs, **Knobs.of_arm(arm)})
    Knobs(**knobs)


def work(name: str, options: Mapping[str, Any]) -> None:
    """Does what a subcommand is for."""
    with quiet_start():
        command = importlib.import_module("keras_floss.cli")
    command.work(name, options)


def _show(message: Any, *_: Any, **__: Any) -> None:
    """A warning as one line: the place in the code says nothing to who uses a command."""
    print(f"keras-floss: warning: {' '.join(str(message).split())}", file=sys.stderr)
