"""One function over many tasks, on all cores, through joblib; a file that kills its worker is set aside, not the run.

joblib's own backends apply: inside `joblib.parallel_config(backend="dask")` the same work goes to a Dask cluster.
The number of worker processes is that of the cores, or `SYMPHONY2VEC_WORKERS`; where that is 1, all work is done in the
calling process, which a crash ends.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from symphony2vec.errors import Unusable, UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

WORKERS = "SYMPHONY2VEC_WORKERS"


def workers() -> int:
    """How many processes work at once."""
    import joblib

    asked = os.environ.get(WORKERS, "")
    if not asked:
        return int(joblib.cpu_count())
    if not asked.isdecimal() or int(asked) < 1:
        raise UserError(f"{WORKERS} is '{asked}'; it must be a whole number of processes, 1 or more")
    return int(asked)


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    label: str,
    unit: str,
    warm_up: Callable[[], object] | None = None,
) -> Iterator[tuple[int, Result | Unusable]]:
    """Yield (index of the task, its result) as the results come, under a progress bar.

    A task that raises `Unusable` yields it as its result. When a worker process dies, the tasks that it may have had
    are run again one at a time, so that only the one that kills its worker is lost; then the others go on.

    `warm_up` runs here before any worker starts. It must compile what the tasks will use of numba: processes that
    compile the same function at once spoil numba's cache on disk, and crash then and in every later run.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from tqdm import tqdm

    count = workers()
    # A machine of one core gets two workers, of which one has work: with one, joblib would work in this very process.
    processes = count if os.environ.get(WORKERS) else max(count, 2)
    shared = {"n_jobs": processes, "pre_dispatch": "2*n_jobs" if count > 1 else 1, "batch_size": 1}
    waiting = dict(enumerate(tasks))
    if warm_up is not None and tasks:
        _alone_on_this_machine(warm_up)
    with tqdm(total=len(tasks), desc=label, unit=unit, dynamic_ncols=True) as bar:
        while waiting:
            begun: set[int] = set()
            try:
                pool = joblib.Parallel(return_as="generator_unordered", **shared)
                for index, result in pool(_calls(function, dict(waiting), begun)):
                    del waiting[index]
                    bar.update()
                    yield index, result
            except TerminatedWorkerError:
                for index in sorted(begun & waiting.keys()):
                    bar.update()
                    yield index, _alone(function, index, waiting.pop(index))


def _calls(function: Callable[[Task], Result], tasks: dict[int, Task], begun: set[int]) -> Iterator[Any]:
    """The tasks as joblib takes them, those taken being noted in `begun`."""
    import joblib

    for index, task in tasks.items():
        begun.add(index)
        yield joblib.delayed(_guarded)(function, index, task)


def _alone_on_this_machine(function: Callable[[], object]) -> None:
    import filelock

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = str(os.getuid())
    with filelock.FileLock(Path(tempfile.gettempdir()) / f"symphony2vec-{user}.lock"):
        function()


def _guarded(function: Callable[[Task], Result], index: int, task: Task) -> tuple[int, Result | Unusable]:
    try:
        return index, function(task)
    except Unusable as reason:
        return index, Unusable(str(reason))


def _alone(function: Callable[[Task], Result], index: int, task: Task) -> Result | Unusable:
    """One task in a process of its own, whose death costs nothing else."""
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        # Two workers for one task: with a single one joblib would run it in this very process.
        ((_, result),) = joblib.Parallel(n_jobs=2)([joblib.delayed(_guarded)(function, index, task)])
    except TerminatedWorkerError:
        return Unusable("the program that reads it crashed, or needed more memory than there is")
    return result  # type: ignore[no-any-return]
