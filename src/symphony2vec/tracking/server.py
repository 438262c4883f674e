"""The tracking server: its address, timeouts, and what its errors mean.

A server that does not answer (connection refused, timeout, 5xx, a locked database) raises `ServerUnavailableError`: the
call is valid and can be sent later. A server that rejects a call (no permission, a bad parameter) raises a `UserError`.
Passwords are removed from every address that is shown.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from time import monotonic
from urllib.parse import unquote, urlsplit

import filelock
from mlflow import MlflowClient
from mlflow.store.db import utils

from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.tracking import sqlite_store

TRACKING_URI_VARIABLE = "MLFLOW_TRACKING_URI"
REDACTED = "***"  # in place of a password
# MLflow's own values can block one call for minutes. One retry is enough to replace a stale keep-alive connection.
MLFLOW_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else MLflow prints it into the progress bar
}
TIMEOUT_VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
CALL_TIMEOUT_S, UPLOAD_TIMEOUT_S = 10, 120  # a server may store a large file before it answers
CONNECTION_ATTEMPTS = 3  # how often MLflow tries to connect to a database; its default, 10, takes about 100 s
LOCK_TIMEOUT_S = 5.0  # how long to wait for another process that writes to a SQLite database
RETRY_INTERVAL_S = 30.0  # between two attempts to reach a server that does not answer
# Wait at least this many times as long as the last attempt took, so that attempts take at most 2 % of the time.
RETRY_COST_FACTOR = 50.0

UNREACHABLE_ERRORS = frozenset(
    (
        "requests.exceptions.ConnectionError requests.exceptions.Timeout requests.exceptions.RetryError "
        "botocore.exceptions.HTTPClientError"
    ).split()
)
TLS_ERROR = "requests.exceptions.SSLError"  # a ConnectionError, but the server is reachable and its TLS misconfigured
CLIENT_LIBRARIES = ("mlflow.", "requests.", "sqlalchemy.", "sqlite3.", "botocore.", "boto3.")
DATABASE_ERRORS = frozenset(("sqlalchemy.exc.OperationalError", "sqlite3.OperationalError"))
MISCONFIGURATION = re.compile(
    r"authentication|does not exist|pg_hba|denied|unable to open|readonly|no such|syntax", re.I
)
RETRYABLE_STATUS = (408, 429)
SHORT_REASON = re.compile(
    r"\[Errno -?\d+\] ([\w ]+)|(timed out)|(too many \d+ error responses)|(database is locked)|(error code 5\d\d)"
)

_initialised_databases: set[str] = set()  # databases, other than the project's own, that exist
_last_failures: dict[str, tuple[float, float]] = {}  # by address: time and duration in s of the last failed attempt


class ServerUnavailableError(Exception):
    """The tracking server does not answer; the message is a short reason."""


def tracking_uri(project: Project) -> str:
    """Return the address of the tracking server or database."""
    return os.environ.get(TRACKING_URI_VARIABLE) or sqlite_store.sqlite_url(project.mlruns / "mlflow.db")


def artifact_root(project: Project, stage: str) -> str | None:
    """Return the artifact location of an experiment; None for an HTTP server, which decides itself."""
    if _is_http(project):
        return None
    root = os.environ.get(sqlite_store.ARTIFACT_ROOT_VARIABLE) or (project.mlruns / "artifacts").as_uri()
    return f"{root.rstrip('/')}/{stage}"


def redacted_address() -> str:
    """Return the tracking address without its password, as it is stored in an outbox.

    It is "" if MLFLOW_TRACKING_URI is not set: then the project's own database is used, and the project can be moved.
    """
    return redact(os.environ.get(TRACKING_URI_VARIABLE, ""))


def redact(address: str) -> str:
    """Return an address, or a text with addresses in it, without passwords."""
    hidden = re.sub(r"(://[^\s:/@]*):[^\s]*@", rf"\1:{REDACTED}@", address)
    return re.sub(r"(?i)([?&][^=&\s]*(?:password|pwd|secret|token)[^=&\s]*)=[^&\s]*", rf"\1={REDACTED}", hidden)


def uses_project_database(project: Project) -> bool:
    """Return whether the tracking address is the project's own database, by default or explicitly."""
    database = sqlite_store.sqlite_path(tracking_uri(project))
    return database is not None and database.absolute() == project.mlruns / "mlflow.db"


@contextmanager
def client(project: Project, read_only: bool = False) -> Iterator[MlflowClient]:
    """Yield an MLflow client of the tracking server.

    MLflow's errors within the block, and a server that does not answer, become a UserError of one line. MLflow's global
    tracking URI (`mlflow.set_tracking_uri`) is not changed, so that one process can use two projects. With `read_only`
    nothing is written in the project, except that a moved project is corrected if its database is writable; see
    `sqlite_store.relocate_artifacts`.
    """
    try:
        with client_session(project, can_queue=False, read_only=read_only) as session:
            yield session
    except ServerUnavailableError as error:
        raise UserError(_with_advice(project, f"no answer: {error}")) from error


@contextmanager
def client_session(
    project: Project, timeout_s: int = CALL_TIMEOUT_S, can_queue: bool = True, read_only: bool = False
) -> Iterator[MlflowClient]:
    """Yield a client for a few calls; their errors become `ServerUnavailableError` or `UserError`.

    MLflow's own logging of these errors is silenced.

    Args:
        project: the project whose tracking server is used.
        timeout_s: timeout of one request in seconds, unless MLFLOW_HTTP_REQUEST_TIMEOUT is set.
        can_queue: whether the caller can queue its calls. If so, a locked SQLite database is waited for only
            `LOCK_TIMEOUT_S`, and a full disk raises `ServerUnavailableError`, like a server that does not answer.
        read_only: the calls change nothing; see `client`.
    """
    # An error that was already being handled on entry is not a cause of those in this block.
    address, start, outer_error = tracking_uri(project), monotonic(), sys.exception()
    try:
        with _request_limits(timeout_s), ExitStack() as stack:
            _configure_mlflow(address)
            if not read_only:
                _prepare_database(project)
            if can_queue:
                _wait_for_lock(address)
            yield MlflowClient(stack.enter_context(_read_only_address(project)) if read_only else address)
    except UserError:
        raise
    except Exception as error:
        chain = list(_chain(error, outer_error))
        if any(_means_unavailable(link) or (can_queue and _is_disk_full(link)) for link in chain):
            now = monotonic()
            _last_failures[address] = (now, now - start)
            raise ServerUnavailableError(_short_reason(chain)) from error
        if not any(name.startswith(CLIENT_LIBRARIES) for name in _class_names(error)):
            raise
        _last_failures.pop(address, None)
        raise UserError(_with_advice(project, _first_line(str(error)))) from error
    _last_failures.pop(address, None)


def should_retry(project: Project, shorten_interval: bool = False) -> bool:
    """Return whether to contact the server now; False shortly after a failed attempt.

    `shorten_interval`, for the start and the end of a run, waits only `RETRY_COST_FACTOR` times as long as the last
    attempt took.
    """
    if tracking_uri(project) not in _last_failures:
        return True
    since, cost_s = _last_failures[tracking_uri(project)]
    return monotonic() - since >= max(0.0 if shorten_interval else RETRY_INTERVAL_S, RETRY_COST_FACTOR * cost_s)


@contextmanager
def _request_limits(timeout_s: int) -> Iterator[None]:
    """Set MLflow's timeouts for the duration of the block, except those that the user has set."""
    defaults = {
        name: value
        for name, value in (MLFLOW_DEFAULTS | {TIMEOUT_VARIABLE: str(timeout_s)}).items()
        if name not in os.environ
    }
    os.environ.update(defaults)
    try:
        yield
    finally:
        for name in defaults:
            os.environ.pop(name, None)


def _configure_mlflow(address: str) -> None:
    """Silence MLflow's progress messages and the tracebacks that it logs before it raises; limit its attempts."""
    levels = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3.connectionpool": logging.ERROR}
    for name, level in (levels | {"mlflow.store.db.utils": logging.CRITICAL}).items():
        logging.getLogger(name).setLevel(level)
    if not address.startswith(("http", "databricks")):
        utils.MAX_RETRY_COUNT = CONNECTION_ATTEMPTS


def _prepare_database(project: Project) -> None:
    """Create the database if it is missing, or correct the artifact locations of a moved project.

    One process at a time does so.
    """
    if _is_http(project) or tracking_uri(project) in _initialised_databases:
        return

    project.mlruns.mkdir(exist_ok=True)
    database = project.mlruns / "mlflow.db"
    with filelock.FileLock(project.mlruns / ".mlflow.db.lock"):
        if uses_project_database(project) and database.is_file() and database.stat().st_size:
            sqlite_store.relocate_artifacts(database)
            return

        MlflowClient(tracking_uri(project)).search_experiments(max_results=1)
        if not uses_project_database(project):
            _initialised_databases.add(tracking_uri(project))
            return
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def _read_only_address(project: Project) -> Iterator[str]:
    """Yield an address for reading: a temporary copy of a SQLite database, since MLflow may write to what it opens."""
    database = sqlite_store.sqlite_path(tracking_uri(project))
    if database is None:
        yield tracking_uri(project)
        return
    if uses_project_database(project) and database.is_file() and sqlite_store.is_writable(database):
        _prepare_database(project)  # so that MLflow's own tools find the artifacts of a moved project
    with sqlite_store.snapshot(database) as copy:
        yield sqlite_store.sqlite_url(copy)


def _is_http(project: Project) -> bool:
    """Return whether runs go to an HTTP server, rather than to a database that this process writes to."""
    return urlsplit(tracking_uri(project)).scheme in ("http", "https")


def _wait_for_lock(address: str) -> None:
    """Wait at most `LOCK_TIMEOUT_S` until no other process writes to a SQLite database.

    MLflow alone would wait 20 s at every call.

    Raises:
        ServerUnavailableError: it is still locked.
    """
    path = sqlite_store.sqlite_path(address)
    if path is None or not path.is_file():
        return
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise ServerUnavailableError("database is locked") from error


def _chain(error: BaseException | None, outer_error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, up to the one that was already being handled on entry."""
    while error is not None and error is not outer_error:
        yield error
        error = error.__cause__ or error.__context__


def _class_names(error: BaseException) -> set[str]:
    return {f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__}


def _means_unavailable(error: BaseException) -> bool:
    names = _class_names(error)
    if isinstance(error, ServerUnavailableError):
        return True
    if names & DATABASE_ERRORS:
        return not MISCONFIGURATION.search(str(error))
    if names & UNREACHABLE_ERRORS:
        return TLS_ERROR not in names
    if "requests.exceptions.HTTPError" in names:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        return status >= 500 or status in RETRYABLE_STATUS
    if "mlflow.exceptions.MlflowException" in names:
        return re.search(r"failed with error code 5\d\d", str(error)) is not None
    return False


def _is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _short_reason(chain: list[BaseException]) -> str:
    """Return the first familiar phrase in a chain of errors, the innermost error first."""
    for error in reversed(chain):
        match = SHORT_REASON.search(str(error))
        if match:
            return next(words for words in match.groups() if words).strip().lower()
    return _first_line(str(chain[-1]))[:120]


def _first_line(text: str) -> str:
    """Return the first line of an error message, without the password of the address."""
    line = (text.strip() or "no reason given").splitlines()[0][:300]
    password = re.search(r"://[^:/@]*:(.*)@", os.environ.get(TRACKING_URI_VARIABLE, ""))
    for secret in {password.group(1), unquote(password.group(1))} if password and password.group(1) else ():
        line = line.replace(secret, REDACTED)
    return redact(line)


def _with_advice(project: Project, line: str) -> str:
    if os.environ.get(TRACKING_URI_VARIABLE):
        advice = f"check the server, or unset {TRACKING_URI_VARIABLE} to use mlruns/"
    else:
        check = f"check that the file is a writable SQLite database, or set {TRACKING_URI_VARIABLE} to a server"
        advice = "close other programs that use this database" if "locked" in line else check
    return f"MLflow at {redact(tracking_uri(project))}: {line}; {advice}"
