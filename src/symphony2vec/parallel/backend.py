"""Choose the backend that runs the tasks: the cores of this machine, or a Dask cluster."""

from __future__ import annotations

import os
import re
from typing import TypeVar

from symphony2vec.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

BACKEND = "SYMPHONY2VEC_BACKEND"
WORKERS = "SYMPHONY2VEC_WORKERS"
PROCESSES = "processes"
ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")


def resolve_backend(backend: str | None) -> str:
    """Return "processes" or the address of a scheduler: the argument, else `SYMPHONY2VEC_BACKEND`, else "processes".

    Raises:
        UserError: it is neither.

    Examples:
        >>> resolve_backend("tcp://127.0.0.1:8786")
        'tcp://127.0.0.1:8786'
    """
    choice = backend or os.environ.get(BACKEND) or PROCESSES
    if choice != PROCESSES and not ADDRESS.fullmatch(choice):
        source = "--backend" if backend else BACKEND
        raise UserError(
            f"{source} is '{choice}'; it must be '{PROCESSES}' or the address of a Dask scheduler, tcp://host:port"
        )
    return choice
