"""The user's own recordings: any folder of recordings becomes a corpus.

    Reads   a folder as people keep it, and the tags inside the files; perhaps a table of titles
    Writes  data/<corpus>/catalogue.csv, originals.txt (the recordings stay where they are) or audio/ (copies),
            unplaced.csv (path, composer, work, movement, reason)

`survey` reads and writes nothing; `fill` computes the checksums and writes. `symphony2vec.corpus.titles` decides what
the names mean.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from symphony2vec.corpus import catalogue, duplicates, library
from symphony2vec.corpus.composers import resolve
from symphony2vec.corpus.decisions import Decisions
from symphony2vec.corpus.identification import TITLES, identify_all
from symphony2vec.corpus.settling import collect_hints, describe_spellings, make_titles_unique, unify_names
from symphony2vec.corpus.titles import (
    IdentifiedRecording,
    UnidentifiedRecording,
)
from symphony2vec.corpus.vocabulary import normalize
from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file

NOT_DECODED = (".m4p", ".ra", ".rm", ".shn", ".ofr", ".la")
UNPLACED = "unplaced.csv"
COPIES = "audio"
WAYS = ("auto", "folders", "tags", "csv")


@dataclass(frozen=True)
class Survey:
    """What is known about the recordings in a folder.

    Attributes:
        folder: The folder.
        recordings: The identified recordings that are used.
        unidentified: The recordings that are not used, with the reason, sorted by path.
        other_files: Counts of other files by suffix.
        hints: What the user should check.
        spellings: Which spellings of composers were merged, as lines of text.
        duplicates: Those of `unidentified` that contain the same sound as another recording.
    """

    folder: Path
    recordings: list[IdentifiedRecording]
    unidentified: list[UnidentifiedRecording]
    other_files: Counter[str]
    hints: list[str]
    spellings: list[str]
    duplicates: list[UnidentifiedRecording]


@dataclass(frozen=True)
class ImportResult:
    """What an import wrote, and how many files are new, changed or removed since the previous import."""

    movements: list[catalogue.Movement]
    unidentified: list[UnidentifiedRecording]
    duplicates: list[UnidentifiedRecording]
    added: int
    changed: int
    removed: int


def survey(
    folder: Path,
    by: str = "auto",
    table: Path | None = None,
    merges: Mapping[str, str] | None = None,
    target: Path | None = None,
    decisions: Decisions | None = None,
    compare_audio: bool = False,
) -> Survey:
    """Find the recordings below a folder and identify their composers, works and movements.

    Args:
        folder: Where the recordings are.
        by: "folders", "tags", "csv", or "auto": the tags if they name composer and work, else the folders.
        table: CSV with path (relative to `folder`), composer, work, movement and perhaps licence. Its rows take
            precedence over tags and folders.
        merges: Replacements for names of composers; they take precedence over `decisions`.
        target: The folder of the corpus, which is not imported if it is below `folder`.
        decisions: The user's decisions about similar names.
        compare_audio: Compare the sounds as well, and drop recordings with the same sound as another one.

    Raises:
        UserError: The folder or the table cannot be used, or there is no recording at all.
    """
    _check_arguments(folder, by, table, target)
    paths, unidentified, other_files = library.find(folder, target)
    if not paths and not unidentified:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in other_files.most_common(5)) or "no file at all"
        raise UserError(f"no recording below {folder} (flac, wav, mp3, ogg, m4a and others); it contains {counts}")
    results, sheet_hints = identify_all(folder, by, table, paths, unidentified)
    recordings = [result for result in results if isinstance(result, IdentifiedRecording)]
    unidentified += [result for result in results if isinstance(result, UnidentifiedRecording)]
    decisions = (decisions or Decisions()).merge(Decisions(dict(merges or {})))
    hints = _report_unused_merges(recordings, decisions.composers) + _report_undecodable(other_files) + sheet_hints
    recordings = unify_names(recordings, decisions.composers, decisions.works)
    hints += collect_hints(recordings, decisions.distinct_keys)
    spellings = describe_spellings(recordings)
    dropped: list[UnidentifiedRecording] = []
    if compare_audio:
        comparison = duplicates.compare(folder, recordings)
        hints += duplicates.describe_containments(comparison.containments)
        recordings, dropped = duplicates.drop_duplicates(recordings, comparison.groups)
        recordings = make_titles_unique(recordings)
    unidentified = _sort_by_path([*unidentified, *dropped])
    return Survey(folder, recordings, unidentified, other_files, hints, spellings, dropped)


def _check_arguments(folder: Path, by: str, table: Path | None, target: Path | None) -> None:
    """Raise a UserError if `survey` cannot use its arguments."""
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {problem}; pass the folder of your recordings")
    if library.printable_path(str(folder.resolve())) != str(folder.resolve()):
        raise UserError(f"the name of the folder {library.printable_path(str(folder))} is not UTF-8; rename it")
    if by == "csv" and table is None:
        raise UserError("--by csv needs a table: --csv FILE with the columns path, composer, work, movement")
    if target is not None and table is not None and table.resolve() == (target / UNPLACED).resolve():
        raise UserError(f"{table} is overwritten by every import; rename it to keep your titles")


def _sort_by_path(recordings: Iterable[UnidentifiedRecording]) -> list[UnidentifiedRecording]:
    return sorted(recordings, key=lambda recording: (recording.path, recording.start or 0.0))


def _report_unused_merges(recordings: Sequence[IdentifiedRecording], merges: Mapping[str, str]) -> list[str]:
    composers = {recording.composer for recording in recordings}
    spellings = {normalize(name) for composer in composers for name in (composer, resolve(composer).name)}
    unused = [name for name in merges if not spellings & {normalize(name), normalize(resolve(name).name)}]
    return [f"there is no composer '{name}' to merge into '{merges[name]}'" for name in unused]


def _report_undecodable(other_files: Counter[str]) -> list[str]:
    counts = [f"{other_files[suffix]} {suffix}" for suffix in NOT_DECODED if other_files[suffix]]
    return [f"{', '.join(counts)} cannot be read; convert them to flac to use them"] if counts else []


def fill(target: Path, survey: Survey, licence: str = "unknown", copy: bool = False) -> ImportResult:
    """Write the catalogue of a corpus with the checksum of every identified recording.

    Recordings that are not used are listed in unplaced.csv; without any, that file is removed.

    Args:
        target: The folder of the corpus.
        survey: The recordings.
        licence: The licence of recordings without their own.
        copy: Copy the recordings to `target`/audio; otherwise they stay where they are.

    Raises:
        UserError: No recording is identified, or `target` contains a corpus of scores.
    """
    before = _read_previous_checksums(target)
    checksums, faults = _compute_checksums(survey.folder, survey.recordings)
    readable = [recording for recording in survey.recordings if recording.path in checksums]
    recordings, equal = duplicates.drop_duplicates(readable, _group_equal_files(readable, checksums))
    recordings = make_titles_unique(recordings)
    unidentified = _sort_by_path([*survey.unidentified, *faults, *equal])
    _write_unplaced(target / UNPLACED, unidentified)
    if not checksums:
        raise UserError(
            f"none of {len(unidentified)} recordings below {survey.folder} could be identified; "
            f"{target / UNPLACED} gives the reasons. Complete a copy of it and pass that with --csv"
        )
    inside = survey.folder.resolve().is_relative_to(target.resolve())
    prefix = PurePosixPath(COPIES if copy else "")
    if inside:
        prefix = PurePosixPath(survey.folder.resolve().relative_to(target.resolve()).as_posix())
    movements = [
        _to_movement(recording, prefix, checksums[recording.path], recording.licence or licence)
        for recording in recordings
    ]
    if copy and not inside:
        _copy(survey.folder, target / COPIES, {recording.path: checksums[recording.path] for recording in recordings})
    catalogue.write(target, movements, None if copy or inside else survey.folder)
    after = {movement.origin: movement.sha256 for movement in movements}
    both = before.keys() & after.keys()
    return ImportResult(
        movements,
        unidentified,
        [*survey.duplicates, *equal],
        added=len(after) - len(both),
        changed=sum(before[origin] != after[origin] for origin in both),
        removed=len(before) - len(both),
    )


def _to_movement(
    recording: IdentifiedRecording, prefix: PurePosixPath, sha256: str, licence: str
) -> catalogue.Movement:
    """Return the row of the catalogue for a recording below the folder `prefix`."""
    return catalogue.Movement(
        recording.composer,
        recording.work,
        recording.movement,
        path=(prefix / recording.path).as_posix(),
        kind="recording",
        licence=licence,
        origin=f"recording: {recording.path}" + ("" if recording.start is None else f" from {recording.start:g} s"),
        sha256=sha256,
        start=recording.start,
        end=recording.end,
        printed_work=recording.printed_work,
        printed_composer=recording.printed_composer,
    )


def _read_previous_checksums(target: Path) -> dict[str, str]:
    """Return the checksums by origin of the catalogue that an import would replace."""
    if not (target / catalogue.FILE).is_file():
        return {}
    movements, _ = catalogue.read(target)
    if any(movement.kind != "recording" for movement in movements):
        raise UserError(f"{target} contains a corpus of scores; choose another name with --name")
    return {movement.origin: movement.sha256 for movement in movements}


def _compute_checksums(
    folder: Path, recordings: Sequence[IdentifiedRecording]
) -> tuple[dict[str, str], list[UnidentifiedRecording]]:
    """Return the checksums by path, and the recordings that cannot be read."""

    def compute(path: str) -> str | OSError:
        try:
            return catalogue.checksum(folder / path)
        except OSError as error:
            return error

    paths = list(dict.fromkeys(recording.path for recording in recordings))
    bar = tqdm(total=len(paths), desc="checksums", unit="file", disable=None, leave=False)
    checksums: dict[str, str] = {}
    reasons: dict[str, str] = {}
    with bar, ThreadPoolExecutor(2) as pool:
        for path, result in zip(paths, pool.map(compute, paths), strict=True):
            bar.update()
            if isinstance(result, str):
                checksums[path] = result
            else:
                reasons[path] = f"cannot be read: {result.strerror}"
    faults = [
        UnidentifiedRecording(
            recording.path, reasons[recording.path], recording.composer, recording.work, recording.movement
        )
        for recording in recordings
        if recording.path in reasons
    ]
    return checksums, faults


def _group_equal_files(
    recordings: Iterable[IdentifiedRecording], checksums: Mapping[str, str]
) -> list[list[IdentifiedRecording]]:
    """Return groups of recordings with the same bytes that begin at the same position."""
    groups: dict[tuple[str, float | None], list[IdentifiedRecording]] = {}
    for recording in recordings:
        groups.setdefault((checksums[recording.path], recording.start), []).append(recording)
    return [group for group in groups.values() if len(group) > 1]


def _write_unplaced(path: Path, recordings: Sequence[UnidentifiedRecording]) -> None:
    if not recordings:
        path.unlink(missing_ok=True)
        return
    has_bounds = any(recording.start is not None or recording.end is not None for recording in recordings)
    columns = (*TITLES, *(catalogue.BOUNDS if has_bounds else ()), "reason")
    catalogue.write_rows(path, columns, ({name: getattr(row, name) for name in columns} for row in recordings))


def _copy(folder: Path, copies: Path, checksums: Mapping[str, str]) -> None:
    for path, checksum in tqdm(checksums.items(), desc="copying", unit="file", disable=None, leave=False):
        target = copies / path
        if target.is_file() and catalogue.checksum(target) == checksum:
            continue
        # The temporary name of atomic_file is longer than the target's, which may be as long as the disk allows.
        short = target.with_name(f"{checksum[:16]}.whole")
        with atomic_file(short) as partial:
            shutil.copyfile(folder / path, partial)
            if catalogue.checksum(partial) != checksum:
                raise UserError(f"{folder / path} changed while it was copied; run the import again")
        short.replace(target)
