"""The cores of this machine, through joblib.

The number of worker processes is that of the cores, or `SYMPHONY2VEC_WORKERS`; where that is 1, all work is done in the
calling process, which a crash ends.
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


def count() -> int:
    """How many processes work at once."""

    asked = os.environ.get(WORKERS, "")
    if not asked:
        return int(joblib.cpu_count())
    if not asked.isdecimal() or int(asked) < 1:
        raise UserError(f"{WORKERS} is '{asked}'; it must be a whole number of processes, 1 or more")
    return int(asked)


def results(
    function: Callable[[Task], Result], tasks: Sequence[Task], warm_up: Callable[[], object] | None
) -> Iterator[tuple[int, Result | Unusable]]:
    """As `parallel.spread`, on this machine.

    When a worker process dies, the tasks that it may have had are run again one at a time, so that only the one that
    kills its worker is lost; then the others go on.
    """

    wanted = count()
    # A machine of one core gets two workers, of which one has work: with one, joblib would work in this very process.
    started = wanted if os.environ.get(WORKERS) else max(wanted, 2)
    shared = {"n_jobs": started, "pre_dispatch": "2*n_jobs" if wanted > 1 else 1, "batch_size": 1}
    waiting = dict(enumerate(tasks))
    if warm_up is not None:
        alone_on_this_machine(warm_up)
    while waiting:
        begun: set[int] = set()
        try:
            pool = joblib.Parallel(return_as="generator_unordered", **shared)
            for index, result in pool(_calls(function, dict(waiting), begun)):
                del waiting[index]
                yield index, result
        except TerminatedWorkerError:
            for index in sorted(begun & waiting.keys()):
                yield index, alone(function, waiting.pop(index))


def alone(function: Callable[[Task], Result], task: Task) -> Result | Unusable:
    """One task in a process of its own, whose death costs nothing else."""

    try:
        # Two workers for one task: with a single one joblib would run it in this very process.
        ((_, result),) = joblib.Parallel(n_jobs=2)([joblib.delayed(guarded)(function, 0, task)])
    except TerminatedWorkerError:
        return Unusable("the program that reads it crashed, or needed more memory than there is")
    return result  # type: ignore[no-any-return]


def guarded(function: Callable[[Task], Result], index: int, task: Task) -> tuple[int, Result | Unusable]:
    """(Index of the task, its result), `Unusable` being a result."""
    try:
        return index, function(task)
    except Unusable as reason:
        return index, Unusable(str(reason))


def alone_on_this_machine(function: Callable[[], object]) -> None:
    """Run a function while no other process of this user runs one here."""

    with filelock.FileLock(own_file("lock")):
        function()


def own_file(kind: str) -> Path:
    """A file of this user outside any project, the same for all processes on a machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = str(os.getuid())
    return Path(tempfile.gettempdir()) / f"symphony2vec-{user}.{kind}"


def _calls(function: Callable[[Task], Result], tasks: dict[int, Task], begun: set[int]) -> Iterator[Any]:
    """The tasks as joblib takes them, those taken being noted in `begun`."""

    for index, task in tasks.items():
        begun.add(index)
        yield joblib.delayed(guarded)(function, index, task)
