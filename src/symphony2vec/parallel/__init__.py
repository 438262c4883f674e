"""One function over many tasks: on all cores of this machine, or on the workers of a Dask cluster.

Where the work is done is called a backend: "processes", or the address of a Dask scheduler, as tcp://host:8786. It is
the argument `backend` where one is given, else the environment variable `SYMPHONY2VEC_BACKEND`, else "processes". The
results are the same. A task that kills its worker is set aside, not the run.
"""

from symphony2vec.parallel.backend import BACKEND, PROCESSES, WORKERS, choose
from symphony2vec.parallel.execution import spread

__all__ = ["BACKEND", "PROCESSES", "WORKERS", "choose", "spread"]
