"""Work side by side: in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

from keras_floss_command.apart import call_apart
from keras_floss_command.quiet import call

Item = TypeVar("Item")
NEEDED = 'pip install "keras-floss[sweep]"'


def side_by_side(
    function: Callable[[Item], Any],
    items: Iterable[Item],
    jobs: int = 1,
    dask: str | None = None,
) -> Iterator[tuple[Item, Any]]:
    """What a function makes of each item, as soon as it is there, in any order.

    What comes back is all that a process elsewhere gives: no folder is shared.

    Args:
        function, items: can be pickled.
        jobs: number of processes on this machine; 1: this one. More need joblib, which may
            have another backend by `joblib.parallel_config` (Ray, say).
        dask: address of the scheduler of a Dask cluster, in place of `jobs`. What a lost
            worker had begun is done by another.

    Yields:
        `(item, function(item))`.
    """
    if dask:
        yield from _on_cluster(function, items, dask)
    elif jobs > 1:
        yield from _in_processes(function, items, jobs)
    else:
        for item in items:
            yield item, function(item)


def _in_processes(
    function: Callable[[Item], Any], items: Iterable[Item], jobs: int
) -> Iterator[tuple[Item, Any]]:
    try:
        import joblib
    except ImportError as error:
        raise ImportError(f"Runs side by side need joblib: {NEEDED}") from error
    threads = max(1, (os.cpu_count() or 1) // jobs)
    work = (
        joblib.delayed(call)(pickle.dumps((_work, (function, item, threads))))
        for item in items
    )
    backend, _ = joblib.parallel.get_active_backend()
    in_turn = getattr(backend, "supports_return_generator", False)
    parallel = joblib.Parallel(
        n_jobs=jobs, return_as="generator_unordered" if in_turn else "list"
    )
    yield from parallel(work)


def _on_cluster(
    function: Callable[[Item], Any], items: Iterable[Item], address: str
) -> Iterator[tuple[Item, Any]]:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(f"A Dask cluster needs distributed: {NEEDED}") from error
    with distributed.Client(address, set_as_default=False) as client:
        futures = [
            client.submit(call_apart, pickle.dumps((_work, (function, item))), pure=False)
            for item in items
        ]
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                yield future.result()
        except distributed.scheduler.KilledWorker as error:
            raise concurrent.futures.BrokenExecutor(str(error)) from error
        finally:
            client.cancel(futures)


def _work(
    function: Callable[[Item], Any], item: Item, threads: int | None = None
) -> tuple[Item, Any]:
    if threads:
        # Raises where the process has begun before, with this number of threads.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
    return item, function(item)
