"""Work in processes of this machine and on a Dask cluster, whatever is killed."""

import concurrent.futures
import os
import pathlib
import pickle
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from test_cli import compare, rows_of

from keras_floss.experiments.side_by_side import side_by_side
from keras_floss.results import reproduce
from keras_floss.results.figures import figure

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


def square(item):
    number, folder = item
    (folder / f"{number} {os.getpid()} {os.getppid()}").touch()
    time.sleep(0.5)
    return number**2


def fails(item):
    raise ValueError(f"{item} is no good")


@pytest.mark.parametrize(
    "where",
    [{}, {"jobs": 2}, pytest.param({"dask": True}, marks=pytest.mark.slow)],
    ids=str,
)
def test_each_item_comes_back_once(where, request, tmp_path):
    if "dask" in where:
        where = {"dask": request.getfixturevalue("cluster").scheduler_address}
    items = [(number, tmp_path) for number in range(4)]
    assert sorted(side_by_side(square, items, **where)) == [
        (item, item[0] ** 2) for item in items
    ]
    here = {path.name.split()[1] for path in tmp_path.iterdir()} == {str(os.getpid())}
    assert here == (not where)


def test_there_are_no_more_processes_than_runs(monkeypatch, tmp_path):
    asked = []

    def here(function, items, jobs, dask):
        asked.append(jobs)
        return []

    monkeypatch.setattr("keras_floss.results.reproduce.side_by_side", here)
    reproduce.do(figure("copy"), tmp_path, jobs=1000, dask=None)
    assert asked == [len(figure("copy").parts)]


@pytest.mark.slow
def test_what_a_lost_worker_had_begun_is_done_again(cluster, tmp_path):
    killed = []

    def kill():
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        killed.append(int(next(tmp_path.iterdir()).name.split()[2]))  # the worker
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    items = [(number, tmp_path) for number in range(6)]
    results = dict(side_by_side(square, items, dask=cluster.scheduler_address))
    thread.join()
    assert results == {item: item[0] ** 2 for item in items}
    begun = [path.name.split() for path in tmp_path.iterdir()]
    lost = {number for number, _, worker in begun if int(worker) == killed[0]}
    again = {number for number, _, worker in begun if int(worker) != killed[0]}
    assert lost & again


@pytest.mark.slow
def test_the_table_of_a_cluster_is_that_of_one_process(cluster, tmp_path):
    arms = ["rate-rnn", "rate-rnn+pre"]
    here = compare(tmp_path / "here", arms)
    there = compare(tmp_path / "there", arms, f"--dask={cluster.scheduler_address}")
    for arm in arms:
        *ours, _ = rows_of(here)[arm]  # the last are seconds
        *theirs, _ = rows_of(there)[arm]
        assert ours == theirs
    names = [sorted(p.name for p in (tmp_path / f).glob("*/*")) for f in ("here", "there")]
    assert names[0] == names[1]
    assert "to do" not in compare(tmp_path / "there", arms)


@pytest.mark.slow
def test_an_error_of_a_run_is_the_error_of_the_command(cluster):
    with pytest.raises(ValueError, match="7 is no good"):
        list(side_by_side(fails, [7], dask=cluster.scheduler_address))


def dies(item):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_run_whose_process_is_killed_ends_in_a_sentence(cluster):
    with pytest.raises(concurrent.futures.BrokenExecutor, match="exit code: -9"):
        list(side_by_side(dies, [7], dask=cluster.scheduler_address))


def draws(item):
    random.seed(item)
    time.sleep(0.3)
    return random.random()


@pytest.mark.slow
def test_nobody_else_draws_from_the_random_numbers_of_a_run(cluster):
    """The event loop of a worker does, and Keras's initialisers are seeded from them."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.run(draw_for_ever)
    expected = {item: random.Random(item).random() for item in range(4)}
    assert dict(side_by_side(draws, range(4), dask=cluster.scheduler_address)) == expected


def draw_for_ever():
    def draw():
        while True:
            random.random()
            time.sleep(0.01)

    threading.Thread(target=draw, daemon=True).start()


def lingers(path):
    path.write_text(str(os.getpid()))
    time.sleep(60)


def test_a_process_of_its_own_ends_with_the_one_that_began_it(tmp_path):
    path = tmp_path / "process"
    code = "import sys; from keras_floss_command.apart import call_apart; "
    code += "call_apart(sys.stdin.buffer.read())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment
    )
    parent.stdin.write(pickle.dumps((lingers, (path,))))
    parent.stdin.close()
    while not (path.exists() and path.read_text()):
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while is_there(int(path.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(int(path.read_text()))


def is_there(process):
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return False
    return state.split()[0] != "Z"


@pytest.mark.slow
def test_an_address_where_nobody_is(tmp_path, capsys):
    with distributed_timeout("1s"), pytest.raises(SystemExit) as stop:
        compare(tmp_path, ["rate-rnn"], "--dask=tcp://127.0.0.1:1")
    assert stop.value.code == 2
    assert "127.0.0.1:1" in capsys.readouterr().err


def distributed_timeout(seconds):
    import dask

    return dask.config.set({"distributed.comm.timeouts.connect": seconds})


def test_without_distributed_it_says_how_to_install_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit) as stop:
        compare(tmp_path, ["rate-rnn"], "--dask=tcp://127.0.0.1:1")
    assert stop.value.code == 2
    assert 'pip install "keras-floss[sweep]"' in capsys.readouterr().err
