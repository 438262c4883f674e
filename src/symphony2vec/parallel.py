"""One function over many tasks, on all cores, through joblib; a file that kills its worker is set aside, not the run.

joblib's own backends apply: inside `joblib.parallel_config(backend="dask")` the same work goes to a Dask cluster.
The number of worker processes is that of the cores, or `SYMPHONY2VEC_WORKERS`.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

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
    if not asked.isdigit() or int(asked) < 1:
        raise UserError(f"{WORKERS} is '{asked}'; it must be a whole number of processes, 1 or more")
    return int(asked)


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    label: str,
    unit: str,
    warm_up: Callable[[], object],
) -> Iterator[tuple[int, Result | Unusable]]:
    """Yield (index of the task, its result) as the results come, under a progress bar.

    A task that raises `Unusable` yields it as its result. When a worker process dies, the tasks without a result are
    run again one at a time, so that only the one that kills its worker is lost.

    `warm_up` runs here before any worker starts. It must compile what the tasks will use of numba: processes that
    compile the same function at once spoil numba's cache on disk, and crash then and in every later run.
    """
    import filelock
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from tqdm import tqdm

    count = workers()
    waiting = dict(enumerate(tasks))
    if tasks:
        with filelock.FileLock(Path(tempfile.gettempdir()) / f"symphony2vec-{getpass.getuser()}.lock"):
            warm_up()
    with tqdm(total=len(tasks), desc=label, unit=unit, dynamic_ncols=True) as bar:
        try:
            pool = joblib.Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1)
            for index, result in pool(joblib.delayed(_guarded)(function, i, task) for i, task in enumerate(tasks)):
                del waiting[index]
                bar.update()
                yield index, result
        except TerminatedWorkerError:
            for index, task in list(waiting.items()):
                bar.update()
                yield index, _alone(function, index, task)


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
