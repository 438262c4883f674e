"""The option of every command whose work can be done by other machines."""

from __future__ import annotations

import click

backend_option = click.option(
    "--backend",
    metavar="WHERE",
    help="Who does the work: `processes` of this machine, or the workers of a Dask scheduler, `tcp://HOST:PORT`; they "
    "must see the same files under the same paths. [default: SYMPHONY2VEC_BACKEND, else processes]",
)
