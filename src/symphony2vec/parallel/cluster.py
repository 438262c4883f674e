"""The workers of a Dask cluster, reached through its scheduler.

Tasks are handed to Dask itself: joblib's own way to it waits for ever once Dask gives a task up, and cancels nothing
when it is interrupted. A worker that is lost loses nothing: Dask runs its tasks again on others.
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

Answer = TypeVar("Answer")

REACHED_WITHIN_S = 15.0  # a scheduler that lives answers in less than one
WORKERS_WITHIN_S = 15.0
ALONE_FOR_S = 60.0  # a worker that was killed is started again by its nanny in a few seconds
LOOK_EVERY_S = 5.0
PYTHON = "python"
PACKAGE = "symphony2vec"
CODE = f"the code of {PACKAGE}"
# What decides the bytes of a result.
LIBRARIES = (
    "librosa", "midirenderer", "numba", "numpy", "partitura", "pretty_midi", "pyloudnorm", "scipy", "soundfile", "soxr",
    "torch",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What a worker needs to know besides its task."""

    function: Callable[[Any], Any]
    warm_up: Callable[[], object] | None
    run: str
    versions: Mapping[str, str]


class GivenUp(Unusable):
    """A task that Dask gave up, since several workers died that had it."""


def results(
    address: str, function: Callable[[Task], Result], tasks: Sequence[Task], warm_up: Callable[[], object] | None
) -> Iterator[tuple[int, Result | Unusable]]:
    """As `parallel.spread`, on the workers of the scheduler at `address`.

    What the cluster could not do is tried once more in a process of its own on this machine: Dask gives up innocent
    tasks too, that were waiting beside the one that killed their workers; and a worker that does not see the files
    would call them all unusable.
    """
    work = Work(function, warm_up, uuid.uuid4().hex, _versions())
    with _opened(address) as client:
        _refuse_without_workers(client, address)
        _refuse_other_versions(client)
        _warm_up_once(work)  # here first: where the workers share this environment, they find numba's cache filled
        finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        waiting = {future: index for index, future in enumerate(_submitted(client, work, tasks))}
        try:
            for future in waiting:
                future.add_done_callback(finished.put)
            while waiting:
                future = _patiently(client, address, lambda seconds: finished.get(timeout=seconds))
                index = waiting[future]
                result = _result(client, address, future)
                del waiting[future]
                yield index, _confirmed(result, function, tasks[index])
        finally:
            if client.status == "running":
                client.cancel(list(waiting), force=True)


def _submitted(client: Client, work: Work, tasks: Sequence[Any]) -> list[Future]:
    """One future a task; all have one prefix, so that Dask gives a worker no more of them than it has room for."""
    keys = [(f"{PACKAGE}-{work.run}", index) for index in range(len(tasks))]
    futures: list[Future] = client.map(functools.partial(_done, work), tasks, key=keys, pure=False)
    return futures


@contextmanager
def _opened(address: str) -> Iterator[Client]:
    """A client of the scheduler."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            f"{address}: Dask is not installed; `pip install 'symphony2vec[dask]'` brings it, here and on every worker"
        ) from None

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it would say is said in one line below
    try:
        with ThreadPoolExecutor(1) as aside:  # this thread may have an event loop already, as in a notebook
            aside.submit(asyncio.run, _answered(address)).result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions, which are refused
            client = Client(address, timeout=REACHED_WITHIN_S, set_as_default=False, name=PACKAGE)
    except (OSError, ValueError, RuntimeError, TypeError) as fault:  # TypeError: tls:// without certificates
        reason = " ".join(str(fault).split()) or "it says nothing"
        raise UserError(f"no Dask scheduler answers at {address} ({reason}); start it with `dask scheduler`") from fault
    try:
        yield client
    finally:
        client.close(timeout=REACHED_WITHIN_S)


async def _answered(address: str) -> None:
    """Dask's own client would wait for ever for the greeting of a server that is no scheduler."""
    from distributed import Security
    from distributed.comm import connect

    greeted = connect(address, timeout=REACHED_WITHIN_S, **Security().get_connection_args("client"))
    (await asyncio.wait_for(greeted, REACHED_WITHIN_S)).abort()


def _refuse_without_workers(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_WITHIN_S)
    except TimeoutError:
        raise UserError(
            f"the scheduler at {address} has no workers; start some with `dask worker {address} --nthreads 1`"
        ) from None


def _refuse_other_versions(client: Client) -> None:
    """Scheduler and workers have this Python and this package.

    What they have is asked of Dask, and by a function that it carries there whole: an older package has no such module
    as this one, and a worker that cannot read a task ends.
    """
    known = client.get_versions(packages=[PACKAGE])
    own = _asked(known["client"])
    for name, told in {"the scheduler": known["scheduler"], **known["workers"]}.items():
        _refuse_differences(name, own, _asked(told))

    def code() -> str:
        try:
            return str(key_of(Path(symphony2vec.__file__).parent)[:12])
        except ImportError as fault:
            return f"none ({fault})"

    for name, found in {"the scheduler": client.run_on_scheduler(code), **client.run(code)}.items():
        _refuse_differences(name, {CODE: _versions()[CODE]}, {CODE: found})


def _asked(told: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(told["packages"][name] or "none") for name in (PYTHON, PACKAGE)}


def _refuse_differences(name: str, own: Mapping[str, str], other: Mapping[str, str]) -> None:
    different = [f"{one} is {other[one]}, here {own[one]}" for one in own if other[one] != own[one]]
    if different:
        raise UserError(
            f"{name} of the Dask cluster has other software, and would give other results: {'; '.join(different)}; "
            "install the same there, and start it again"
        )


@functools.cache
def _versions() -> dict[str, str]:
    """What decides the bytes of a result: Python, libraries, and the code of this package.

    Remembered, since a process that runs for days keeps the code it was started with.
    """
    code = key_of(Path(__file__).parents[1])[:12]
    return {
        PYTHON: platform.python_version(),
        f"the code of {PACKAGE}": code,
        **{name: _version(name) for name in LIBRARIES},
    }


def _version(library: str) -> str:
    """Without what names the build: PyTorch is built for processors and for GPUs."""
    try:
        return importlib.metadata.version(library).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _patiently(client: Client, address: str, wait: Callable[[float], Answer]) -> Answer:
    """What `wait(seconds)` gives in the end; a fault when the scheduler or all workers are gone for too long."""
    alone_since: float | None = None
    while True:
        try:
            return wait(LOOK_EVERY_S)
        except queue.Empty:
            now = time.monotonic()
            alone_since = None if _has_workers(client) else alone_since or now
            if alone_since is not None and now - alone_since > ALONE_FOR_S:
                raise UserError(
                    f"all workers of the scheduler at {address} are gone, or it does not answer; what is done is kept: "
                    "start workers, and run the same command again"
                ) from None


def _has_workers(client: Client) -> bool:
    try:
        told = client.sync(client.scheduler.identity, n_workers=1, callback_timeout=LOOK_EVERY_S)
    except (OSError, TimeoutError):
        return False
    return bool(told["workers"])


def _result(client: Client, address: str, future: Future) -> Any:
    """What a task gave, `GivenUp` where it took all its workers with it."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        return _patiently(client, address, functools.partial(_fetched, future))
    except KilledWorker as fault:
        return GivenUp(str(fault))
    except FutureCancelledError:
        raise UserError(
            f"the scheduler at {address} is gone; what is done is kept: start it, and run the same command again"
        ) from None


def _fetched(future: Future, within_s: float) -> Any:
    try:
        return future.result(timeout=within_s)
    except TimeoutError:
        if future.status == "error":  # the task's own, not ours
            raise
        raise queue.Empty from None


def _confirmed(result: Any, function: Callable[[Task], Result], task: Task) -> Any:
    if not isinstance(result, Unusable):
        return result
    here = processes.alone(function, task)
    if isinstance(here, Unusable) or isinstance(result, GivenUp):
        return here
    raise UserError(
        f"a worker of the Dask cluster says '{result}', and this machine can do the task; every worker must see the "
        "project and the music under the same paths as this machine"
    )


# On the worker

_READY: set[str] = set()


def _done(work: Work, task: Any) -> Any:
    """What a worker does: one task, and before the first of a run all that must be so."""
    if work.run not in _READY:
        _refuse_this_worker(work)
        _warm_up_once(work)
        _READY.add(work.run)
    return processes.guarded(work.function, 0, task)[1]


def _refuse_this_worker(work: Work) -> None:
    """Workers come while the work goes on; each looks at itself."""
    from distributed import get_worker

    worker = get_worker()
    if worker.state.nthreads != 1:
        raise UserError(
            f"the worker {worker.address} has {worker.state.nthreads} threads, and a task needs a process of its own; "
            "start it with `--nthreads 1`, and with `--nworkers` for more of them"
        )
    _refuse_differences(worker.address, work.versions, _versions())


def _warm_up_once(work: Work) -> None:
    """Once on each machine, whichever of its processes comes first."""
    if work.warm_up is None:
        return
    warmed, warm_up = processes.own_file("warm"), work.warm_up

    def once() -> None:
        if not warmed.is_file() or warmed.read_text(encoding="utf-8") != work.run:
            warm_up()
            warmed.write_text(work.run, encoding="utf-8")

    processes.alone_on_this_machine(once)
