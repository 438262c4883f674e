"""The project's SQLite tracking store: its URL, and artifact locations that stay valid when the project is moved.

MLflow writes absolute artifact locations into its database. After the project was moved or copied, they still point to
the original folder. Every command that uses the database therefore corrects the stored locations first if it is
writable, so that MLflow's own tools also find the artifacts. Commands that only read then use a temporary copy of the
database, in which the locations are corrected in any case.
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
ARTIFACT_ROOT_VARIABLE = "MLFLOW_DEFAULT_ARTIFACT_ROOT"  # MLflow's own variable, which only its server reads
# The order matters: the artifacts of a run are copied before those of a model version, which may lie among them.
LOCATION_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
LOCK_TIMEOUT_S = 30.0  # how long to wait for another process that writes to the database


def sqlite_url(database: Path) -> str:
    """Return the URL by which MLflow and Optuna open a SQLite database, whatever characters its path contains.

    SQLAlchemy interprets `?` and `%xx` in a path, so they are quoted. For a plain sqlite:/// URL MLflow would create
    the parent folder from the quoted path; a URL with an explicit driver avoids that.
    """
    path = str(database)
    if "%" in path or "?" in path:
        return SQLITE[1] + path.replace("%", "%25").replace("?", "%3F")
    return SQLITE[0] + path


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for other URLs and for a database in memory."""
    prefix = next((prefix for prefix in SQLITE if url.startswith(prefix)), None)
    path = unquote(url.removeprefix(prefix).partition("?")[0]) if prefix else ""
    return Path(path) if path not in ("", ":memory:") else None


def is_writable(database: Path) -> bool:
    """Return whether this process may write to a database and its folder."""
    return all(os.access(path, os.W_OK) for path in (database, database.parent))


def relocate_artifacts(database: Path) -> None:
    """Correct all artifact locations in the database of a moved or copied project, if an experiment has a wrong one.

    Files of a run that exist only at the old location (earlier releases of symphony2vec still wrote there after the
    move) are copied. The caller holds the lock of the database.

    Raises:
        UserError: the disk has no room for the copies.
    """
    for _, location in _read_locations(database, *LOCATION_COLUMNS[0]):
        if _find_relocation(location, database.parent):
            _relocate(database, database.parent, copy_artifacts=True)
            return


@contextmanager
def snapshot(database: Path) -> Iterator[Path]:
    """Yield a temporary copy of a database with corrected artifact locations; the original is not changed."""
    with tempfile.TemporaryDirectory(prefix="symphony2vec-") as folder:
        copy = Path(folder) / database.name
        if database.is_file():
            _copy(database, copy)
            _relocate(copy, database.parent.absolute(), copy_artifacts=False)
        yield copy


def _copy(database: Path, copy: Path) -> None:
    """Copy a database with its write-ahead log."""
    address = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(address, uri=True, timeout=LOCK_TIMEOUT_S)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        # SQLite cannot open a database with a write-ahead log without write access, nor a damaged one: copy the files.
        copy.unlink(missing_ok=True)
        for suffix in ("", "-wal"):
            part = database.with_name(database.name + suffix)
            if part.is_file():
                shutil.copyfile(part, copy.with_name(copy.name + suffix))


def _relocate(database: Path, mlruns: Path, copy_artifacts: bool) -> None:
    """Correct all artifact locations in a database that belongs in the folder `mlruns`.

    If the files of a run exist at the old location only, they are copied first; without `copy_artifacts` the location
    is left as it is.
    """
    for table, column in LOCATION_COLUMNS:
        changes = []
        for rowid, location in _read_locations(database, table, column):
            relocation = _find_relocation(location, mlruns)
            if relocation is None:
                continue
            old, new = relocation
            if table != "experiments" and old.is_dir() and not new.exists():
                if not copy_artifacts:
                    continue
                with atomic_folder(new) as partial:
                    shutil.copytree(old, partial, dirs_exist_ok=True)
            changes.append((new.as_uri(), rowid, location))
        if changes:
            with closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT_S)) as connection, connection:
                connection.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ? AND {column} = ?", changes)


def _read_locations(database: Path, table: str, column: str) -> list[tuple[int, str]]:
    """Return the rowids and values that may be artifact locations of a project; none if there is no such table."""
    query = f"SELECT rowid, {column} FROM {table} WHERE {column} LIKE '%{ARTIFACTS}%'"
    try:
        with closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT_S)) as connection:
            return list(connection.execute(query))
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        return []  # an older schema or a damaged file: MLflow reports it


def _find_relocation(location: str, mlruns: Path) -> tuple[Path, Path] | None:
    """Return the old and the new path of a stored artifact location; None if it needs no correction."""
    head, separator, tail = _local_path(location).rpartition(ARTIFACTS)
    old = Path(head) / "mlruns"
    is_artifact_root = _local_path(os.environ.get(ARTIFACT_ROOT_VARIABLE, "")).startswith(f"{head}{ARTIFACTS}"[:-1])
    if not separator or not head or old == mlruns or is_artifact_root:
        return None
    return (old / "artifacts" / tail, mlruns / "artifacts" / tail) if _was_moved(old, mlruns) else None


def _was_moved(old: Path, mlruns: Path) -> bool:
    """Return whether `mlruns` is the folder `old`, moved or copied.

    It is not if both are the same folder under another name (a bind mount), nor if `MLFLOW_DEFAULT_ARTIFACT_ROOT` sent
    the artifacts elsewhere from the start.
    """
    try:
        if old.samefile(mlruns):
            return False
    except OSError:
        return True
    return (mlruns / "artifacts").is_dir() or not (old / "artifacts").is_dir() or is_project(old.parent)


def _local_path(uri: str) -> str:
    """Return the path of a file: URI or of a plain path; "" for another URI."""
    if uri.startswith("file:"):
        return unquote(urlsplit(uri).path)
    return uri if uri.startswith("/") else ""
