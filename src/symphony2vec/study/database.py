"""Where the trials of a study are kept: a database of the project, or a PostgreSQL server.

Every worker says once a minute that it is alive. A trial whose worker has been silent for two minutes is failed by
whoever looks next, and what it had drawn is drawn again, at most `ATTEMPTS` times: a setting that needs more memory
than there is would kill one worker after the other.
"""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.tracking import places

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

ATTEMPTS = 3
PRESENT = "present"  # the attribute of a trial of the setting that params.yaml had when the study began
PATIENCE_S = 30  # for another process that writes to the same sqlite file
CONNECT_S = 10
OPENINGS = 5  # several processes may make the tables at the same time: one succeeds, the others try again


@dataclass(frozen=True)
class Database:
    """One database by its URL (sqlite:///file or postgresql://user:password@host/name), and its heartbeat."""

    url: str
    heartbeat_s: int = 60
    grace_s: int = 120

    @classmethod
    def of(cls, project: Project, asked: str | None) -> Database:
        """The database that was asked for, or that of the project."""
        if asked is None:
            return cls(places.url(project.mlruns / "optuna.db"))
        for scheme in ("postgresql://", "postgres://"):
            if asked.startswith(scheme):
                asked = "postgresql+psycopg://" + asked.removeprefix(scheme)
        if not asked.startswith(("sqlite:///", "postgresql+psycopg://")) or not _readable(asked):
            raise UserError("--storage takes sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
        return cls(asked)

    @property
    def shown(self) -> str:
        """The URL without its password."""

        return make_url(self.url).render_as_string(hide_password=True)

    def place(self, project: Project) -> str:
        """What tells this project from others that share a server; "" where the database is a file."""
        return "" if self.url.startswith("sqlite") else f"{socket.gethostname()} {project.root}"

    def exists(self) -> bool:
        """Whether there is something to open; of a server only opening tells."""
        path = places.database_of(self.url)
        return path is None or path.is_file()

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """The faults of the database, at any moment of the block, in one line and without its password."""

        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as fault:
            cause = fault if isinstance(fault, SQLAlchemyError) else fault.__cause__ or fault
            reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
            raise UserError(
                f"the study's database {self.shown} fails: {reason[:300]}; check it, or leave out --storage to use "
                "mlruns/optuna.db. Run the same command again to continue"
            ) from None

    @cached_property
    def storage(self) -> RDBStorage:
        """The open database, its tables made when they are missing."""

        quiet()
        for opening in range(OPENINGS):
            try:
                return optuna.storages.RDBStorage(
                    self.url,
                    engine_kwargs=self._engine,
                    heartbeat_interval=self.heartbeat_s,
                    grace_period=self.grace_s,
                    heartbeat_stale_trial_callback=requeue,
                )
            except ImportError:
                raise UserError("PostgreSQL needs a package more: pip install 'psycopg[binary]'") from None
            except (IntegrityError, ProgrammingError, OperationalError) as fault:
                made_twice = "already exists" in str(fault) or isinstance(fault, IntegrityError)
                if opening == OPENINGS - 1 or not made_twice:
                    raise
                time.sleep(0.5)
        raise AssertionError

    def studies(self, name: str, create: bool = True) -> tuple[Study, Study]:
        """The study of this name and that of its repeats; KeyError where they are missing and not to be made."""

        names = (name, f"{name}-repeats")
        if not create:
            both = [optuna.load_study(study_name=one, storage=self.storage) for one in names]
        else:
            both = [
                optuna.create_study(study_name=one, storage=self.storage, direction="maximize", load_if_exists=True)
                for one in names
            ]
        return both[0], both[1]

    @property
    def _engine(self) -> dict[str, Any]:
        if self.url.startswith("sqlite"):
            return {"connect_args": {"timeout": PATIENCE_S}}
        return {"connect_args": {"connect_timeout": CONNECT_S}, "pool_pre_ping": True}


def requeue(study: Study, trial: FrozenTrial, counted: bool = True) -> None:
    """What a dead or interrupted trial had sampled waits for the next worker.

    A death counts as an attempt, an interruption does not.
    """
    attempt = trial.user_attrs.get("attempt", 1) + int(counted)
    if trial.params and attempt <= ATTEMPTS:
        told = {"attempt": attempt, "again": trial.number, PRESENT: trial.user_attrs.get(PRESENT, False)}
        study.enqueue_trial(trial.params, user_attrs=told)


def _readable(url: str) -> bool:
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        return False
    return True


def quiet() -> None:
    """Optuna's chatter is kept down: each trial is told in one line of our own."""

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
