"""Where the runs of a project are on this disk: the URL of its database, and artifacts that follow a moved project.

MLflow writes the absolute place of every artifact into its database. A project that was moved or copied would read
from, and write into, the folder that it came from. So every command looks for artifacts beside the database: a command
that writes corrects the stored places first, which MLflow's own programs then see as well; a command that only reads
uses a corrected copy of the database.
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
ARTIFACTS = "/mlruns/artifacts/"
ROOT = "MLFLOW_DEFAULT_ARTIFACT_ROOT"  # MLflow's own variable, which only its server reads
# Runs before model versions, whose places are inside those of runs.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
WAIT_S = 30.0  # for another process that writes to the database


def url(database: Path) -> str:
    """Return the URL by which MLflow and Optuna open a sqlite database, whatever characters its path contains.

    SQLAlchemy interprets `?` and `%xx` in a path, so they are quoted; MLflow creates the parent folder of a plain
    sqlite:/// URL before it is unquoted, which naming the driver prevents.
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
    """Return whether this process may write to a database and its folder."""
    return all(os.access(path, os.W_OK) for path in (database, database.parent))


def relocate_artifacts(database: Path) -> None:
    """Correct the places of artifacts in the database of a moved or copied project, if any are wrong.

    Files of a run that exist in the former place only (an earlier version trained there after the move) are copied.
    The caller holds the lock of the database.

    Raises:
        UserError: the disk has no room for the copies.
    """
    for _, text in _stored_places(database, *COLUMNS[0]):
        if _relocated(text, database.parent):
            _relocate(database, database.parent, copies=True)
            return


@contextmanager
def snapshot(database: Path) -> Iterator[Path]:
    """Give a temporary copy of a database with corrected places of artifacts; nothing else is written."""
    with tempfile.TemporaryDirectory(prefix="symphony2vec-") as folder:
        copy = Path(folder) / database.name
        if database.is_file():
            _copy(database, copy)
            _relocate(copy, database.parent.absolute(), copies=False)
        yield copy


def _copy(database: Path, copy: Path) -> None:
    """Copy a database with its write-ahead log."""
    address = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(address, uri=True, timeout=WAIT_S)) as source,
            closing(sqlite3.connect(copy)) as to,
        ):
            source.backup(to)
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
    """Correct all places in a database that belongs in the folder `mlruns`."""
    for table, column in COLUMNS:
        changes = []
        for row, text in _stored_places(database, table, column):
            moved = _relocated(text, mlruns)
            if moved is None:
                continue
            old, new = moved
            if table != "experiments" and old.is_dir() and not new.exists():
                if not copies:
                    continue
                with atomic_folder(new) as partial:
                    shutil.copytree(old, partial, dirs_exist_ok=True)
            changes.append((new.as_uri(), row, text))
        if changes:
            with closing(sqlite3.connect(database, timeout=WAIT_S)) as connection, connection:
                connection.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ? AND {column} = ?", changes)


def _stored_places(database: Path, table: str, column: str) -> list[tuple[int, str]]:
    """Row numbers and values that may be places of artifacts of a project; none if there is no such table."""
    query = f"SELECT rowid, {column} FROM {table} WHERE {column} LIKE '%{ARTIFACTS}%'"
    try:
        with closing(sqlite3.connect(database, timeout=WAIT_S)) as connection:
            return list(connection.execute(query))
    except sqlite3.DatabaseError as fault:
        if "locked" in str(fault):
            raise
        return []  # an older schema or a damaged file: MLflow reports it


def _relocated(text: str, mlruns: Path) -> tuple[Path, Path] | None:
    """A stored place and where it is in the project of `mlruns` now; None if it is right as it is."""
    path = _local(text)
    head, separator, tail = path.rpartition(ARTIFACTS)
    former = Path(head) / "mlruns"
    is_elsewhere = _local(os.environ.get(ROOT, "")).startswith(f"{head}{ARTIFACTS}"[:-1])
    if not separator or not head or former == mlruns or is_elsewhere:
        return None
    return (former / "artifacts" / tail, mlruns / "artifacts" / tail) if _is_former_place(former, mlruns) else None


def _is_former_place(former: Path, mlruns: Path) -> bool:
    """Whether `mlruns` is that folder, moved or copied.

    It is not if both are the same folder under another name (a bind mount), nor if `MLFLOW_DEFAULT_ARTIFACT_ROOT` sent
    the artifacts elsewhere from the start.
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
