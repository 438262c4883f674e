"""Apply one function to many tasks: on all cores of this machine, or on the workers of a Dask cluster.

The backend is "processes", or the address of a Dask scheduler such as tcp://host:8786. It is the argument `backend` if
given, else the environment variable `SYMPHONY2VEC_BACKEND`, else "processes". Results do not depend on it. A task that
kills its worker is reported as unusable; the run goes on.
"""

from symphony2vec.parallel.backend import BACKEND, PROCESSES, WORKERS, resolve_backend
from symphony2vec.parallel.execution import spread

__all__ = ["BACKEND", "PROCESSES", "WORKERS", "resolve_backend", "spread"]
