"""A Dask cluster computes the same bytes as this machine, and repeats the tasks of lost workers."""

from __future__ import annotations

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

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
HERE = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"}


def square(number: int) -> int:
    return number * number


def raise_timeout(_: int) -> None:
    raise TimeoutError("a bug")


def refuse_one(number: int) -> int:
    if number == 1:
        raise Unusable("one is odd")
    return number


def kill_worker(number: int) -> int:
    """Kill the worker, and the process on this machine that tries the task once more."""
    if number == 3:
        os._exit(9)
    return number


def refuse_elsewhere(session: int) -> int:
    """Succeed only in the session of the tests, as if the workers lacked a mounted disk."""
    if os.getsid(0) != session:
        raise Unusable("no such file")
    return session


def log_start_and_wait(folder: Path) -> int:
    """Log the start of the task in a file, and wait for the file `go`."""
    (folder / f"started-{os.getpid()}-{time.monotonic_ns()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return os.getpid()


def list_starts(folder: Path) -> list[int]:
    """Return the process IDs of the tasks that have started, one entry a task."""
    return [int(path.name.split("-")[1]) for path in folder.glob("started-*")]


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


# Where tasks run


def test_two_worker_processes_share_the_tasks(two_workers: str, tmp_path: Path) -> None:
    threading.Thread(target=_release_when_two_have_started, args=[tmp_path]).start()
    results = spread(log_start_and_wait, [tmp_path] * 6, two_workers)
    assert set(results) == set(range(6))
    assert len(set(results.values()) - {os.getpid()}) == 2


def _release_when_two_have_started(folder: Path) -> None:
    servers.until(lambda: len(set(list_starts(folder))) == 2, "two workers work at once")
    (folder / "go").touch()


def test_the_option_takes_precedence_over_the_variable(two_workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(parallel.WORKERS, "1")
    assert set(spread(_process, [0], None).values()) == {os.getpid()}
    monkeypatch.setenv(parallel.BACKEND, two_workers)
    assert os.getpid() not in spread(_process, [0], None).values()
    assert set(spread(_process, [0], parallel.PROCESSES).values()) == {os.getpid()}


def _process(_: int) -> int:
    return os.getpid()


def test_an_unusable_task_is_a_result_and_a_bug_is_not_hidden(two_workers: str) -> None:
    results = spread(refuse_one, [0, 1, 2], two_workers)
    assert {index: str(result) for index, result in results.items()} == {0: "0", 1: "one is odd", 2: "2"}
    with pytest.raises(TimeoutError, match="a bug"):
        spread(raise_timeout, [0], two_workers)


def test_each_machine_warms_up_once_a_run(two_workers: str, tmp_path: Path) -> None:
    def warm_up() -> None:
        (tmp_path / f"{os.getpid()}").touch()

    results = spread(square, range(8), two_workers, warm_up=warm_up)
    assert results == {number: number * number for number in range(8)}
    assert [path.name for path in tmp_path.iterdir()] == [f"{os.getpid()}"]  # all workers are on this machine
    cluster.processes.user_file("warm").unlink()
    (tmp_path / f"{os.getpid()}").unlink()
    other = cluster.RunSpec(square, warm_up, "another machine's", {})
    for _ in range(2):
        cluster._warm_up_once(other)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_worker_that_does_not_see_the_files_is_an_error(two_workers: str) -> None:
    with pytest.raises(UserError, match="reports 'no such file', but this machine can do the task; every worker must"):
        spread(refuse_elsewhere, [os.getsid(0)], two_workers)


def test_an_interrupted_run_leaves_no_task_in_the_cluster(two_workers: str, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, test_parallel_cluster as tests\n"
        "tests.spread(tests.log_start_and_wait, [pathlib.Path(sys.argv[1])] * 50, sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(tmp_path), two_workers]
    with servers.started(command, tmp_path / "log", **HERE) as process:
        servers.until(lambda: len(list_starts(tmp_path)) >= 2, "the tasks have started")
        process.send_signal(signal.SIGINT)
        (tmp_path / "go").touch()
        process.wait(60)
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()
    assert len(list_starts(tmp_path)) < 10
    with cluster._connect(two_workers) as client:
        servers.until(lambda: client.run_on_scheduler(_tasks) == 0, "the scheduler holds no task")


def _tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


# The stage


def write_movements(root: Path) -> Project:
    """Write eight movements of three one-second clips, as the stages `audio` and `clips` do."""
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
def movements(tmp_path: Path) -> Project:
    return write_movements(tmp_path / "project")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the hashes of what one process of this machine writes."""
    project = write_movements(tmp_path_factory.mktemp("local") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(parallel.WORKERS, "1")
        features.run(project, settings())
    return hashes(project)


def test_the_cluster_writes_the_same_bytes_as_this_machine(
    movements: Project, local: dict[str, str], two_workers: str
) -> None:
    features.run(movements, settings(), two_workers)
    assert set(local) == {"mel.npy", "mfcc.npy", "chroma.npy"}
    assert hashes(movements) == local


def test_a_killed_worker_does_not_change_the_bytes(
    movements: Project, local: dict[str, str], two_workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.dask_worker(two_workers, tmp_path, **HERE) as third:
        servers.wait_for_workers(two_workers, 3)
        monkeypatch.setattr(features, "compute_movement", Slow(features.compute_movement, tmp_path))
        killer = threading.Thread(target=_kill_when_started, args=[third, tmp_path])
        killer.start()
        features.run(movements, settings(), two_workers)
        killer.join()
    assert third.returncode == -signal.SIGKILL
    assert third.pid in list_starts(tmp_path)
    assert len(list_starts(tmp_path)) > 8  # its tasks started again
    assert hashes(movements) == local


class Slow:
    """A task that logs its start, and does not end before a worker is killed."""

    def __init__(self, function: Any, folder: Path) -> None:
        self.function, self.folder = function, folder

    def __call__(self, job: Any) -> Any:
        log_start_and_wait(self.folder)
        return self.function(job)


def _kill_when_started(process: subprocess.Popen[bytes], folder: Path) -> None:
    servers.until(lambda: process.pid in list_starts(folder), "the worker has started a task")
    process.kill()
    process.wait()
    (folder / "go").touch()


def test_a_killed_worker_does_not_change_an_embedding(
    trained: Trained, two_workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Embedder.load(trained.package())
    request = building.EmbeddingRequest(loaded.folder, loaded.source, loaded.name, loaded.fingerprint, "clips", None)
    sounds, log = [trained.project.out("audio")], tmp_path / "log"
    log.mkdir()
    local = building.write(sounds, tmp_path / "local.parquet", request, backend=parallel.PROCESSES)
    with servers.dask_worker(two_workers, tmp_path, **HERE) as third:
        servers.wait_for_workers(two_workers, 3)
        monkeypatch.setattr(building, "embed", Slow(building.embed, log))
        killer = threading.Thread(target=_kill_when_started, args=[third, log])
        killer.start()
        remote = building.write(sounds, tmp_path / "remote.parquet", request, backend=two_workers)
        killer.join()
    assert third.pid in list_starts(log)
    assert len(list_starts(log)) > remote.table["path"].nunique() == local.table["path"].nunique() == 8
    assert (tmp_path / "remote.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


def test_only_the_task_that_kills_its_workers_is_lost(tmp_path: Path) -> None:
    allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with (
        servers.dask_scheduler(tmp_path, **HERE, **allowed) as address,
        servers.dask_worker(address, tmp_path, processes=2, **HERE),
    ):
        servers.wait_for_workers(address, 2)
        results = spread(kill_worker, range(12), address)
    assert str(results.pop(3)) == "the program that reads it crashed, or ran out of memory"
    assert results == {number: number for number in range(12) if number != 3}


# Errors


@pytest.mark.parametrize("setting", ["dask", "127.0.0.1:8786", "tcp://127.0.0.1", "http://127.0.0.1:8786", "tcp://:1"])
def test_an_invalid_backend_is_an_error(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "it must be 'processes' or the address of a Dask scheduler, tcp://host:port"
    with pytest.raises(UserError, match=f"--backend is '{setting}'; {expected}"):
        spread(square, [1], setting)
    monkeypatch.setenv(parallel.BACKEND, setting)
    with pytest.raises(UserError, match=f"SYMPHONY2VEC_BACKEND is '{setting}'; {expected}"):
        spread(square, [1], None)


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_TIMEOUT_S", "WORKERS_TIMEOUT_S", "POLL_INTERVAL_S"):
        monkeypatch.setattr(cluster, name, 2.0)
    monkeypatch.setattr(cluster, "NO_WORKERS_TIMEOUT_S", 15.0)  # a scheduler that imports the package does not answer


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("host", ["tcp://127.0.0.1", "tcp://no-such-host.invalid", "tls://127.0.0.1"])
def test_an_unreachable_scheduler_is_a_one_line_error(host: str) -> None:
    address = f"{host}:{servers.free_port()}"
    with pytest.raises(UserError, match=rf"no Dask scheduler answers at {address} \(.*start it with `dask scheduler`"):
        spread(square, [1], address)


@pytest.mark.usefixtures("short_timeouts")
def test_a_server_that_is_not_a_scheduler_is_a_one_line_error() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"no Dask scheduler answers at {address} ") as fault:
            spread(square, [1], address)
    assert "\n" not in str(fault.value)


def test_without_dask_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"Dask is not installed; run `pip install 'symphony2vec\[dask\]'` here"):
        spread(square, [1], "tcp://127.0.0.1:1")


@pytest.fixture
def other_code(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a worker with an older package, which lacks the module `cluster`."""
    copy = tmp_path / "src" / "symphony2vec"
    shutil.copytree(ROOT / "src" / "symphony2vec", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "parallel" / "cluster.py").unlink()
    return {**HERE, "PYTHONPATH": os.pathsep.join([str(copy.parent), str(ROOT / "tests")])}


@pytest.mark.usefixtures("short_timeouts")
def test_a_cluster_without_suitable_workers_is_a_one_line_error(tmp_path: Path, other_code: dict[str, str]) -> None:
    with servers.dask_scheduler(tmp_path, **HERE) as address:
        with pytest.raises(UserError, match=f"the scheduler at {address} has no workers; start some with `dask worker"):
            spread(square, [1], address)
        with servers.dask_worker(address, tmp_path, threads=2, **HERE):
            servers.wait_for_workers(address, 1)
            with pytest.raises(UserError, match=r"the worker tcp://\S+ has 2 threads, .* start it with `--nthreads 1`"):
                spread(square, [1], address)
        with servers.dask_worker(address, tmp_path, **other_code):
            servers.wait_for_workers(address, 1)
            with pytest.raises(UserError, match=r"tcp://\S+ of the Dask cluster has other software.*code of symphony2"):
                spread(square, [1], address)
        with servers.dask_worker(address, tmp_path, **HERE) as worker:
            servers.wait_for_workers(address, 1)
            threading.Thread(target=_kill_when_started, args=[worker, tmp_path]).start()
            with pytest.raises(UserError, match=f"all workers of the scheduler at {address} are gone.*finished tasks"):
                spread(log_start_and_wait, [tmp_path] * 3, address)


@pytest.mark.parametrize(("package", "version"), [("python", "3.9.1.final.0"), ("symphony2vec", None)])
def test_another_python_or_a_missing_package_is_an_error(package: str, version: str | None) -> None:
    local = {"packages": {"python": "3.11.7.final.0", "symphony2vec": "0.1.0"}}
    other = {"packages": {**local["packages"], package: version}}

    class FakeClient:
        def get_versions(self, packages: list[str]) -> dict[str, Any]:
            return {"client": local, "scheduler": local, "workers": {"tcp://10.0.0.7:4": other}}

    with pytest.raises(
        UserError, match=rf"tcp://10\.0\.0\.7:4 of the Dask .*: {package} is {version or 'none'}, here "
    ):
        cluster._require_same_versions(FakeClient())


def test_a_worker_checks_its_own_versions(two_workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = cluster._collect_versions() | {"librosa": "0.1"}
    monkeypatch.setattr(cluster, "_collect_versions", lambda: versions)
    with pytest.raises(UserError, match=r"tcp://\S+ of the Dask cluster has other software.*: librosa is .*here 0\.1"):
        spread(square, [1], two_workers)


@pytest.mark.usefixtures("short_timeouts")
def test_a_scheduler_that_dies_is_a_one_line_error(tmp_path: Path) -> None:
    with servers.dask_scheduler(tmp_path, **HERE) as address, servers.dask_worker(address, tmp_path, **HERE):
        servers.wait_for_workers(address, 1)
        threading.Thread(target=_kill_scheduler_when_started, args=[address, tmp_path]).start()
        with pytest.raises(UserError, match=f"the scheduler at {address} is gone; finished tasks are kept"):
            spread(log_start_and_wait, [tmp_path] * 3, address)


def _kill_scheduler_when_started(address: str, folder: Path) -> None:
    servers.until(lambda: list_starts(folder), "a task has started")
    import psutil

    port = int(address.rsplit(":", 1)[1])
    (holder,) = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    }
    os.kill(holder, signal.SIGKILL)
    (folder / "go").touch()
