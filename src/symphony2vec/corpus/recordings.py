"""The user's own recordings: any folder of recordings becomes a catalogue.

Reads   a folder as people keep it, and the tags inside the files; perhaps a table of titles
Writes  data/<corpus>/catalogue.csv, originals.txt (the recordings stay where they are) or audio/ (copies),
        unplaced.csv (path, composer, work, movement, reason)

`survey` looks and writes nothing; `fill` takes the checksums and writes. What the names mean is decided in
`symphony2vec.corpus.titles`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from symphony2vec.corpus import catalogue, decisions, duplicates, library, sheets
from symphony2vec.corpus.composers import resolve
from symphony2vec.corpus.settling import hints, merged, settle, tell_apart
from symphony2vec.corpus.titles import (
    Placed,
    Unplaced,
    by_folders,
    by_tags,
    by_tags_or_folders,
    composer_name,
    numbered,
    tidy,
)
from symphony2vec.corpus.vocabulary import fold
from symphony2vec.errors import UserError
from symphony2vec.project import atomic_file

NOT_DECODED = (".m4p", ".ra", ".rm", ".shn", ".ofr", ".la")
UNPLACED = "unplaced.csv"
COPIES = "audio"
WAYS = ("auto", "folders", "tags", "csv")
TITLES = ("path", "composer", "work", "movement")


@dataclass(frozen=True)
class Survey:
    """What was understood of a folder; `others` counts the files that are no recordings by suffix.

    `repeated` are those of `unplaced` that are left out because another recording holds the same sound.
    """

    folder: Path
    placed: list[Placed]
    unplaced: list[Unplaced]
    others: Counter[str]
    hints: list[str]
    merged: list[str]
    repeated: list[Unplaced]


@dataclass(frozen=True)
class Filled:
    """What an import wrote, and how it differs from the catalogue that was there before."""

    movements: list[catalogue.Movement]
    unplaced: list[Unplaced]
    repeated: list[Unplaced]
    added: int
    changed: int
    gone: int


def survey(
    folder: Path,
    by: str = "auto",
    table: Path | None = None,
    merges: Mapping[str, str] | None = None,
    target: Path | None = None,
    decided: decisions.Decisions | None = None,
    listen: bool = False,
) -> Survey:
    """Find the recordings below `folder` and their composers, works and movements.

    Args:
        folder: Where the recordings lie.
        by: "folders", "tags", "csv", or "auto": the tags where they name composer and work, else the folders.
        table: CSV with path (relative to `folder`), composer, work, movement and perhaps licence. Its rows go
            before tags and folders.
        merges: Composers' names that stand for another one.
        target: The corpus to be filled; what lies in it is not imported when it is below `folder`.
        decided: What a person decided about look-alike names; `merges` go before it.
        listen: Compare the sounds as well, and leave out what holds the same sound as another recording.

    Raises:
        UserError: the folder or the table cannot be used, or there is no recording at all.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "missing"
        raise UserError(f"{folder} is {found}; name the folder of your recordings")
    if library.shown(str(folder.resolve())) != str(folder.resolve()):
        raise UserError(f"the bytes of the folder's name {library.shown(str(folder))} are no UTF-8; rename it")
    if by == "csv" and table is None:
        raise UserError("--by csv needs the table: --csv FILE with the columns path, composer, work, movement")
    if target is not None and table is not None and table.resolve() == (target / UNPLACED).resolve():
        raise UserError(f"{table} is written anew by every import; rename it, so that your titles are kept")
    paths, unplaced, others = library.find(folder, target)
    if not paths and not unplaced:
        seen = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5)) or "no file at all"
        raise UserError(f"no recording below {folder} (flac, wav, mp3, ogg, m4a and others; found: {seen})")
    placed: list[Placed] = []
    named: set[tuple[str, float | None]] = set()  # the table may name single tracks of a recording
    left = paths
    if table is not None:
        known = {one.path: one.reason for one in unplaced}
        placed, faults = by_table(catalogue.read_rows(table, TITLES), paths, known)
        unplaced += faults
        named = {(row.path, row.start) for row in placed} | {(row.path, row.start) for row in faults}
        left = [path for path in paths if (path, None) not in named]
    cut = sheets.read(folder, left)
    unplaced += cut.faults
    faulty = {one.path for one in cut.faults}
    read = [
        one
        for one in _read(folder, [path for path in left if path not in faulty], by, cut.parts)
        if (one.path, one.start) not in named
    ]
    placed += [one for one in read if isinstance(one, Placed)]
    unplaced += [one for one in read if isinstance(one, Unplaced)]
    decided = (decided or decisions.Decisions()).updated(decisions.Decisions(dict(merges or {})))
    settled = settle(placed, decided.composers, decided.works)
    advice = _strays(placed, decided.composers) + _undecoded(others) + cut.hints + hints(settled, decided.answered)
    combined = merged(settled)
    repeated: list[Unplaced] = []
    if listen:
        sounds = duplicates.compare(folder, settled)
        advice += duplicates.containment_hints(sounds.containments)
        settled, repeated = duplicates.leave_out(settled, sounds.groups)
        settled = tell_apart(settled)
    return Survey(folder, settled, _in_order([*unplaced, *repeated]), others, advice, combined, repeated)


def _in_order(unplaced: list[Unplaced]) -> list[Unplaced]:
    return sorted(unplaced, key=lambda one: (one.path, one.start or 0.0))


def _read(
    folder: Path, paths: list[str], by: str, parts: Mapping[str, list[sheets.Part]]
) -> Iterator[Placed | Unplaced]:
    """Place every recording; one that a cue sheet cuts gives one result for each of its tracks."""

    for path in tqdm(paths, desc="reading tags", unit="file", disable=None if by in ("auto", "tags") else True):
        if by == "csv":
            own = parts.get(path, [sheets.Part({}, None, None)])
            yield from (Unplaced(path, "not in the table", start=part.start, end=part.end) for part in own)
        elif path in parts:
            tags = library.read_tags(folder / path) if by != "folders" else {}
            yield from (_placed_part(path, by, tags, part) for part in parts[path])
        elif by == "folders":
            yield by_folders(path, library.read_tags(folder / path))
        else:
            tags = library.read_tags(folder / path)
            yield by_tags(path, tags) if by == "tags" else by_tags_or_folders(path, tags)


def _placed_part(path: str, by: str, tags: Mapping[str, str], part: sheets.Part) -> Placed | Unplaced:
    """Place one track of a cue sheet: by the sheet, then by the tags of the file, then by the folders."""
    whole = part.start is None and part.end is None
    # The title of a long file is not that of its tracks; where a file is one track, its own tags are the better ones.
    shared = {name: text for name, text in tags.items() if whole or name not in ("work", "title", "track")}
    merged = {**part.tags, **shared} if whole else {**shared, **part.tags}
    placed = {"tags": by_tags, "auto": by_tags_or_folders}.get(by, lambda path, _: by_folders(path))(path, merged)
    if isinstance(placed, Placed) and placed.by == "folders" and not whole and part.tags.get("title"):
        placed = replace(placed, movement=numbered(tidy(part.tags["title"]), part.tags))
    return replace(placed, start=part.start, end=part.end)


def by_table(
    rows: list[catalogue.Row], paths: list[str], faults: Mapping[str, str]
) -> tuple[list[Placed], list[Unplaced]]:
    """Place the recordings that a table names; `faults` are the files that could not be opened.

    A table may have the columns start and end (s) too, for the movements of one long recording.

    A path may be written with other accents' encoding than the disk has (NFC, NFD), as spreadsheets do.
    """
    known = {tidy(path): path for path in paths} | {path: path for path in paths}
    placed: dict[tuple[str, float | None], Placed] = {}
    unplaced = []
    for row in rows:
        bounds, bound_fault = catalogue.read_bounds(row)
        written = row.get("path")
        path = known.get(written) or known.get(tidy(written)) or written
        work, movement, licence = (tidy(row.get(name)) for name in ("work", "movement", "licence"))
        composer = composer_name(row.get("composer"))
        one = Placed(path, composer, work, movement, "table", licence, bounds.get("start"), bounds.get("end"))
        absent = [name for name in TITLES if not getattr(one, name)]
        if path in faults:
            continue
        if absent:
            reason = f"no {' and no '.join(absent)}"
        elif catalogue.outside(path):
            reason = "the path leads outside the folder"
        elif path not in known:
            reason = "no recording of that path in the folder"
        elif bound_fault:
            reason = bound_fault
        elif (path, one.start) in placed:
            reason = "the path stands in an earlier row already"
        elif row.beyond:
            reason = f"{row.beyond} more cells than columns; put names with commas in quotes"
        else:
            placed[path, one.start] = one
            continue
        titled = (one.composer, one.work, one.movement, one.start, one.end)
        unplaced.append(Unplaced(path, f"row {row.number}: {reason}", *titled))
    return list(placed.values()), unplaced


def _strays(placed: list[Placed], merges: Mapping[str, str]) -> list[str]:
    found = {form for one in placed for form in (fold(one.composer), fold(resolve(one.composer).name))}
    absent = [name for name in merges if not found & {fold(name), fold(resolve(name).name)}]
    return [f"no composer '{name}' was found to merge into '{merges[name]}'" for name in absent]


def _undecoded(others: Counter[str]) -> list[str]:
    found = [f"{others[suffix]} {suffix}" for suffix in NOT_DECODED if others[suffix]]
    return [f"{', '.join(found)} cannot be read; convert them to flac to use them"] if found else []


def fill(target: Path, found: Survey, licence: str = "unknown", copy: bool = False) -> Filled:
    """Take the checksum of every placed recording and write the catalogue of the corpus `target`.

    With `copy` the recordings are copied below `target`/audio, else they stay where they are.
    What could not be placed goes to unplaced.csv; without any, that file is removed.

    Raises:
        UserError: nothing could be placed, or `target` holds a corpus of scores.
    """
    before = _catalogued(target)
    sums, faults = _checksums(found.folder, found.placed)
    readable = [one for one in found.placed if one.path in sums]
    placed, equal = duplicates.leave_out(readable, _equal_files(readable, sums))
    placed = tell_apart(placed)
    unplaced = _in_order([*found.unplaced, *faults, *equal])
    _write_unplaced(target / UNPLACED, unplaced)
    if not sums:
        raise UserError(
            f"none of {len(unplaced)} recordings below {found.folder} could be placed; "
            f"{target / UNPLACED} says why. Fill in a copy of it and pass that with --csv"
        )
    root, home = found.folder.resolve(), target.resolve()
    inside = root.is_relative_to(home)
    prefix = root.relative_to(home) if inside else PurePosixPath(COPIES if copy else "")
    movements = [
        catalogue.Movement(
            one.composer,
            one.work,
            one.movement,
            path=(prefix / one.path).as_posix(),
            kind="recording",
            licence=one.licence or licence,
            origin=f"recording: {one.path}" + ("" if one.start is None else f" from {one.start:g} s"),
            sha256=sums[one.path],
            start=one.start,
            end=one.end,
            printed_work=one.printed_work,
            printed_composer=one.printed_composer,
        )
        for one in placed
    ]
    if copy and not inside:
        _copy(found.folder, target / COPIES, {one.path: sums[one.path] for one in placed})
    catalogue.write(target, movements, None if copy or inside else found.folder)
    after = {one.origin: one.sha256 for one in movements}
    both = before.keys() & after.keys()
    changed = sum(before[name] != after[name] for name in both)
    repeated = [*found.repeated, *equal]
    return Filled(movements, unplaced, repeated, len(after) - len(both), changed, len(before) - len(both))


def _catalogued(target: Path) -> dict[str, str]:
    """Checksums by origin of the catalogue that an import would replace."""
    if not (target / catalogue.FILE).is_file():
        return {}
    movements, _ = catalogue.read(target)
    if any(one.kind != "recording" for one in movements):
        raise UserError(f"{target} holds a corpus of scores; choose another name with --name")
    return {one.origin: one.sha256 for one in movements}


def _checksums(folder: Path, placed: list[Placed]) -> tuple[dict[str, str], list[Unplaced]]:
    sums: dict[str, str] = {}
    faults = []

    def checksum(path: str) -> str | OSError:
        try:
            return catalogue.checksum(folder / path)
        except OSError as fault:
            return fault

    tracks: dict[str, list[Placed]] = {}
    for one in placed:
        tracks.setdefault(one.path, []).append(one)
    bar = tqdm(total=len(tracks), desc="checksums", unit="file", disable=None, leave=False)
    with bar, ThreadPoolExecutor(2) as pool:
        for path, found in zip(tracks, pool.map(checksum, tracks), strict=True):
            bar.update()
            if isinstance(found, str):
                sums[path] = found
            else:
                reason = f"cannot be read: {found.strerror}"
                faults += [Unplaced(path, reason, one.composer, one.work, one.movement) for one in tracks[path]]
    return sums, faults


def _equal_files(placed: list[Placed], sums: Mapping[str, str]) -> list[list[Placed]]:
    """Groups of recordings whose bytes are the same, from the same place on."""
    groups: dict[tuple[str, float | None], list[Placed]] = {}
    for one in placed:
        groups.setdefault((sums[one.path], one.start), []).append(one)
    return [group for group in groups.values() if len(group) > 1]


def _write_unplaced(path: Path, unplaced: list[Unplaced]) -> None:
    if unplaced:
        cut = any(one.start is not None or one.end is not None for one in unplaced)
        columns = (*TITLES, *(catalogue.BOUNDS if cut else ()), "reason")
        catalogue.write_rows(path, columns, ({name: getattr(one, name) for name in columns} for one in unplaced))
    else:
        path.unlink(missing_ok=True)


def _copy(folder: Path, copies: Path, sums: Mapping[str, str]) -> None:
    for path, expected in tqdm(sums.items(), desc="copying", unit="file", disable=None, leave=False):
        target = copies / path
        if target.is_file() and catalogue.checksum(target) == expected:
            continue
        # atomic_file's own name is longer than the target's; a name at the disk's limit would not fit
        short = target.with_name(f"{expected[:16]}.whole")
        with atomic_file(short) as partial:
            shutil.copyfile(folder / path, partial)
            if catalogue.checksum(partial) != expected:
                raise UserError(f"{folder / path} changed while it was copied; run the import again")
        short.replace(target)
