"""The catalogue of a corpus: a CSV file with one row per movement, checked when it is read.

    data/<corpus>/catalogue.csv     composer, work, movement, path, kind, licence, origin[, sha256][, start, end]
                                    [, printed_work, printed_composer]
    data/<corpus>/originals.txt     only for recordings that stay where they are: the folder their paths start from

`path` is relative, with forward slashes, and stays inside its folder. `kind` is `score` (MusicXML, Humdrum kern) or
`recording` (see `library.SUFFIXES`). If a row has a sha256, the file must match it when it is used. A file that holds
several movements has one row for each: `start` and `end` are seconds of a recording, or the first and last bar of a
score, counted from 1 in file order; empty cells mean the beginning and the end. `composer` and `work` are in normal
form; `printed_composer` and `printed_work` are the spellings of the tags, folders or table.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
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
    """What is wrong with one row; `row` counts as a spreadsheet does, so the header is row 1."""

    row: int
    path: str
    reason: str

    def __str__(self) -> str:
        """Return the fault as one line of text."""
        return f"row {self.row}: {self.reason}"


@dataclass(frozen=True)
class Row:
    """One row of a CSV file: its number, its cells by column, and how many cells follow the last column."""

    number: int
    cells: dict[str, str]
    extra_cells: int

    def get(self, column: str) -> str:
        """Return the cell of a column, empty where the row is too short.

        Surrounding spaces are removed, except from a path, where they belong to the file name.
        """
        cell = self.cells.get(column, "")
        return cell if column == "path" and cell.strip() else cell.strip()

    @property
    def extra_cells_fault(self) -> str:
        """What to tell the user about cells after the last column, "" if there are none."""
        if not self.extra_cells:
            return ""
        return f"{self.extra_cells} more cells than columns; put names that contain commas in quotes"


COLUMNS = tuple(field.name for field in fields(Movement))
REQUIRED = COLUMNS[:7]
BOUNDS = ("start", "end")
PRINTED = ("printed_work", "printed_composer")


def write(folder: Path, movements: Iterable[Movement], originals: Path | None = None) -> None:
    """Write a catalogue sorted by composer, work and movement, so that equal corpora give equal bytes.

    Args:
        folder: The folder of the corpus.
        movements: The rows, in any order.
        originals: The folder that the paths start from, if it is not `folder`.
    """
    rows = sorted(movements, key=lambda row: (row.composer, row.work, row.movement, row.path))
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
    """Write a CSV file (UTF-8, Unix line ends) whose cells read back unchanged."""
    rows = list(rows)
    # The csv module does not quote a bare carriage return, which some file names contain.
    carriage_return = any("\r" in str(cell) for row in rows for cell in row.values())
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL if carriage_return else csv.QUOTE_MINIMAL
        )
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path, required: Sequence[str]) -> list[Row]:
    """Read the non-blank rows of a CSV file that is separated by commas or semicolons.

    Raises:
        UserError: The file cannot be read, is not UTF-8 or not CSV, or lacks one of the `required` columns.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    first_line = text.partition("\n")[0]
    separator = ";" if first_line.count(";") > first_line.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header, *rows = list(reader) or [[]]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}, is not valid CSV: {error}") from None
    header = [name.strip() for name in header]
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}; it needs {', '.join(required)}")
    return [
        Row(number, dict(zip(header, cells, strict=False)), sum(map(bool, cells[len(header) :])))
        for number, cells in enumerate(rows, start=2)
        if any(cells)
    ]


def read_package_table(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file that is installed with this package, by column.

    Examples:
        >>> read_package_table("starter.csv")[0]["composer"]
        'Bach'
    """
    text = resources.files("symphony2vec.corpus").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def read_package_scores(name: str, origin: str, licence: str = "") -> list[Movement]:
    """Return the scores that a CSV file of this package lists.

    Args:
        name: Of the file.
        origin: Where the scores come from; the path of each is appended.
        licence: Of all scores, if the file has no column `licence`.
    """
    return [
        Movement(
            composer=row["composer"],
            work=row["work"],
            movement=row["movement"],
            path=row["path"],
            kind="score",
            licence=row.get("licence", licence),
            origin=f"{origin}{row['path']}",
            sha256=row["sha256"],
            start=float(row["start"]) if row.get("start") else None,
            end=float(row["end"]) if row.get("end") else None,
        )
        for row in read_package_table(name)
    ]


def read(folder: Path) -> tuple[list[Movement], list[Fault]]:
    """Read and check a catalogue.

    Returns:
        The usable rows in file order, and the faults of the others.

    Raises:
        UserError: The whole catalogue is unusable: it is missing, empty, not UTF-8, or lacks columns.
    """
    movements, faults = _check_rows(folder)
    return list(movements.values()), faults


def audit(folder: Path) -> tuple[list[Movement], list[Fault]]:
    """Read a catalogue as `read` does, and check that every file exists and has not changed.

    Returns:
        The rows whose file has the checksum of the catalogue, and the faults of all others by row.

    Raises:
        UserError: As in `read`, or the folder of the originals does not exist.
    """
    movements, faults = _check_rows(folder)
    root = _read_root(folder)
    if not root.is_dir():
        raise UserError(
            f"the recordings of {folder} are in {root}, which does not exist; connect the disk or import them again"
        )
    intact: list[Movement] = []
    reasons: dict[tuple[str, str], str] = {}  # a file that holds several movements is read once
    for row, movement in tqdm(movements.items(), desc="checking", unit="file", disable=None, leave=False):
        file = (movement.path, movement.sha256)
        if file not in reasons:
            reasons[file] = _find_file_fault(root / movement.path, movement.sha256)
        if reasons[file]:
            faults.append(Fault(row, movement.path, reasons[file]))
        else:
            intact.append(movement)
    return intact, sorted(faults, key=lambda fault: fault.row)


def _check_rows(folder: Path) -> tuple[dict[int, Movement], list[Fault]]:
    """Return the usable rows by row number, and the faults of the others."""
    movements: dict[int, Movement] = {}
    faults: list[Fault] = []
    paths: dict[tuple[str, float | None], int] = {}
    titles: dict[tuple[str, str, str], int] = {}
    for row in _read_catalogue(folder / FILE):
        bounds, reason = read_bounds(row)
        cells: dict[str, Any] = {name: row.get(name) for name in (*REQUIRED, *PRINTED)}
        movement = Movement(**cells, sha256=row.get("sha256").lower(), start=bounds.get("start"), end=bounds.get("end"))
        place = (movement.path, movement.start)
        title = (movement.composer, movement.work, movement.movement)
        # Extra cells come first: they are the likely cause of any other fault.
        reason = row.extra_cells_fault or reason or _find_fault(movement)
        if not reason and place in paths:
            reason = f"path '{movement.path}' is already in row {paths[place]}"
        if not reason and title in titles:
            reason = f"composer, work and movement {' / '.join(title)} are already in row {titles[title]}"
        if reason:
            faults.append(Fault(row.number, movement.path, reason))
        else:
            paths[place] = titles[title] = row.number
            movements[row.number] = movement
    return movements, faults


def source(folder: Path, movement: Movement) -> Path:
    """Return where the file of a movement is on this machine."""
    return _read_root(folder) / movement.path


def _read_root(folder: Path) -> Path:
    """Return the folder that the paths of a catalogue start from."""
    originals = folder / ORIGINALS
    return Path(originals.read_text(encoding="utf-8").removesuffix("\n")) if originals.is_file() else folder


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def leads_outside(path: str) -> bool:
    r"""Return whether a relative path could leave its folder, read as a POSIX or a Windows path.

    Examples:
        >>> leads_outside("Bach/../../x.flac"), leads_outside("C:\\x.flac"), leads_outside("Bach/x.flac")
        (True, True, False)
    """
    windows = PureWindowsPath(path)
    absolute = PurePosixPath(path).is_absolute() or windows.drive or windows.root
    return bool(absolute or ".." in windows.parts or "\0" in path)


def _read_catalogue(path: Path) -> list[Row]:
    if not path.is_file():
        raise UserError(
            f"{path} is missing; `symphony2vec corpus --help` shows how to fill a corpus, "
            "and corpus.name in params.yaml selects the corpus"
        )
    rows = read_rows(path, REQUIRED)
    if not rows:
        raise UserError(f"{path} contains no movement")
    return rows


def read_bounds(row: Row) -> tuple[dict[str, float | None], str]:
    """Return the cells `start` and `end` of a row as numbers, and what is wrong with them ("" if nothing)."""
    bounds: dict[str, float | None] = {}
    for name in BOUNDS:
        cell = row.get(name)
        try:
            bound = float(cell) if cell else None
        except ValueError:
            bound = math.nan
        if bound is not None and not 0.0 <= bound < math.inf:
            return {}, f"{name} is '{cell}'; expected seconds of the recording or a bar of the score, as a number"
        bounds[name] = bound
    return bounds, ""


def _find_fault(movement: Movement) -> str:
    """Return what is wrong with the cells of one row, "" if nothing."""
    empty = [name for name in ("composer", "work", "movement", "path") if not getattr(movement, name)]
    if empty:
        return f"no {' and no '.join(empty)}"
    if leads_outside(movement.path):
        return f"path '{movement.path}' leads outside the corpus folder"
    if movement.kind not in KINDS:
        return f"kind is '{movement.kind}', expected {' or '.join(KINDS)}"
    if movement.start is not None and movement.end is not None and movement.end < movement.start:
        return f"it ends ({movement.end:g}) before it starts ({movement.start:g})"
    sha256 = movement.sha256
    if sha256 and (len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef")):
        return f"sha256 '{sha256}' is not 64 hexadecimal digits"
    return ""


def _find_file_fault(path: Path, sha256: str) -> str:
    """Return what is wrong with a file whose checksum should be `sha256` (any if empty), "" if nothing."""
    try:
        if not path.is_file():
            return f"{path} is missing"
        if sha256 and checksum(path) != sha256:
            return f"{path} has changed: its sha256 differs from the catalogue"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return ""
