"""The Optuna storage of a study: a database file of the project, or a PostgreSQL server.

Optuna's heartbeat marks a trial as failed after two silent minutes of its worker, and its retry callback queues the
trial's parameters again, up to `MAX_ATTEMPTS` attempts: a setting that needs too much memory would otherwise kill one
worker after another. Optuna has nothing for a trial that was interrupted: `requeue_interrupted` queues its parameters
without counting an attempt.
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
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.tracking import sqlite_store

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

MAX_ATTEMPTS = 3
# User attribute of a trial of the setting that params.yaml had when the study began.
CURRENT_SETTING = "present"
SQLITE_TIMEOUT_S = 30  # while another process writes to the same file
CONNECT_TIMEOUT_S = 10
OPEN_ATTEMPTS = 5  # several processes may create the tables at the same time: one succeeds, the others try again


@dataclass(frozen=True)
class Database:
    """One database by its URL (sqlite:///file or postgresql://user:password@host/name), and its heartbeat."""

    url: str
    heartbeat_s: int = 60
    grace_s: int = 120

    @classmethod
    def from_url(cls, project: Project, url: str | None) -> Database:
        """Return the database with this URL; that of the project if it is None.

        Raises:
            UserError: The URL is malformed or of another kind of database.
        """
        if url is None:
            return cls(sqlite_store.sqlite_url(project.mlruns / "optuna.db"))
        for scheme in ("postgresql://", "postgres://"):
            if url.startswith(scheme):
                url = "postgresql+psycopg://" + url.removeprefix(scheme)
        if not url.startswith(("sqlite:///", "postgresql+psycopg://")) or not _is_valid_url(url):
            raise UserError("--storage takes sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
        return cls(url)

    @property
    def safe_url(self) -> str:
        """The URL without its password.

        Examples:
            >>> Database("postgresql+psycopg://me:secret@host/studies").safe_url
            'postgresql+psycopg://me:***@host/studies'
        """
        return make_url(self.url).render_as_string(hide_password=True)

    def client_name(self, project: Project) -> str:
        """Return what distinguishes this project from others on the same server; "" if the database is a file."""
        return "" if self.url.startswith("sqlite") else f"{socket.gethostname()} {project.root}"

    def exists(self) -> bool:
        """Return whether the database file exists; True for a server, which only opening can tell."""
        path = sqlite_store.sqlite_path(self.url)
        return path is None or path.is_file()

    @contextmanager
    def report_errors(self) -> Iterator[None]:
        """Turn database errors within the block into a `UserError` of one line without the password."""
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            cause = error if isinstance(error, SQLAlchemyError) else error.__cause__ or error
            reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
            raise UserError(
                f"the study's database {self.safe_url} fails: {reason[:300]}; check it, or omit --storage to use "
                "mlruns/optuna.db. Run the same command again to resume"
            ) from None

    @cached_property
    def storage(self) -> RDBStorage:
        """The open Optuna storage; its tables are created if they are missing."""
        silence_optuna()
        if self.url.startswith("sqlite"):
            options: dict[str, Any] = {"connect_args": {"timeout": SQLITE_TIMEOUT_S}}
        else:
            options = {"connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}, "pool_pre_ping": True}
        for attempt in range(OPEN_ATTEMPTS):
            try:
                return optuna.storages.RDBStorage(
                    self.url,
                    engine_kwargs=options,
                    heartbeat_interval=self.heartbeat_s,
                    grace_period=self.grace_s,
                    heartbeat_stale_trial_callback=requeue_dead,
                )
            except ImportError:
                raise UserError("PostgreSQL needs another package: pip install 'psycopg[binary]'") from None
            except (IntegrityError, ProgrammingError, OperationalError) as error:
                created_by_another = "already exists" in str(error) or isinstance(error, IntegrityError)
                if attempt == OPEN_ATTEMPTS - 1 or not created_by_another:
                    raise
                time.sleep(0.5)
        raise AssertionError

    def open_studies(self, name: str, create: bool = True) -> tuple[Study, Study]:
        """Return the study of this name and that of its repeats; KeyError if they are missing and `create` is off."""
        names = (name, f"{name}-repeats")
        if create:
            studies = [
                optuna.create_study(study_name=each, storage=self.storage, direction="maximize", load_if_exists=True)
                for each in names
            ]
        else:
            studies = [optuna.load_study(study_name=each, storage=self.storage) for each in names]
        return studies[0], studies[1]


def requeue_dead(study: Study, trial: FrozenTrial) -> None:
    """Queue the parameters of a trial whose worker has died, unless it had `MAX_ATTEMPTS` attempts.

    A repeat has no parameters of its own; `verdict.missing_repeats` counts its attempts.
    """
    if trial.params:
        RetryHeartbeatStaleTrialCallback(max_retry=MAX_ATTEMPTS - 1)(study, trial)


def requeue_interrupted(study: Study, trial: FrozenTrial) -> None:
    """Queue the parameters of a trial that was interrupted; its earlier attempts still count."""
    if trial.params:
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={CURRENT_SETTING: trial.user_attrs.get(CURRENT_SETTING, False)},
                system_attrs=trial.system_attrs,
            )
        )


def silence_optuna() -> None:
    """Turn off Optuna's log: each trial is reported in one line of this package."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)


def _is_valid_url(url: str) -> bool:
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        return False
    return True
