"""Where the runs of a project lie on this disk: the URL of its database, and artifacts that follow a moved project.

MLflow writes the absolute place of every artifact into its database. A project that was moved or copied would read
from, and write into, the folder that it came from. So every command looks for artifacts beside the database: one that
may write corrects the stored places first, which MLflow's own programs then see as well; one that may not reads a
corrected copy of the database.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from symphony2vec.project import atomic_folder, is_project

SQLITE = ("sqlite:///", "sqlite+pysqlite:///")
OWN = "/mlruns/artifacts/"
ROOT = "MLFLOW_DEFAULT_ARTIFACT_ROOT"  # MLflow's own name for it, which its server alone heeds
# Runs before the versions of models, whose places lie within those of runs.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
WAIT_S = 30.0  # for another process that writes to the database


def url(database: Path) -> str:
    """Return the URL by which MLflow and Optuna open a sqlite database, whatever characters its folders have.

    SQLAlchemy takes `?` and `%xx` of a path for something else, so that they are quoted; MLflow makes the parent folder
    of a plain sqlite:/// URL before it is unquoted, which naming the driver prevents.
    """
    path = str(database)
    if "%" in path or "?" in path:
        return SQLITE[1] + path.replace("%", "%25").replace("?", "%3F")
    return SQLITE[0] + path


def database_of(address: str) -> Path | None:
    """Return the file of a sqlite URL; None for other URLs and for a database in memory."""
    prefix = next((prefix for prefix in SQLITE if address.startswith(prefix)), None)
    path = unquote(address.removeprefix(prefix).partition("?")[0]) if prefix else ""
    return Path(path) if path not in ("", ":memory:") else None


def is_writable(database: Path) -> bool:
    """Whether this process may change a database and the folder that it lies in."""
    return all(os.access(path, os.W_OK) for path in (database, database.parent))


def settle(database: Path) -> None:
    """Correct the places of artifacts in the database of a moved or copied project, where there are any to correct.

    Files of a run that lie in the former place alone (an earlier version trained there after the move) are copied.
    The caller holds the lock of the database.

    Raises:
        UserError: there is no room for the copies.
    """
    for _, text in _texts(database, *COLUMNS[0]):
        if _moved(text, database.parent):
            _relocate(database, database.parent, copies=True)
            return


@contextmanager
def snapshot(database: Path) -> Iterator[Path]:
    """Give a temporary copy of a database, in which the places of artifacts are right; nothing beside it is written."""
    with tempfile.TemporaryDirectory(prefix="symphony2vec-") as folder:
        copy = Path(folder) / database.name
        if database.is_file():
            _copy(database, copy)
            _relocate(copy, database.parent.absolute(), copies=False)
        yield copy


def _copy(database: Path, copy: Path) -> None:
    """Copy a database with what its write-ahead log holds."""
    address = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=WAIT_S)) as there, closing(sqlite3.connect(copy)) as to:
            there.backup(to)
    except sqlite3.DatabaseError as fault:
        if "locked" in str(fault):
            raise
        # Without write access sqlite cannot open a database with a log, and a damaged one it never opens.
        copy.unlink(missing_ok=True)
        for suffix in ("", "-wal"):
            part = database.with_name(database.name + suffix)
            if part.is_file():
                shutil.copyfile(part, copy.with_name(copy.name + suffix))


def _relocate(database: Path, mlruns: Path, copies: bool) -> None:
    """Correct all places in a database that belongs into the folder `mlruns`."""
    for table, column in COLUMNS:
        changes = []
        for row, text in _texts(database, table, column):
            moved = _moved(text, mlruns)
            if moved is None:
                continue
            old, new = moved
            if table != "experiments" and old.is_dir() and not new.exists():
                if not copies:
                    continue
                with atomic_folder(new) as filling:
                    shutil.copytree(old, filling, dirs_exist_ok=True)
            changes.append((new.as_uri(), row, text))
        if changes:
            with closing(sqlite3.connect(database, timeout=WAIT_S)) as connection, connection:
                connection.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ? AND {column} = ?", changes)


def _texts(database: Path, table: str, column: str) -> list[tuple[int, str]]:
    """Row numbers and values that may be places of artifacts of a project; none where there is no such table."""
    query = f"SELECT rowid, {column} FROM {table} WHERE {column} LIKE '%{OWN}%'"
    try:
        with closing(sqlite3.connect(database, timeout=WAIT_S)) as connection:
            return list(connection.execute(query))
    except sqlite3.DatabaseError as fault:
        if "locked" in str(fault):
            raise
        return []  # an older schema or a damaged file: MLflow says what is wrong with it


def _moved(text: str, mlruns: Path) -> tuple[Path, Path] | None:
    """Where a stored place was, and where it is in the project of `mlruns`; None where it is right as it stands."""
    path = _local(text)
    head, own, tail = path.rpartition(OWN)
    former = Path(head) / "mlruns"
    if not own or not head or former == mlruns or _local(os.environ.get(ROOT, "")).startswith(f"{head}{OWN}"[:-1]):
        return None
    return (former / "artifacts" / tail, mlruns / "artifacts" / tail) if _was_here(former, mlruns) else None


def _was_here(former: Path, mlruns: Path) -> bool:
    """Whether `mlruns` is that folder, moved or copied.

    It is not where both are the same by another name (a bind mount), nor where artifacts were sent elsewhere from the
    first by `MLFLOW_DEFAULT_ARTIFACT_ROOT`.
    """
    try:
        if former.samefile(mlruns):
            return False
    except OSError:
        return True
    return (mlruns / "artifacts").is_dir() or not (former / "artifacts").is_dir() or is_project(former.parent)


def _local(uri: str) -> str:
    """The path of a file: URI or of a plain path; "" for another URI."""
    if uri.startswith("file:"):
        return unquote(urlsplit(uri).path)
    return uri if uri.startswith("/") else ""
