"""The tracking server: where it is, how long it is waited for, and what its faults mean.

A server that does not answer (refused, timed out, 5xx, a locked database) raises `Unanswered`: nothing is wrong with
what was said, it can be said later. A server that answers with a refusal (no permission, a bad parameter) raises a
`UserError`. No address is shown with its password.
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
# MLflow's own bounds add up to minutes for every call. One retry finds out whether a kept connection was stale.
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
AGAIN_AFTER_S = 30.0  # a silent server is asked again
COST = 50.0  # and not before this many times what it cost to find it silent: 2 % of a training at most

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

_prepared: set[str] = set()  # databases elsewhere that have been found or made whole
_silent: dict[str, tuple[float, float]] = {}  # by address: when it was found silent, and the seconds that cost


class Unanswered(Exception):  # noqa: N818 - nothing is wrong with what was said
    """The tracking server does not answer; the message is a short reason."""


def uri(project: Project) -> str:
    """Where runs are kept."""
    return os.environ.get(URI) or places.url(project.mlruns / "mlflow.db")


def is_elsewhere() -> bool:
    """Whether the environment names a server; else runs are kept in the project's own database."""
    return bool(os.environ.get(URI))


def artifacts(project: Project, stage: str) -> str | None:
    """Where the files of an experiment's runs go. A server decides itself; a database leaves it to its clients."""
    if _decides_itself(project):
        return None
    root = os.environ.get(places.ROOT) or (project.mlruns / "artifacts").as_uri()
    return f"{root.rstrip('/')}/{stage}"


def kept_name() -> str:
    """The server's name in an outbox: "" for the project's own database, wherever the project lies."""
    return shown(os.environ.get(URI, ""))


def shown(address: str) -> str:
    """An address, or a text with addresses in it, without passwords."""
    hidden = re.sub(r"(://[^\s:/@]*):[^\s]*@", r"\1:***@", address)
    return re.sub(r"(?i)([?&][^=&\s]*(?:password|pwd|secret|token)[^=&\s]*)=[^&\s]*", r"\1=***", hidden)


def is_own(project: Project) -> bool:
    """Whether runs are kept in the project's own database, be it that the environment names that very file."""
    database = places.database_of(uri(project))
    return database is not None and database.absolute() == project.mlruns / "mlflow.db"


@contextmanager
def client(project: Project, reads_only: bool = False) -> Iterator[MlflowClient]:
    """An MLflow client of the tracking server, for all that is asked of it.

    MLflow's faults within the block, and a server that does not answer, become a UserError of one line. No global state
    of MLflow is touched, so that two projects can be used in one process. With `reads_only` what is asked changes
    nothing, and nothing is written in the project: not even a lock.
    """
    try:
        with spoken(project, writes=False, reads_only=reads_only) as speaking:
            yield speaking
    except Unanswered as fault:
        raise UserError(_advised(project, f"no answer: {fault}")) from fault


@contextmanager
def spoken(
    project: Project, waits_s: int = ANSWER_S, writes: bool = True, reads_only: bool = False
) -> Iterator[MlflowClient]:
    """A client for a few calls, whose faults become `Unanswered` or a UserError; its chatter is kept down.

    Args:
        project: whose server is meant.
        waits_s: seconds that MLflow waits for an answer, where the user has not set them.
        writes: what is said is kept by MLflow: a sqlite database must be free to write to, and a full disk is a
            server that cannot take it now.
        reads_only: what is said changes nothing, and nothing in the project may be written.
    """

    address, began, outside = uri(project), monotonic(), sys.exception()
    try:
        with _bounded(waits_s), ExitStack() as stack:
            _hush(address)
            if not reads_only:
                _prepare(project)
            if writes:
                _await_lock(address)
            yield MlflowClient(stack.enter_context(_readable(project)) if reads_only else address)
    except UserError:
        raise
    except Exception as fault:
        chain = list(_chain(fault, outside))
        if any(_is_silence(one) or (writes and _is_full(one)) for one in chain):
            now = monotonic()
            _silent[address] = (now, now - began)
            raise Unanswered(_reason(chain)) from fault
        if not any(name.startswith(LIBRARIES) for name in _kinds(fault)):
            raise
        _silent.pop(address, None)
        raise UserError(_advised(project, _line(str(fault)))) from fault
    _silent.pop(address, None)


def worth_asking(project: Project, at_once: bool = False) -> bool:
    """Whether the server is asked now: unless it was found silent a short while ago.

    `at_once` leaves out the fixed wait, for the beginning and the end of a run.
    """
    if uri(project) not in _silent:
        return True
    found, cost_s = _silent[uri(project)]
    return monotonic() - found >= max(0.0 if at_once else AGAIN_AFTER_S, COST * cost_s)


@contextmanager
def _bounded(waits_s: int) -> Iterator[None]:
    """MLflow gives up soon, but for what the user has set; the environment is as before when the block ends."""
    own = {name: value for name, value in (BOUNDS | {TIMEOUT: str(waits_s)}).items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


def _hush(address: str) -> None:
    """Keep MLflow's progress, and the tracebacks that it logs of what is raised as well, off the screen."""

    levels = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3.connectionpool": logging.ERROR}
    for name, level in (levels | {"mlflow.store.db.utils": logging.CRITICAL}).items():
        logging.getLogger(name).setLevel(level)
    if not address.startswith(("http", "databricks")):
        utils.MAX_RETRY_COUNT = CONNECTIONS


def _prepare(project: Project) -> None:
    """Make the database once, however many processes start at the same time; they would trip each other up."""
    if _decides_itself(project) or uri(project) in _prepared:
        return

    project.mlruns.mkdir(exist_ok=True)
    database = project.mlruns / "mlflow.db"
    with filelock.FileLock(project.mlruns / ".mlflow.db.lock"):
        if is_own(project) and database.is_file() and database.stat().st_size:
            places.settle(database)
            return

        MlflowClient(uri(project)).search_experiments(max_results=1)
        if not is_own(project):
            _prepared.add(uri(project))
            return
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def _readable(project: Project) -> Iterator[str]:
    """The address to read from; of a sqlite database a copy, since sqlite and MLflow write to what they open."""
    database = places.database_of(uri(project))
    if database is None:
        yield uri(project)
        return
    if is_own(project) and database.is_file() and places.is_writable(database):
        _prepare(project)  # MLflow's own programs shall find the artifacts of a moved project as well
    with places.snapshot(database) as copy:
        yield places.url(copy)


def _decides_itself(project: Project) -> bool:
    """Whether runs are told to a tracking server, and not written to a database by this process itself."""
    return urlsplit(uri(project)).scheme in ("http", "https")


def _await_lock(address: str) -> None:
    """Wait until nobody else writes to a sqlite database: MLflow itself waits 20 s at every call."""
    path = places.database_of(address)
    if path is None or not path.is_file():
        return
    with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as fault:
            if "locked" in str(fault):
                raise Unanswered("database is locked") from fault


def _chain(fault: BaseException | None, outside: BaseException | None) -> Iterator[BaseException]:
    """A fault and what it came from, but for what was already being handled outside."""
    while fault is not None and fault is not outside:
        yield fault
        fault = fault.__cause__ or fault.__context__


def _kinds(fault: BaseException) -> set[str]:
    return {f"{one.__module__}.{one.__qualname__}" for one in type(fault).__mro__}


def _is_silence(fault: BaseException) -> bool:
    kinds = _kinds(fault)
    if isinstance(fault, Unanswered):
        return True
    if kinds & DATABASES:
        return not MISCONFIGURED.search(str(fault))
    if kinds & SILENT:
        return WRONG not in kinds
    if "requests.exceptions.HTTPError" in kinds:
        status = getattr(getattr(fault, "response", None), "status_code", 0)
        return status >= 500 or status in BUSY
    if "mlflow.exceptions.MlflowException" in kinds:
        return re.search(r"failed with error code 5\d\d", str(fault)) is not None
    return False


def _is_full(fault: BaseException) -> bool:
    return isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)


def _reason(chain: list[BaseException]) -> str:
    """The first few words of the chain that people know."""
    for fault in reversed(chain):
        found = SHORT.search(str(fault))
        if found:
            return next(words for words in found.groups() if words).strip().lower()
    return _line(str(chain[-1]))[:120]


def _line(text: str) -> str:
    """The first line of a fault, without the password of the address."""
    line = (text.strip() or "no reason given").splitlines()[0][:300]
    password = re.search(r"://[^:/@]*:(.*)@", os.environ.get(URI, ""))
    for secret in {password.group(1), unquote(password.group(1))} if password and password.group(1) else ():
        line = line.replace(secret, "***")
    return shown(line)


def _advised(project: Project, line: str) -> str:
    if is_elsewhere():
        advice = f"check the server, or unset {URI} to use mlruns/"
    else:
        advice = "close what else uses it" if "locked" in line else f"check that file, or name a server in {URI}"
    return f"MLflow at {shown(uri(project))}: {line}; {advice}"
