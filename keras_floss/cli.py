"""The work of the command `keras-floss`, whose flags are in `keras_floss_command`."""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_floss.experiments import Configuration, run
from keras_floss.experiments.compare import compare
from keras_floss.experiments.demo import demo
from keras_floss.experiments.output import check_folder, staged
from keras_floss.experiments.problems import TASKS
from keras_floss.experiments.saved_model import spectrum
from keras_floss.results.reproduce import reproduce
from keras_floss_command import files
from keras_floss_command.parser import UPDATES


def work(name: str, options: Mapping[str, Any]) -> None:
    """Does what the subcommand of this name is for."""
    try:
        COMMANDS[name](**options)
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError from error


def train(output: str | None, **knobs: Any) -> None:
    """`keras-floss train`"""
    configuration = Configuration.of(**knobs)
    if output:
        check_folder(output, *files.RUN)
    # A bar that moves is for a terminal; elsewhere one line an epoch.
    result = run(configuration, verbose=1 if sys.stdout.isatty() else 2)
    measure, updates = TASKS[configuration.task].label, result.history["update"][-1]
    exponent = ""
    if result.spectra:
        exponent = f"λ_1 {result.spectra['trained'][0]:+.3f} per time step, "
    print(
        f"\n{measure} {result.measure:.3f} after {updates} updates, "
        f"{exponent}{result.seconds:.0f} s"
    )
    if output:
        with staged(output, files.RUN) as part:
            result.save(part)
        print(f"Results: {pathlib.Path(output)}")


def compare_arms(
    arms: Sequence[str],
    seeds: int,
    output: str,
    jobs: int,
    dask: str | None,
    **knobs: Any,
) -> None:
    """`keras-floss compare`"""
    knobs = {"updates": UPDATES, **Configuration.of_task(**knobs)}
    compare(Configuration.of(**knobs), arms, seeds, output, jobs, dask)


COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "train": train,
    "compare": compare_arms,
    "reproduce": reproduce,
    "spectrum": spectrum,
}
