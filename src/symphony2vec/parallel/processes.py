"""Run tasks on the cores of this machine with joblib.

The number of worker processes is the number of cores, or `SYMPHONY2VEC_WORKERS`. If that is 1, all tasks run in the
calling process, which does not survive a crash.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from symphony2vec.errors import Unusable, UserError
from symphony2vec.parallel.backend import WORKERS, Result, Task


def count_workers() -> int:
    """Return how many worker processes run at once.

    Raises:
        UserError: `SYMPHONY2VEC_WORKERS` is not a positive integer.
    """
    setting = os.environ.get(WORKERS, "")
    if not setting:
        return int(joblib.cpu_count())
    if not setting.isdecimal() or int(setting) < 1:
        raise UserError(f"{WORKERS} is '{setting}'; it must be a number of processes, an integer of at least 1")
    return int(setting)


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], warm_up: Callable[[], object] | None
) -> Iterator[tuple[int, Result | Unusable]]:
    """Run tasks as `parallel.spread`, on this machine.

    When a worker process dies, the tasks it may have had run again one at a time, so that only the one that kills its
    worker is lost; then the others continue.
    """
    workers = count_workers()
    # A machine of one core gets two workers, one of them idle: with one, joblib would run tasks in this process.
    jobs = workers if os.environ.get(WORKERS) else max(workers, 2)
    settings = {"n_jobs": jobs, "pre_dispatch": "2*n_jobs" if workers > 1 else 1, "batch_size": 1}
    waiting = dict(enumerate(tasks))
    if warm_up is not None:
        run_exclusively(warm_up)
    while waiting:
        dispatched: set[int] = set()
        try:
            pool = joblib.Parallel(return_as="generator_unordered", **settings)
            for index, result in pool(_dispatch(function, dict(waiting), dispatched)):
                del waiting[index]
                yield index, result
        except TerminatedWorkerError:
            for index in sorted(dispatched & waiting.keys()):
                yield index, run_isolated(function, waiting.pop(index))


def _dispatch(function: Callable[[Task], Result], tasks: dict[int, Task], dispatched: set[int]) -> Iterator[Any]:
    """Yield joblib's calls of the tasks, and add the index of each to `dispatched` when joblib takes it."""
    for index, task in tasks.items():
        dispatched.add(index)
        yield joblib.delayed(run_task)(function, index, task)


def run_task(function: Callable[[Task], Result], index: int, task: Task) -> tuple[int, Result | Unusable]:
    """Return (index of the task, its result), where an `Unusable` that it raises is its result."""
    try:
        return index, function(task)
    except Unusable as reason:
        return index, Unusable(str(reason))


def run_isolated(function: Callable[[Task], Result], task: Task) -> Result | Unusable:
    """Run one task in a process of its own, whose crash becomes an `Unusable`."""
    try:
        # Two workers for one task: with a single one joblib would run it in this process.
        ((_, result),) = joblib.Parallel(n_jobs=2)([joblib.delayed(run_task)(function, 0, task)])
    except TerminatedWorkerError:
        return Unusable("the program that reads it crashed, or ran out of memory")
    return result  # type: ignore[no-any-return]


def run_exclusively(function: Callable[[], object]) -> None:
    """Run a function while no other process of this user runs one here."""
    with filelock.FileLock(user_file("lock")):
        function()


def user_file(kind: str) -> Path:
    """Return the path of a temporary file that all processes of this user share on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = str(os.getuid())
    return Path(tempfile.gettempdir()) / f"symphony2vec-{user}.{kind}"
