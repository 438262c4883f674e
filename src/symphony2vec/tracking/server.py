"""The tracking server: its address, timeouts, and what its errors mean.

A server that does not answer (refused, timed out, 5xx, a locked database) raises `NoAnswer`: the call is fine and can
be sent later. A server that answers with a refusal (no permission, a bad parameter) raises a `UserError`. Passwords are
removed from every address that is shown.
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
from symphony2vec.tracking import places

URI = "MLFLOW_TRACKING_URI"
# MLflow's own timeouts add up to minutes a call. One retry tells whether a reused connection was stale.
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # of every run that ends, in the middle of a progress bar
}
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
ANSWER_S, UPLOAD_S = 10, 120  # a server may store a large file before it answers
CONNECTIONS = 3  # tries to reach a database by MLflow, which makes ten in 100 s
BUSY_S = 5.0  # a locked sqlite database is waited for
AGAIN_AFTER_S = 30.0  # a silent server is tried again
COST = 50.0  # but not before this many times the seconds that the last try took: at most 2 % of a training

SILENT = frozenset(
    (
        "requests.exceptions.ConnectionError requests.exceptions.Timeout requests.exceptions.RetryError "
        "botocore.exceptions.HTTPClientError"
    ).split()
)
WRONG = "requests.exceptions.SSLError"  # a ConnectionError, but of a server that is there
LIBRARIES = ("mlflow.", "requests.", "sqlalchemy.", "sqlite3.", "botocore.", "boto3.")
DATABASES = frozenset(("sqlalchemy.exc.OperationalError", "sqlite3.OperationalError"))
MISCONFIGURED = re.compile(r"authentication|does not exist|pg_hba|denied|unable to open|readonly|no such|syntax", re.I)
BUSY = (408, 429)
SHORT = re.compile(
    r"\[Errno -?\d+\] ([\w ]+)|(timed out)|(too many \d+ error responses)|(database is locked)|(error code 5\d\d)"
)

_existing: set[str] = set()  # databases elsewhere that were found or created
_silent: dict[str, tuple[float, float]] = {}  # by address: when it was found silent, and the seconds that took


class NoAnswer(Exception):  # noqa: N818 - not an error of the call
    """The tracking server does not answer; the message is a short reason."""


def uri(project: Project) -> str:
    """Return the address of the tracking server or database."""
    return os.environ.get(URI) or places.url(project.mlruns / "mlflow.db")


def is_remote() -> bool:
    """Whether the environment names a server; otherwise runs go to the project's own database."""
    return bool(os.environ.get(URI))


def artifact_root(project: Project, stage: str) -> str | None:
    """Return where the artifacts of an experiment's runs go; None for an HTTP server, which decides itself."""
    if _is_http(project):
        return None
    root = os.environ.get(places.ROOT) or (project.mlruns / "artifacts").as_uri()
    return f"{root.rstrip('/')}/{stage}"


def server_name() -> str:
    """The server's name in an outbox: "" for the project's own database, wherever the project lies."""
    return redact(os.environ.get(URI, ""))


def redact(address: str) -> str:
    """Return an address, or a text with addresses in it, without passwords."""
    hidden = re.sub(r"(://[^\s:/@]*):[^\s]*@", r"\1:***@", address)
    return re.sub(r"(?i)([?&][^=&\s]*(?:password|pwd|secret|token)[^=&\s]*)=[^&\s]*", r"\1=***", hidden)


def is_own(project: Project) -> bool:
    """Whether runs go to the project's own database, even if the environment names that file."""
    database = places.database_of(uri(project))
    return database is not None and database.absolute() == project.mlruns / "mlflow.db"


@contextmanager
def client(project: Project, reads_only: bool = False) -> Iterator[MlflowClient]:
    """Give an MLflow client of the tracking server.

    MLflow's errors within the block, and a server that does not answer, become a UserError of one line. No global state
    of MLflow is changed, so that two projects can be used in one process. With `reads_only` nothing is written in the
    project, not even a lock.
    """
    try:
        with client_session(project, writes=False, reads_only=reads_only) as session:
            yield session
    except NoAnswer as fault:
        raise UserError(_with_advice(project, f"no answer: {fault}")) from fault


@contextmanager
def client_session(
    project: Project, waits_s: int = ANSWER_S, writes: bool = True, reads_only: bool = False
) -> Iterator[MlflowClient]:
    """Give a client for a few calls, whose errors become `NoAnswer` or a UserError and whose logging is quiet.

    Args:
        project: whose server is used.
        waits_s: seconds that MLflow waits for an answer, unless the user has set them.
        writes: the calls write: a sqlite database must not be locked, and a full disk counts as no answer.
        reads_only: the calls change nothing, and nothing in the project may be written.
    """

    address, start, handled = uri(project), monotonic(), sys.exception()
    try:
        with _request_limits(waits_s), ExitStack() as stack:
            _quiet_logging(address)
            if not reads_only:
                _create_database(project)
            if writes:
                _wait_for_lock(address)
            yield MlflowClient(stack.enter_context(_read_only_address(project)) if reads_only else address)
    except UserError:
        raise
    except Exception as fault:
        chain = list(_chain(fault, handled))
        if any(_means_no_answer(link) or (writes and _is_full(link)) for link in chain):
            now = monotonic()
            _silent[address] = (now, now - start)
            raise NoAnswer(_reason(chain)) from fault
        if not any(name.startswith(LIBRARIES) for name in _class_names(fault)):
            raise
        _silent.pop(address, None)
        raise UserError(_with_advice(project, _line(str(fault)))) from fault
    _silent.pop(address, None)


def should_ask(project: Project, at_once: bool = False) -> bool:
    """Return whether to try the server now: not if it was silent a short while ago.

    `at_once` skips the fixed wait, for the start and the end of a run.
    """
    if uri(project) not in _silent:
        return True
    since, cost_s = _silent[uri(project)]
    return monotonic() - since >= max(0.0 if at_once else AGAIN_AFTER_S, COST * cost_s)


@contextmanager
def _request_limits(waits_s: int) -> Iterator[None]:
    """Short timeouts for MLflow, except those that the user has set; restored when the block ends."""
    defaults = {name: value for name, value in (BOUNDS | {TIMEOUT: str(waits_s)}).items() if name not in os.environ}
    os.environ.update(defaults)
    try:
        yield
    finally:
        for name in defaults:
            os.environ.pop(name, None)


def _quiet_logging(address: str) -> None:
    """Silence MLflow's progress messages, and its log of tracebacks that are raised as well."""
    levels = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3.connectionpool": logging.ERROR}
    for name, level in (levels | {"mlflow.store.db.utils": logging.CRITICAL}).items():
        logging.getLogger(name).setLevel(level)
    if not address.startswith(("http", "databricks")):
        utils.MAX_RETRY_COUNT = CONNECTIONS


def _create_database(project: Project) -> None:
    """Create the database once, however many processes start at the same time."""
    if _is_http(project) or uri(project) in _existing:
        return

    project.mlruns.mkdir(exist_ok=True)
    database = project.mlruns / "mlflow.db"
    with filelock.FileLock(project.mlruns / ".mlflow.db.lock"):
        if is_own(project) and database.is_file() and database.stat().st_size:
            places.relocate_artifacts(database)
            return

        MlflowClient(uri(project)).search_experiments(max_results=1)
        if not is_own(project):
            _existing.add(uri(project))
            return
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def _read_only_address(project: Project) -> Iterator[str]:
    """Give the address to read from; a copy of a sqlite database, since sqlite and MLflow write to what they open."""
    database = places.database_of(uri(project))
    if database is None:
        yield uri(project)
        return
    if is_own(project) and database.is_file() and places.is_writable(database):
        _create_database(project)  # so that MLflow's own programs find the artifacts of a moved project
    with places.snapshot(database) as copy:
        yield places.url(copy)


def _is_http(project: Project) -> bool:
    """Whether runs go to an HTTP server, rather than to a database that this process writes to."""
    return urlsplit(uri(project)).scheme in ("http", "https")


def _wait_for_lock(address: str) -> None:
    """Wait until no other process writes to a sqlite database: MLflow itself waits 20 s at every call."""
    path = places.database_of(address)
    if path is None or not path.is_file():
        return
    with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as fault:
            if "locked" in str(fault):
                raise NoAnswer("database is locked") from fault


def _chain(fault: BaseException | None, handled: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, without those that were already being handled before."""
    while fault is not None and fault is not handled:
        yield fault
        fault = fault.__cause__ or fault.__context__


def _class_names(fault: BaseException) -> set[str]:
    return {f"{base.__module__}.{base.__qualname__}" for base in type(fault).__mro__}


def _means_no_answer(fault: BaseException) -> bool:
    names = _class_names(fault)
    if isinstance(fault, NoAnswer):
        return True
    if names & DATABASES:
        return not MISCONFIGURED.search(str(fault))
    if names & SILENT:
        return WRONG not in names
    if "requests.exceptions.HTTPError" in names:
        status = getattr(getattr(fault, "response", None), "status_code", 0)
        return status >= 500 or status in BUSY
    if "mlflow.exceptions.MlflowException" in names:
        return re.search(r"failed with error code 5\d\d", str(fault)) is not None
    return False


def _is_full(fault: BaseException) -> bool:
    return isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)


def _reason(chain: list[BaseException]) -> str:
    """The first familiar phrase in a chain of errors."""
    for fault in reversed(chain):
        match = SHORT.search(str(fault))
        if match:
            return next(words for words in match.groups() if words).strip().lower()
    return _line(str(chain[-1]))[:120]


def _line(text: str) -> str:
    """The first line of an error message, without the password of the address."""
    line = (text.strip() or "no reason given").splitlines()[0][:300]
    password = re.search(r"://[^:/@]*:(.*)@", os.environ.get(URI, ""))
    for secret in {password.group(1), unquote(password.group(1))} if password and password.group(1) else ():
        line = line.replace(secret, "***")
    return redact(line)


def _with_advice(project: Project, line: str) -> str:
    if is_remote():
        advice = f"check the server, or unset {URI} to use mlruns/"
    else:
        advice = "close what else uses it" if "locked" in line else f"check that file, or name a server in {URI}"
    return f"MLflow at {redact(uri(project))}: {line}; {advice}"
