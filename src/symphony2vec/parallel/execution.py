"""One function over many tasks, on the backend that is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tqdm import tqdm

from symphony2vec.errors import Unusable
from symphony2vec.parallel import cluster, processes
from symphony2vec.parallel.backend import PROCESSES, Result, Task, choose


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

    chosen = choose(backend)
    if not tasks:
        return
    with tqdm(total=len(tasks), desc=label, unit=unit, dynamic_ncols=True) as bar:
        for index, result in _results(chosen, function, tasks, warm_up):
            bar.update()
            yield index, result


def _results(
    backend: str, function: Callable[[Task], Result], tasks: Sequence[Task], warm_up: Callable[[], object] | None
) -> Iterator[tuple[int, Result | Unusable]]:
    if backend == PROCESSES:
        return processes.results(function, tasks, warm_up)
    return cluster.results(backend, function, tasks, warm_up)
