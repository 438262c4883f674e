"""A Dask cluster does the same work to the same bytes, and what it loses is done again."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

import numpy as np
import pandas as pd
import soundfile

import servers
from conftest import Trained
from symphony2vec import parallel, params
from symphony2vec.collection import building
from symphony2vec.embedder import Embedder
from symphony2vec.errors import Unusable, UserError
from symphony2vec.features import stage as features
from symphony2vec.parallel import cluster
from symphony2vec.project import Project, write_table

ROOT = Path(__file__).parents[1]
HERE = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"}


def squared(number: int) -> int:
    return number * number


def broken(_: int) -> None:
    raise TimeoutError("a bug")


def unusable(number: int) -> int:
    if number == 1:
        raise Unusable("one is odd")
    return number


def deadly(number: int) -> int:
    """Kills its worker, and the process on this machine that tries it once more."""
    if number == 3:
        os._exit(9)
    return number


def only_here(here: int) -> int:
    """Finds its file in the tests' own process and its children alone, as where a worker lacks a mounted disk."""
    if os.getsid(0) != here:
        raise Unusable("no such file")
    return here


def noted(folder: Path) -> int:
    """Notes that it has begun, and waits until it may end."""
    (folder / f"begun-{os.getpid()}-{time.monotonic_ns()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return os.getpid()


def begun(folder: Path) -> list[int]:
    """The processes that have begun, one entry a task."""
    return [int(path.name.split("-")[1]) for path in folder.glob("begun-*")]


def spread(function: Any, tasks: Any, address: str | None, **rest: Any) -> dict[int, Any]:
    return dict(parallel.spread(function, tasks, "test", "task", backend=address, **rest))


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cluster")
    with (
        servers.dask_scheduler(folder, **HERE) as address,
        servers.dask_worker(address, folder, **HERE),
        servers.dask_worker(address, folder, **HERE),
    ):
        servers.wait_for_workers(address, 2)
        yield address


# Where the work is done


def test_two_worker_processes_share_the_tasks(two_workers: str, tmp_path: Path) -> None:
    threading.Thread(target=_let_go_when_two_have_begun, args=[tmp_path]).start()
    found = spread(noted, [tmp_path] * 6, two_workers)
    assert set(found) == set(range(6))
    assert len(set(found.values()) - {os.getpid()}) == 2


def _let_go_when_two_have_begun(folder: Path) -> None:
    servers.until(lambda: len(set(begun(folder))) == 2, "two workers work at once")
    (folder / "go").touch()


def test_the_variable_names_the_cluster_and_the_option_wins(two_workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(parallel.WORKERS, "1")
    assert set(spread(_process, [0], None).values()) == {os.getpid()}
    monkeypatch.setenv(parallel.BACKEND, two_workers)
    assert os.getpid() not in spread(_process, [0], None).values()
    assert set(spread(_process, [0], parallel.PROCESSES).values()) == {os.getpid()}


def _process(_: int) -> int:
    return os.getpid()


def test_an_unusable_task_is_a_result_and_a_bug_is_not_hidden(two_workers: str) -> None:
    found = spread(unusable, [0, 1, 2], two_workers)
    assert {index: str(result) for index, result in found.items()} == {0: "0", 1: "one is odd", 2: "2"}
    with pytest.raises(TimeoutError, match="a bug"):
        spread(broken, [0], two_workers)


def test_each_machine_warms_up_once_a_run(two_workers: str, tmp_path: Path) -> None:
    def warm_up() -> None:
        (tmp_path / f"{os.getpid()}").touch()

    found = spread(squared, range(8), two_workers, warm_up=warm_up)
    assert found == {number: number * number for number in range(8)}
    assert [path.name for path in tmp_path.iterdir()] == [f"{os.getpid()}"]  # all workers are on this machine
    cluster.processes.own_file("warm").unlink()
    (tmp_path / f"{os.getpid()}").unlink()
    other = cluster.Work(squared, warm_up, "another machine's", {})
    for _ in range(2):
        cluster._warm_up_once(other)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_worker_that_does_not_see_the_files_is_not_believed(two_workers: str) -> None:
    with pytest.raises(UserError, match="says 'no such file', and this machine can do the task; every worker must see"):
        spread(only_here, [os.getsid(0)], two_workers)


def test_an_interrupted_run_leaves_nothing_in_the_cluster(two_workers: str, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, test_parallel_cluster as tests\n"
        "tests.spread(tests.noted, [pathlib.Path(sys.argv[1])] * 50, sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(tmp_path), two_workers]
    with servers.started(command, tmp_path / "log", **HERE) as process:
        servers.until(lambda: len(begun(tmp_path)) >= 2, "the tasks have begun")
        process.send_signal(signal.SIGINT)
        (tmp_path / "go").touch()
        process.wait(60)
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()
    assert len(begun(tmp_path)) < 10
    with cluster._opened(two_workers) as client:
        servers.until(lambda: client.run_on_scheduler(_tasks) == 0, "the scheduler holds no task")


def _tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


# The stage


def eight_movements(root: Path) -> Project:
    """Eight movements of three one-second clips, as the stages `audio` and `clips` leave them."""
    (root / "out" / "audio").mkdir(parents=True)
    rows = []
    for number in range(8):
        file = f"movement-{number}.flac"
        wave = 0.1 * np.random.default_rng(number).standard_normal(3 * 22050)
        soundfile.write(root / "out" / "audio" / file, wave, 22050, subtype="PCM_16")
        rows += [
            {"composer": "AB"[number % 2], "work": file, "file": file, "start_s": start_s}
            for start_s in (0.0, 1.0, 2.0)
        ]
    table = pd.DataFrame([rows[i] for i in np.random.default_rng(0).permutation(len(rows))])
    table.insert(0, "clip", range(len(table)))
    write_table(root / "out" / "clips" / "clips.csv", table)
    return Project(root)


def settings() -> params.Params:
    stored = params.read(ROOT / "params.yaml")
    return stored.model_copy(update={"clips": stored.clips.model_copy(update={"duration_s": 1.0})})


def hashes(project: Project) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in project.out("features").glob("*.npy")}


@pytest.fixture
def eight(tmp_path: Path) -> Project:
    return eight_movements(tmp_path / "project")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hashes of what one process of this machine writes."""
    own = eight_movements(tmp_path_factory.mktemp("local") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(parallel.WORKERS, "1")
        features.run(own, settings())
    return hashes(own)


def test_the_cluster_writes_the_same_bytes_as_this_machine(
    eight: Project, local: dict[str, str], two_workers: str
) -> None:
    features.run(eight, settings(), two_workers)
    assert set(local) == {"mel.npy", "mfcc.npy", "chroma.npy"}
    assert hashes(eight) == local


def test_a_worker_killed_at_its_work_costs_no_byte(
    eight: Project, local: dict[str, str], two_workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.dask_worker(two_workers, tmp_path, **HERE) as third:
        servers.wait_for_workers(two_workers, 3)
        monkeypatch.setattr(features, "compute_movement", Slow(features.compute_movement, tmp_path))
        killer = threading.Thread(target=_kill_when_at_work, args=[third, tmp_path])
        killer.start()
        features.run(eight, settings(), two_workers)
        killer.join()
    assert third.returncode == -signal.SIGKILL
    assert third.pid in begun(tmp_path)
    assert len(begun(tmp_path)) > 8  # what it had was begun again
    assert hashes(eight) == local


class Slow:
    """A task that says when it begins, and does not end before a worker was killed."""

    def __init__(self, function: Any, folder: Path) -> None:
        self.function, self.folder = function, folder

    def __call__(self, job: Any) -> Any:
        noted(self.folder)
        return self.function(job)


def _kill_when_at_work(process: subprocess.Popen[bytes], folder: Path) -> None:
    servers.until(lambda: process.pid in begun(folder), "the worker has begun a task")
    process.kill()
    process.wait()
    (folder / "go").touch()


def test_a_cluster_embeds_to_the_same_bytes_though_a_worker_is_killed(
    trained: Trained, two_workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Embedder.load(trained.package())
    asked = building.EmbeddingRequest(loaded.folder, loaded.source, loaded.name, loaded.fingerprint, "clips", None)
    sounds, watched = [trained.project.out("audio")], tmp_path / "watched"
    watched.mkdir()
    here = building.write(sounds, tmp_path / "here.parquet", asked, backend=parallel.PROCESSES)
    with servers.dask_worker(two_workers, tmp_path, **HERE) as third:
        servers.wait_for_workers(two_workers, 3)
        monkeypatch.setattr(building, "embed", Slow(building.embed, watched))
        killer = threading.Thread(target=_kill_when_at_work, args=[third, watched])
        killer.start()
        there = building.write(sounds, tmp_path / "there.parquet", asked, backend=two_workers)
        killer.join()
    assert third.pid in begun(watched)
    assert len(begun(watched)) > there.table["path"].nunique() == here.table["path"].nunique() == 8
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_only_the_task_that_kills_every_worker_is_lost(tmp_path: Path) -> None:
    allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with (
        servers.dask_scheduler(tmp_path, **HERE, **allowed) as address,
        servers.dask_worker(address, tmp_path, processes=2, **HERE),
    ):
        servers.wait_for_workers(address, 2)
        found = spread(deadly, range(12), address)
    assert str(found.pop(3)) == "the program that reads it crashed, or needed more memory than there is"
    assert found == {number: number for number in range(12) if number != 3}


# What is refused


@pytest.mark.parametrize("asked", ["dask", "127.0.0.1:8786", "tcp://127.0.0.1", "http://127.0.0.1:8786", "tcp://:1"])
def test_a_backend_that_is_none_is_named(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "it must be 'processes' or a Dask scheduler's address, tcp://host:port"
    with pytest.raises(UserError, match=f"--backend is '{asked}'; {wanted}"):
        spread(squared, [1], asked)
    monkeypatch.setenv(parallel.BACKEND, asked)
    with pytest.raises(UserError, match=f"SYMPHONY2VEC_BACKEND is '{asked}'; {wanted}"):
        spread(squared, [1], None)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REACHED_WITHIN_S", "WORKERS_WITHIN_S", "ALONE_FOR_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(cluster, name, 2.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("host", ["tcp://127.0.0.1", "tcp://no-such-host.invalid", "tls://127.0.0.1"])
def test_a_scheduler_that_is_not_there_is_one_line(host: str) -> None:
    address = f"{host}:{servers.free_port()}"
    with pytest.raises(UserError, match=rf"no Dask scheduler answers at {address} \(.*start it with `dask scheduler`"):
        spread(squared, [1], address)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_no_scheduler_is_one_line() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"no Dask scheduler answers at {address} ") as fault:
            spread(squared, [1], address)
    assert "\n" not in str(fault.value)


def test_without_dask_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"Dask is not installed; `pip install 'symphony2vec\[dask\]'` brings it"):
        spread(squared, [1], "tcp://127.0.0.1:1")


@pytest.fixture
def other_code(tmp_path: Path) -> dict[str, str]:
    """The environment of a worker whose copy of the package is older: it knows no cluster."""
    copy = tmp_path / "src" / "symphony2vec"
    shutil.copytree(ROOT / "src" / "symphony2vec", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "parallel" / "cluster.py").unlink()
    return {**HERE, "PYTHONPATH": os.pathsep.join([str(copy.parent), str(ROOT / "tests")])}


@pytest.mark.usefixtures("impatient")
def test_a_cluster_without_fit_workers_is_one_line(tmp_path: Path, other_code: dict[str, str]) -> None:
    with servers.dask_scheduler(tmp_path, **HERE) as address:
        with pytest.raises(UserError, match=f"the scheduler at {address} has no workers; start some with `dask worker"):
            spread(squared, [1], address)
        with servers.dask_worker(address, tmp_path, threads=2, **HERE):
            servers.wait_for_workers(address, 1)
            with pytest.raises(UserError, match=r"the worker tcp://\S+ has 2 threads, .* start it with `--nthreads 1`"):
                spread(squared, [1], address)
        with servers.dask_worker(address, tmp_path, **other_code):
            servers.wait_for_workers(address, 1)
            with pytest.raises(UserError, match=r"tcp://\S+ of the Dask cluster has other software.*code of symphony2"):
                spread(squared, [1], address)
        with servers.dask_worker(address, tmp_path, **HERE) as worker:
            servers.wait_for_workers(address, 1)
            threading.Thread(target=_kill_when_at_work, args=[worker, tmp_path]).start()
            with pytest.raises(UserError, match=f"all workers of the scheduler at {address} are gone.*what is done is"):
                spread(noted, [tmp_path] * 3, address)


@pytest.mark.parametrize(("package", "version"), [("python", "3.9.1.final.0"), ("symphony2vec", None)])
def test_another_python_or_no_package_is_named(package: str, version: str | None) -> None:
    told = {"packages": {"python": "3.11.7.final.0", "symphony2vec": "0.1.0"}}
    other = {"packages": {**told["packages"], package: version}}

    class Asked:
        def get_versions(self, packages: list[str]) -> dict[str, Any]:
            return {"client": told, "scheduler": told, "workers": {"tcp://10.0.0.7:4": other}}

    with pytest.raises(
        UserError, match=rf"tcp://10\.0\.0\.7:4 of the Dask .*: {package} is {version or 'none'}, here "
    ):
        cluster._refuse_other_versions(Asked())


def test_a_worker_that_came_later_looks_at_itself(two_workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_versions", functools.partial(dict, cluster._versions(), librosa="0.1"))
    with pytest.raises(UserError, match=r"tcp://\S+ of the Dask cluster has other software.*: librosa is .*here 0\.1"):
        spread(squared, [1], two_workers)


@pytest.mark.usefixtures("impatient")
def test_a_scheduler_that_dies_is_one_line(tmp_path: Path) -> None:
    with servers.dask_scheduler(tmp_path, **HERE) as address, servers.dask_worker(address, tmp_path, **HERE):
        servers.wait_for_workers(address, 1)
        threading.Thread(target=_kill_scheduler_when_at_work, args=[address, tmp_path]).start()
        with pytest.raises(UserError, match=f"the scheduler at {address} is gone; what is done is kept"):
            spread(noted, [tmp_path] * 3, address)


def _kill_scheduler_when_at_work(address: str, folder: Path) -> None:
    servers.until(lambda: begun(folder), "a task has begun")
    import psutil

    port = int(address.rsplit(":", 1)[1])
    (holder,) = {
        one.pid for one in psutil.net_connections("tcp") if one.laddr.port == port and one.status == psutil.CONN_LISTEN
    }
    os.kill(holder, signal.SIGKILL)
    (folder / "go").touch()
