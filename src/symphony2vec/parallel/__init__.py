"""One function over many tasks: on all cores of this machine, or on the workers of a Dask cluster.

Where the work is done is called a backend: "processes", or the address of a Dask scheduler, as tcp://host:8786. It is
the argument `backend` where one is given, else the environment variable `SYMPHONY2VEC_BACKEND`, else "processes". The
results are the same. A task that kills its worker is set aside, not the run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from symphony2vec.errors import Unusable, UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

BACKEND = "SYMPHONY2VEC_BACKEND"
WORKERS = "SYMPHONY2VEC_WORKERS"
PROCESSES = "processes"
ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    label: str,
    unit: str,
    warm_up: Callable[[], object] | None = None,
    backend: str | None = None,
) -> Iterator[tuple[int, Result | Unusable]]:
    """Yield (index of the task, its result) as the results come, under a progress bar.

    A task that raises `Unusable` yields it as its result, and so does one that kills its worker; the tasks that were
    with such a worker are run again. Any other exception is raised here.

    Args:
        function: what is done to one task. It may be done twice (a worker that was lost may still be at it), and must
            then give the same result and leave the same files.
        tasks: what it is done to, picklable and small: paths, not arrays.
        label: what the progress bar says.
        unit: what it counts.
        warm_up: runs before the first task, once on each machine, and must compile what the tasks use of numba:
            processes that compile the same function at once spoil numba's cache on disk, and crash then and in every
            later run.
        backend: "processes" or tcp://host:port; where None, what `SYMPHONY2VEC_BACKEND` says. The workers of a cluster
            must see the same files under the same paths as this machine.
    """
    from tqdm import tqdm

    where = chosen(backend)
    if not tasks:
        return
    with tqdm(total=len(tasks), desc=label, unit=unit, dynamic_ncols=True) as bar:
        for index, result in _results(where, function, tasks, warm_up):
            bar.update()
            yield index, result


def chosen(backend: str | None) -> str:
    """The backend that is meant: "processes" or the address of a scheduler."""
    asked = backend or os.environ.get(BACKEND) or PROCESSES
    if asked != PROCESSES and not ADDRESS.fullmatch(asked):
        named = "--backend" if backend else BACKEND
        raise UserError(
            f"{named} is '{asked}'; it must be '{PROCESSES}' or a Dask scheduler's address, tcp://host:port"
        )
    return asked


def _results(
    where: str, function: Callable[[Task], Result], tasks: Sequence[Task], warm_up: Callable[[], object] | None
) -> Iterator[tuple[int, Result | Unusable]]:
    from symphony2vec.parallel import cluster, processes

    if where == PROCESSES:
        return processes.results(function, tasks, warm_up)
    return cluster.results(where, function, tasks, warm_up)
