"""The catalogue of a corpus: one row a movement, checked on reading.

    data/<corpus>/catalogue.csv     composer, work, movement, path, kind, licence, origin[, sha256][, start, end]
                                    [, printed_work, printed_composer]
    data/<corpus>/originals.txt     only for recordings left where they are: the folder their paths start from

`path` is relative, with forward slashes, and stays inside its folder. `kind` is `score` (MusicXML, Humdrum
kern) or `recording` (see `library.SUFFIXES`). Where a sha256 is given, the file must still match it when it is
played. A file that holds several movements has one row for each: `start` and `end` are seconds of a recording, or the
first and last bar of a score, counted from 1 in the order of the file; empty cells mean the beginning and the end.
`composer` and `work` are in normal form, one name each; `printed_work` and `printed_composer` are what the tags,
folders or table of a recording say.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tqdm import tqdm

from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file

FILE = "catalogue.csv"
ORIGINALS = "originals.txt"
KINDS = ("score", "recording")


@dataclass(frozen=True)
class Movement:
    """One row of a catalogue."""

    composer: str
    work: str
    movement: str
    path: str
    kind: str
    licence: str
    origin: str
    sha256: str = ""
    start: float | None = None  # s of a recording, bar of a score
    end: float | None = None
    printed_work: str = ""
    printed_composer: str = ""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one row; `row` counts as a spreadsheet does, the header being row 1."""

    row: int
    path: str
    reason: str

    def __str__(self) -> str:
        """One line for people."""
        return f"row {self.row}: {self.reason}"


@dataclass(frozen=True)
class Row:
    """One row of a CSV file: its number, its cells by column, the count of cells beyond the last column."""

    number: int
    cells: dict[str, str]
    beyond: int

    def get(self, column: str) -> str:
        """The cell of a column without the spaces around it, empty where the row is too short.

        A path is given as it stands: spaces belong to a file's name.
        """
        cell = self.cells.get(column, "")
        return cell if column == "path" and cell.strip() else cell.strip()


COLUMNS = tuple(field.name for field in fields(Movement))
REQUIRED = COLUMNS[:7]
BOUNDS = ("start", "end")
PRINTED = ("printed_work", "printed_composer")


def write(folder: Path, movements: Iterable[Movement], originals: Path | None = None) -> None:
    """Write a catalogue, sorted by composer, work and movement, so that equal corpora give equal bytes.

    `originals` names the folder that the paths start from when that is not `folder` itself.
    """
    rows = sorted(movements, key=lambda one: (one.composer, one.work, one.movement, one.path))
    unused = set() if any(row.start is not None or row.end is not None for row in rows) else set(BOUNDS)
    unused |= set() if any(row.printed_work or row.printed_composer for row in rows) else set(PRINTED)
    columns = [name for name in COLUMNS if name not in unused]
    write_rows(folder / FILE, columns, ({name: getattr(row, name) for name in columns} for row in rows))
    if originals is None:
        (folder / ORIGINALS).unlink(missing_ok=True)
    else:
        with atomic_file(folder / ORIGINALS) as partial:
            partial.write_text(f"{originals.resolve()}\n", encoding="utf-8")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file (UTF-8, Unix line ends) that reads back as it was."""
    rows = list(rows)
    # csv alone leaves a carriage return, which some file names hold, without the quotes that it needs
    bare = any("\r" in str(cell) for row in rows for cell in row.values())
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
        )
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path, required: Sequence[str]) -> list[Row]:
    """Read the rows of a CSV file that are not blank, separated by commas or semicolons.

    Raises:
        UserError: the file cannot be read, is no UTF-8 or no CSV, or lacks one of the columns `required`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise UserError(f"{path} is not UTF-8 text (byte {fault.start}); save it as CSV in UTF-8") from None
    except OSError as fault:
        raise UserError(f"{path} cannot be read: {fault.strerror}") from None
    first = text.partition("\n")[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header, *rows = list(reader) or [[]]
    except csv.Error as fault:
        raise UserError(f"{path}, line {reader.line_num}, is not valid CSV: {fault}") from None
    header = [name.strip() for name in header]
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}; it needs {', '.join(required)}")
    return [
        Row(number, dict(zip(header, cells, strict=False)), sum(map(bool, cells[len(header) :])))
        for number, cells in enumerate(rows, start=2)
        if any(cells)
    ]


def read(folder: Path) -> tuple[list[Movement], list[Fault]]:
    """Read and check a catalogue.

    Returns:
        The rows that can be used, in the file's order, and the faults of those that cannot.

    Raises:
        UserError: the catalogue as a whole cannot be used: it is missing, empty, no UTF-8, or lacks columns.
    """
    numbered, faults = _checked(folder)
    return list(numbered.values()), faults


def audit(folder: Path) -> tuple[list[Movement], list[Fault]]:
    """Read a catalogue as `read` does, and look at every file that it names.

    Returns:
        The rows whose file is there with the checksum of the catalogue, and the faults of all others by row.

    Raises:
        UserError: as `read`, or the folder of the originals is not there.
    """

    numbered, faults = _checked(folder)
    root = root_of(folder)
    if not root.is_dir():
        raise UserError(
            f"the recordings of {folder} lie in {root}, which is not there; connect it or import them again"
        )
    sound: list[Movement] = []
    reasons: dict[tuple[str, str], str] = {}  # a file that holds several movements is read once
    for row, one in tqdm(numbered.items(), desc="checking", unit="file", disable=None, leave=False):
        if (one.path, one.sha256) not in reasons:
            reasons[one.path, one.sha256] = _file_fault(root / one.path, one)
        reason = reasons[one.path, one.sha256]
        if reason:
            faults.append(Fault(row, one.path, reason))
        else:
            sound.append(one)
    return sound, sorted(faults, key=lambda fault: fault.row)


def _checked(folder: Path) -> tuple[dict[int, Movement], list[Fault]]:
    """The rows that can be used, by their number, and the faults of the others."""
    rows = _rows(folder / FILE)
    movements: dict[int, Movement] = {}
    faults: list[Fault] = []
    paths: dict[tuple[str, float | None], int] = {}
    titles: dict[tuple[str, str, str], int] = {}
    for row in rows:
        bounds, reason = read_bounds(row)
        cells: dict[str, Any] = {name: row.get(name) for name in REQUIRED}
        cells |= {name: row.get(name) for name in PRINTED} | {"sha256": row.get("sha256").lower()}
        one = Movement(**cells, start=bounds.get("start"), end=bounds.get("end"))
        title = (one.composer, one.work, one.movement)
        reason = reason or _fault(one)
        if row.beyond:  # the likely cause of any other fault
            reason = f"{row.beyond} more cells than columns; put names with commas in quotes"
        if not reason and (one.path, one.start) in paths:
            reason = f"path '{one.path}' stands in row {paths[one.path, one.start]} already"
        if not reason and title in titles:
            reason = f"composer, work and movement {' / '.join(title)} stand in row {titles[title]} already"
        if reason:
            faults.append(Fault(row.number, one.path, reason))
            continue
        paths[one.path, one.start], titles[title] = row.number, row.number
        movements[row.number] = one
    return movements, faults


def source(folder: Path, movement: Movement) -> Path:
    """Where the file of a movement lies on this machine."""
    return root_of(folder) / movement.path


def root_of(folder: Path) -> Path:
    """The folder that the paths of a catalogue start from."""
    originals = folder / ORIGINALS
    return Path(originals.read_text(encoding="utf-8").removesuffix("\n")) if originals.is_file() else folder


def checksum(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def outside(path: str) -> bool:
    """Whether a relative path could lead out of its folder, read as POSIX or as Windows would."""
    windows = PureWindowsPath(path)
    absolute = PurePosixPath(path).is_absolute() or windows.drive or windows.root
    return bool(absolute or ".." in windows.parts or "\0" in path)


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise UserError(
            f"{path} is missing; `symphony2vec corpus --help` shows how to fill a corpus, "
            "and corpus.name in params.yaml says which one is played"
        )
    rows = read_rows(path, REQUIRED)
    if not rows:
        raise UserError(f"{path} names no movement")
    return rows


def read_bounds(row: Row) -> tuple[dict[str, float | None], str]:
    """The cells `start` and `end` of a row as numbers, and what is wrong with them ("" if nothing)."""
    bounds: dict[str, float | None] = {}
    for name in BOUNDS:
        cell = row.get(name)
        try:
            bounds[name] = float(cell) if cell else None
        except ValueError:
            bounds[name] = math.nan
        if bounds[name] is not None and not 0.0 <= bounds[name] < math.inf:  # type: ignore[operator]
            return {}, f"{name} is '{cell}'; it must be seconds of the recording or a bar of the score, as a number"
    return bounds, ""


def _fault(one: Movement) -> str:
    empty = [name for name in ("composer", "work", "movement", "path") if not getattr(one, name)]
    if empty:
        return f"no {' and no '.join(empty)}"
    if outside(one.path):
        return f"path '{one.path}' leads outside the corpus folder"
    if one.kind not in KINDS:
        return f"kind is '{one.kind}', it must be {' or '.join(KINDS)}"
    if one.start is not None and one.end is not None and one.end < one.start:
        return f"it ends ({one.end:g}) before it starts ({one.start:g})"
    if one.sha256 and (len(one.sha256) != 64 or not set(one.sha256) <= set("0123456789abcdef")):
        return f"sha256 '{one.sha256}' is not 64 hexadecimal digits"
    return ""


def _file_fault(path: Path, one: Movement) -> str:
    try:
        if not path.is_file():
            return f"{path} is missing"
        if one.sha256 and checksum(path) != one.sha256:
            return f"{path} has changed: its sha256 is not the one in the catalogue"
    except OSError as fault:
        return f"{path} cannot be read: {fault.strerror}"
    return ""
