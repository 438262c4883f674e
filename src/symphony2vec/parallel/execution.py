"""Apply one function to many tasks on the chosen backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tqdm import tqdm

from symphony2vec.errors import Unusable
from symphony2vec.parallel import cluster, processes
from symphony2vec.parallel.backend import PROCESSES, Result, Task, resolve_backend


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    label: str,
    unit: str,
    warm_up: Callable[[], object] | None = None,
    backend: str | None = None,
) -> Iterator[tuple[int, Result | Unusable]]:
    """Apply a function to tasks in parallel, and yield results in the order of completion, with a progress bar.

    Args:
        function: applied to each task. It may run twice for one task (a worker considered lost may still be running),
            and must then return the same result and leave the same files.
        tasks: arguments of the function, picklable and small: paths, not arrays.
        label: description of the progress bar.
        unit: what the progress bar counts.
        warm_up: runs before the first task, once on each machine, and must compile the numba functions that the tasks
            use: processes that compile the same function at once corrupt numba's cache on disk, and crash then and in
            every later run.
        backend: "processes" or tcp://host:port; None for the value of `SYMPHONY2VEC_BACKEND`. The workers of a cluster
            must see the same files under the same paths as this machine.

    Yields:
        (index of the task, its result). If a task raises `Unusable` or kills its worker, the result is an `Unusable`;
        other tasks of that worker run again.

    Raises:
        UserError: the backend is not valid, or the cluster cannot be used.
        Exception: any other exception that a task raises.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch.dict("os.environ", SYMPHONY2VEC_WORKERS="1"):
        ...     list(spread(abs, [-1, 2, -3], "absolute values", "number"))
        [(0, 1), (1, 2), (2, 3)]
    """
    address = resolve_backend(backend)
    if not tasks:
        return
    if address == PROCESSES:
        results = processes.run_tasks(function, tasks, warm_up)
    else:
        results = cluster.run_tasks(address, function, tasks, warm_up)
    with tqdm(total=len(tasks), desc=label, unit=unit, dynamic_ncols=True) as bar:
        for index, result in results:
            bar.update()
            yield index, result
