"""A measurement in a process of its own, and what Linux says of its memory."""

import concurrent.futures
import multiprocessing
import pathlib


def alone(function, *arguments):
    """`function(*arguments)` in a process of its own, which is started for it."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as process:
        return process.submit(function, *arguments).result()


def megabytes(name):
    """An entry of /proc/self/status in MiB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(name))
    return int(line.split()[1]) / 1024


def forget_peak():
    """Has VmHWM, the peak of the memory of this process, begin anew."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
