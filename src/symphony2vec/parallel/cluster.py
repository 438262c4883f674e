"""Run tasks on the workers of a Dask cluster, through its scheduler.

Tasks are submitted to Dask directly: joblib's Dask backend waits for ever when Dask gives up a task, and cancels
nothing when interrupted. If a worker is lost, Dask runs its tasks again on others.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import logging
import platform
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import symphony2vec
from symphony2vec.errors import Unusable, UserError
from symphony2vec.parallel import processes
from symphony2vec.parallel.backend import Result, Task
from symphony2vec.project import key_of

if TYPE_CHECKING:
    from distributed import Client, Future

Value = TypeVar("Value")

CONNECT_TIMEOUT_S = 15.0  # a running scheduler answers in less than one
WORKERS_TIMEOUT_S = 15.0
NO_WORKERS_TIMEOUT_S = 60.0  # a nanny restarts a killed worker in a few seconds
POLL_INTERVAL_S = 5.0
PYTHON = "python"
PACKAGE = "symphony2vec"
CODE = f"the code of {PACKAGE}"
# What determines the bytes of a result.
LIBRARIES = (
    "librosa", "midirenderer", "numba", "numpy", "pretty_midi", "pyloudnorm", "scipy", "soundfile", "soxr", "torch",
)  # fmt: skip


@dataclass(frozen=True)
class RunSpec:
    """What a worker needs besides its task: function, warm-up, ID of the run, versions of the calling machine."""

    function: Callable[[Any], Any]
    warm_up: Callable[[], object] | None
    run_id: str
    versions: Mapping[str, str]


class TaskAbandoned(Unusable):
    """A task that Dask gave up because several workers died while running it."""


def run_tasks(
    address: str, function: Callable[[Task], Result], tasks: Sequence[Task], warm_up: Callable[[], object] | None
) -> Iterator[tuple[int, Result | Unusable]]:
    """Run tasks as `parallel.spread`, on the workers of the scheduler at `address`.

    A task that fails on the cluster runs once more in a process of its own on this machine: Dask also gives up
    innocent tasks that were queued beside the one that killed their workers, and a worker that does not see the files
    would report all tasks as unusable.
    """
    spec = RunSpec(function, warm_up, uuid.uuid4().hex, _collect_versions())
    with _connect(address) as client:
        _require_workers(client, address)
        _require_same_versions(client)
        _warm_up_once(spec)  # here first: workers that share this environment then find numba's cache filled
        finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        # With a common prefix of all keys Dask gives a worker no more tasks than it has threads.
        keys = [(f"{PACKAGE}-{spec.run_id}", index) for index in range(len(tasks))]
        futures = client.map(functools.partial(_run_on_worker, spec), tasks, key=keys, pure=False)
        waiting: dict[Future, int] = {future: index for index, future in enumerate(futures)}
        try:
            for future in waiting:
                future.add_done_callback(finished.put)
            while waiting:
                future = _wait(client, address, lambda timeout_s: finished.get(timeout=timeout_s))
                index = waiting[future]
                result = _get_result(client, address, future)
                del waiting[future]
                yield index, _verify_unusable(result, function, tasks[index])
        finally:
            if client.status == "running":
                client.cancel(list(waiting), force=True)


@contextmanager
def _connect(address: str) -> Iterator[Client]:
    """Open a client of the scheduler."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            f"{address}: Dask is not installed; run `pip install 'symphony2vec[dask]'` here and on every worker"
        ) from None

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # failures are reported in one line below
    try:
        with ThreadPoolExecutor(1) as executor:  # this thread may have an event loop already, as in a notebook
            executor.submit(asyncio.run, _check_handshake(address)).result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about different versions, which are refused
            client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False, name=PACKAGE)
    except (OSError, ValueError, RuntimeError, TypeError) as error:  # TypeError: tls:// without certificates
        reason = " ".join(str(error).split()) or "no reason given"
        raise UserError(f"no Dask scheduler answers at {address} ({reason}); start it with `dask scheduler`") from error
    try:
        yield client
    finally:
        client.close(timeout=CONNECT_TIMEOUT_S)


async def _check_handshake(address: str) -> None:
    """Time out if a server is not a scheduler; Dask's own client would wait for its handshake for ever."""
    from distributed import Security
    from distributed.comm import connect

    connection = connect(address, timeout=CONNECT_TIMEOUT_S, **Security().get_connection_args("client"))
    (await asyncio.wait_for(connection, CONNECT_TIMEOUT_S)).abort()


def _require_workers(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_TIMEOUT_S)
    except TimeoutError:
        raise UserError(
            f"the scheduler at {address} has no workers; start some with `dask worker {address} --nthreads 1`"
        ) from None


def _require_same_versions(client: Client) -> None:
    """Refuse a cluster whose scheduler or workers have another Python or another version of this package.

    The versions come from Dask, and the code's digest from a function that is pickled by value: an older package may
    lack this module, and a worker that cannot unpickle a task exits.
    """
    versions = client.get_versions(packages=[PACKAGE])
    local = _select_versions(versions["client"])
    for name, remote in {"the scheduler": versions["scheduler"], **versions["workers"]}.items():
        _require_equal(name, local, _select_versions(remote))

    def hash_code() -> str:
        try:
            return str(key_of(Path(symphony2vec.__file__).parent)[:12])
        except ImportError as error:
            return f"none ({error})"

    local = {CODE: _collect_versions()[CODE]}
    for name, code in {"the scheduler": client.run_on_scheduler(hash_code), **client.run(hash_code)}.items():
        _require_equal(name, local, {CODE: code})


def _select_versions(versions: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of Python and of this package from what Dask reports of one process."""
    return {name: str(versions["packages"][name] or "none") for name in (PYTHON, PACKAGE)}


def _require_equal(process: str, local: Mapping[str, str], remote: Mapping[str, str]) -> None:
    differences = [f"{name} is {remote[name]}, here {local[name]}" for name in local if remote[name] != local[name]]
    if differences:
        raise UserError(
            f"{process} of the Dask cluster has other software, and would give other results: {'; '.join(differences)}"
            "; install the same versions there, and start it again"
        )


@functools.cache
def _collect_versions() -> dict[str, str]:
    """Return what determines the bytes of a result: versions of Python and libraries, digest of this package's code.

    Cached, because a process that runs for days keeps the code it was started with.
    """
    code = key_of(Path(__file__).parents[1])[:12]
    return {PYTHON: platform.python_version(), CODE: code, **{name: _read_version(name) for name in LIBRARIES}}


def _read_version(library: str) -> str:
    """Return the version of a library without its build label: PyTorch has builds for CPUs and for GPUs."""
    try:
        return importlib.metadata.version(library).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _wait(client: Client, address: str, poll: Callable[[float], Value]) -> Value:
    """Call `poll(timeout_s)` until it raises no `queue.Empty`, and return its value.

    Raises:
        UserError: the scheduler, or all workers, have been gone for too long.
    """
    alone_since: float | None = None
    while True:
        try:
            return poll(POLL_INTERVAL_S)
        except queue.Empty:
            now = time.monotonic()
            alone_since = None if _has_workers(client) else alone_since or now
            if alone_since is not None and now - alone_since > NO_WORKERS_TIMEOUT_S:
                raise UserError(
                    f"all workers of the scheduler at {address} are gone, or it does not answer; finished tasks are "
                    "kept: start workers, and run the same command again"
                ) from None


def _has_workers(client: Client) -> bool:
    try:
        identity = client.sync(client.scheduler.identity, n_workers=1, callback_timeout=POLL_INTERVAL_S)
    except (OSError, TimeoutError):
        return False
    return bool(identity["workers"])


def _get_result(client: Client, address: str, future: Future) -> Any:
    """Return the result of a task, or `TaskAbandoned` if it killed its workers."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        return _wait(client, address, functools.partial(_poll_result, future))
    except KilledWorker as error:
        return TaskAbandoned(str(error))
    except FutureCancelledError:
        raise UserError(
            f"the scheduler at {address} is gone; finished tasks are kept: start it, and run the same command again"
        ) from None


def _poll_result(future: Future, timeout_s: float) -> Any:
    try:
        return future.result(timeout=timeout_s)
    except TimeoutError:
        if future.status == "error":  # raised by the task itself
            raise
        raise queue.Empty from None


def _verify_unusable(result: Any, function: Callable[[Task], Result], task: Task) -> Any:
    """Return a result; one that is unusable only after the task failed on this machine too."""
    if not isinstance(result, Unusable):
        return result
    local = processes.run_isolated(function, task)
    if isinstance(local, Unusable) or isinstance(result, TaskAbandoned):
        return local
    raise UserError(
        f"a worker of the Dask cluster reports '{result}', but this machine can do the task; every worker must see the "
        "project and the music under the same paths as this machine"
    )


# On the worker

_READY: set[str] = set()  # IDs of the runs for which this process is checked and warmed up


def _run_on_worker(spec: RunSpec, task: Any) -> Any:
    """Run one task on a worker, which is checked and warmed up before its first task of a run."""
    if spec.run_id not in _READY:
        _check_this_worker(spec)
        _warm_up_once(spec)
        _READY.add(spec.run_id)
    return processes.run_task(spec.function, 0, task)[1]


def _check_this_worker(spec: RunSpec) -> None:
    """Refuse a worker with several threads or other versions; workers may join during a run."""
    from distributed import get_worker

    worker = get_worker()
    if worker.state.nthreads != 1:
        raise UserError(
            f"the worker {worker.address} has {worker.state.nthreads} threads, but a task needs a process of its own; "
            "start it with `--nthreads 1`, and with `--nworkers` for several processes"
        )
    _require_equal(worker.address, spec.versions, _collect_versions())


def _warm_up_once(spec: RunSpec) -> None:
    """Warm up once a run on each machine, in whichever of its processes comes first."""
    if spec.warm_up is None:
        return
    marker, warm_up = processes.user_file("warm"), spec.warm_up

    def warm_up_unless_marked() -> None:
        if not marker.is_file() or marker.read_text(encoding="utf-8") != spec.run_id:
            warm_up()
            marker.write_text(spec.run_id, encoding="utf-8")

    processes.run_exclusively(warm_up_unless_marked)
