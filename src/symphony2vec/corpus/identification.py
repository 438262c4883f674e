"""Which work every recording of a folder is: by a table, cue sheets, tags and folder names.

`symphony2vec.corpus.titles` decides what the names of one file mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from symphony2vec.corpus import catalogue, sheets
from symphony2vec.corpus.authority import tidy
from symphony2vec.corpus.composers import tidy_composer
from symphony2vec.corpus.tags import read_tags
from symphony2vec.corpus.titles import (
    IdentifiedRecording,
    Recording,
    UnidentifiedRecording,
    add_track_number,
    identify,
    identify_by_folders,
    identify_by_tags,
)

TITLES = ("path", "composer", "work", "movement")


def identify_all(
    folder: Path, by: str, table: Path | None, paths: list[str], faults: Sequence[UnidentifiedRecording]
) -> tuple[list[Recording], list[str]]:
    """Identify recordings by the table, then by cue sheets, tags and folders.

    Returns:
        The results, one for each track that a cue sheet defines; and hints about cue sheets.
    """
    results: list[Recording] = []
    if table is not None:
        rows = catalogue.read_rows(table, TITLES)
        results += identify_by_table(rows, paths, {fault.path for fault in faults})
    in_table = {(result.path, result.start) for result in results}  # the table may name single tracks of a recording
    paths = [path for path in paths if (path, None) not in in_table]
    cue_sheets = sheets.read(folder, paths)
    results += cue_sheets.faults
    unusable = {fault.path for fault in cue_sheets.faults}
    paths = [path for path in paths if path not in unusable]
    for result in _identify_files(folder, paths, by, cue_sheets.parts):
        if (result.path, result.start) not in in_table:
            results.append(result)
    return results, cue_sheets.hints


def _identify_files(
    folder: Path, paths: list[str], by: str, parts: Mapping[str, list[sheets.Part]]
) -> Iterator[Recording]:
    """Identify every recording, or every track of a recording with a cue sheet."""
    for path in tqdm(paths, desc="reading tags", unit="file", disable=None if by in ("auto", "tags") else True):
        if by == "csv":
            for part in parts.get(path, [sheets.Part({}, None, None)]):
                yield UnidentifiedRecording(path, "not in the table", start=part.start, end=part.end)
        elif path in parts:
            tags = read_tags(folder / path) if by != "folders" else {}
            yield from (_identify_part(path, by, tags, part) for part in parts[path])
        else:
            functions = {"folders": identify_by_folders, "tags": identify_by_tags}
            yield functions.get(by, identify)(path, read_tags(folder / path))


def _identify_part(path: str, by: str, tags: Mapping[str, str], part: sheets.Part) -> Recording:
    """Identify one track of a cue sheet: by the sheet, then by the tags of the file, then by the folders."""
    is_complete_file = part.start is None and part.end is None
    if is_complete_file:  # its own tags are better than those of the sheet
        merged = {**part.tags, **tags}
    else:  # the title of a long file is not that of its tracks
        shared = {name: text for name, text in tags.items() if name not in ("work", "title", "track")}
        merged = {**shared, **part.tags}
    if by == "folders":
        result = identify_by_folders(path)
    else:
        result = identify_by_tags(path, merged) if by == "tags" else identify(path, merged)
    by_folders = isinstance(result, IdentifiedRecording) and result.source == "folders"
    if by_folders and not is_complete_file and part.tags.get("title"):
        result = replace(result, movement=add_track_number(tidy(part.tags["title"]), part.tags))
    return replace(result, start=part.start, end=part.end)


def identify_by_table(rows: Iterable[catalogue.Row], paths: Iterable[str], faulty: Iterable[str]) -> list[Recording]:
    """Identify the recordings that a table contains.

    Args:
        rows: Rows with path, composer, work, movement; perhaps licence, and start and end (s) for the movements of one
            long recording. A path may be encoded as NFC or NFD, unlike on the disk, as spreadsheets do.
        paths: The recordings.
        faulty: Files that cannot be opened; their rows are skipped.

    Returns:
        The identified recordings, followed by the rows that cannot be used.
    """
    paths_by_spelling = {tidy(path): path for path in paths} | {path: path for path in paths}
    faulty = set(faulty)
    identified: dict[tuple[str, float | None], IdentifiedRecording] = {}
    unidentified: list[UnidentifiedRecording] = []
    for row in rows:
        bounds, bounds_fault = catalogue.read_bounds(row)
        path = row.get("path")
        path = paths_by_spelling.get(path) or paths_by_spelling.get(tidy(path)) or path
        if path in faulty:
            continue
        composer = tidy_composer(row.get("composer"))
        work, movement, licence = (tidy(row.get(name)) for name in ("work", "movement", "licence"))
        start, end = bounds.get("start"), bounds.get("end")
        recording = IdentifiedRecording(path, composer, work, movement, "table", licence, start, end)
        missing = [name for name in TITLES if not getattr(recording, name)]
        if missing:
            reason = f"no {' and no '.join(missing)}"
        elif catalogue.leads_outside(path):
            reason = "the path leads outside the folder"
        elif path not in paths_by_spelling:
            reason = "no recording with this path in the folder"
        elif bounds_fault:
            reason = bounds_fault
        elif (path, start) in identified:
            reason = "the path is already in an earlier row"
        else:
            reason = row.extra_cells_fault
        if reason:
            reason = f"row {row.number}: {reason}"
            unidentified.append(UnidentifiedRecording(path, reason, composer, work, movement, start, end))
        else:
            identified[path, start] = recording
    return [*identified.values(), *unidentified]
