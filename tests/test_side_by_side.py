"""Work in processes of this machine and on a Dask cluster, whatever is killed."""

import concurrent.futures
import os
import signal
import sys
import threading
import time

import pytest
from test_cli import compare, rows_of

from keras_floss.experiments.side_by_side import side_by_side

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


def square(item):
    number, folder = item
    (folder / f"{number} {os.getpid()}").touch()
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


@pytest.mark.slow
def test_what_a_lost_worker_had_begun_is_done_again(cluster, tmp_path):
    killed = []

    def kill():
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        killed.append(int(next(tmp_path.iterdir()).name.split()[1]))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    items = [(number, tmp_path) for number in range(6)]
    results = dict(side_by_side(square, items, dask=cluster.scheduler_address))
    thread.join()
    assert results == {item: item[0] ** 2 for item in items}
    begun = [path.name.split() for path in tmp_path.iterdir()]
    lost = {number for number, process in begun if int(process) == killed[0]}
    again = {number for number, process in begun if int(process) != killed[0]}
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
def test_a_run_that_kills_its_workers_ends_in_a_sentence(cluster):
    with pytest.raises(concurrent.futures.BrokenExecutor, match="worker"):
        list(side_by_side(dies, [7], dask=cluster.scheduler_address))


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
