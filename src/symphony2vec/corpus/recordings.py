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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from symphony2vec.artifacts import whole_file
from symphony2vec.corpus import catalogue, decisions, library
from symphony2vec.corpus.composers import resolve
from symphony2vec.corpus.settling import hints, merged, settle
from symphony2vec.corpus.titles import (
    Placed,
    Unplaced,
    by_folders,
    by_tags,
    by_tags_or_folders,
    composer_name,
    tidy,
)
from symphony2vec.corpus.vocabulary import fold
from symphony2vec.errors import UserError

NOT_DECODED = (".m4p", ".ra", ".rm", ".shn", ".ofr", ".la")
UNPLACED = "unplaced.csv"
COPIES = "audio"
WAYS = ("auto", "folders", "tags", "csv")
TITLES = ("path", "composer", "work", "movement")


@dataclass(frozen=True)
class Survey:
    """What was understood of a folder; `others` counts the files that are no recordings by suffix."""

    folder: Path
    placed: list[Placed]
    unplaced: list[Unplaced]
    others: Counter[str]
    hints: list[str]
    merged: list[str]


@dataclass(frozen=True)
class Filled:
    """What an import wrote, and how it differs from the catalogue that was there before."""

    movements: list[catalogue.Movement]
    unplaced: list[Unplaced]
    hints: list[str]
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
    left = paths
    if table is not None:
        known = {one.path: one.reason for one in unplaced}
        placed, faults = by_table(catalogue.read_rows(table, TITLES), paths, known)
        unplaced += faults
        named = {one.path for one in placed} | {one.path for one in faults}
        left = [path for path in paths if path not in named]
    read = list(_read(folder, left, by))
    placed += [one for one in read if isinstance(one, Placed)]
    unplaced += [one for one in read if isinstance(one, Unplaced)]
    decided = (decided or decisions.Decisions()).updated(decisions.Decisions(dict(merges or {})))
    settled = settle(placed, decided.composers, decided.works)
    advice = _strays(placed, decided.composers) + _undecoded(others) + hints(settled, decided.answered)
    return Survey(folder, settled, sorted(unplaced, key=lambda one: one.path), others, advice, merged(settled))


def _read(folder: Path, paths: list[str], by: str) -> Iterator[Placed | Unplaced]:
    from tqdm import tqdm

    for path in tqdm(paths, desc="reading tags", unit="file", disable=None if by in ("auto", "tags") else True):
        if by == "csv":
            yield Unplaced(path, "not in the table")
        elif by == "folders":
            yield by_folders(path, library.read_tags(folder / path))
        else:
            tags = library.read_tags(folder / path)
            yield by_tags(path, tags) if by == "tags" else by_tags_or_folders(path, tags)


def by_table(
    rows: list[catalogue.Row], paths: list[str], faults: Mapping[str, str]
) -> tuple[list[Placed], list[Unplaced]]:
    """Place the recordings that a table names; `faults` are the files that could not be opened.

    A path may be written with other accents' encoding than the disk has (NFC, NFD), as spreadsheets do.
    """
    known = {tidy(path): path for path in paths} | {path: path for path in paths}
    placed: dict[str, Placed] = {}
    unplaced = []
    for row in rows:
        written = row.get("path")
        path = known.get(written) or known.get(tidy(written)) or written
        work, movement, licence = (tidy(row.get(name)) for name in ("work", "movement", "licence"))
        one = Placed(path, composer_name(row.get("composer")), work, movement, "table", licence)
        absent = [name for name in TITLES if not getattr(one, name)]
        if path in faults:
            continue
        if absent:
            reason = f"no {' and no '.join(absent)}"
        elif catalogue.outside(path):
            reason = "the path leads outside the folder"
        elif path not in known:
            reason = "no recording of that path in the folder"
        elif path in placed:
            reason = "the path stands in an earlier row already"
        elif row.beyond:
            reason = f"{row.beyond} more cells than columns; put names with commas in quotes"
        else:
            placed[path] = one
            continue
        unplaced.append(Unplaced(path, f"row {row.number}: {reason}", one.composer, one.work, one.movement))
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
    unplaced = sorted([*found.unplaced, *faults], key=lambda one: one.path)
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
            origin=f"recording: {one.path}",
            sha256=sums[one.path],
            printed_work=one.printed_work,
            printed_composer=one.printed_composer,
        )
        for one in found.placed
        if one.path in sums
    ]
    if copy and not inside:
        _copy(found.folder, target / COPIES, sums)
    catalogue.write(target, movements, None if copy or inside else found.folder)
    after = {one.origin: one.sha256 for one in movements}
    both = before.keys() & after.keys()
    changed = sum(before[name] != after[name] for name in both)
    return Filled(movements, unplaced, _twins(movements), len(after) - len(both), changed, len(before) - len(both))


def _catalogued(target: Path) -> dict[str, str]:
    """Checksums by origin of the catalogue that an import would replace."""
    if not (target / catalogue.FILE).is_file():
        return {}
    movements, _ = catalogue.read(target)
    if any(one.kind != "recording" for one in movements):
        raise UserError(f"{target} holds a corpus of scores; choose another name with --name")
    return {one.origin: one.sha256 for one in movements}


def _checksums(folder: Path, placed: list[Placed]) -> tuple[dict[str, str], list[Unplaced]]:
    from tqdm import tqdm

    sums: dict[str, str] = {}
    faults = []

    def checksum(one: Placed) -> str | OSError:
        try:
            return catalogue.checksum(folder / one.path)
        except OSError as fault:
            return fault

    bar = tqdm(total=len(placed), desc="checksums", unit="file", disable=None, leave=False)
    with bar, ThreadPoolExecutor(2) as pool:
        for one, found in zip(placed, pool.map(checksum, placed), strict=True):
            bar.update()
            if isinstance(found, str):
                sums[one.path] = found
            else:
                reason = f"cannot be read: {found.strerror}"
                faults.append(Unplaced(one.path, reason, one.composer, one.work, one.movement))
    return sums, faults


def _write_unplaced(path: Path, unplaced: list[Unplaced]) -> None:
    if unplaced:
        catalogue.write_rows(path, (*TITLES, "reason"), (vars(one) for one in unplaced))
    else:
        path.unlink(missing_ok=True)


def _copy(folder: Path, copies: Path, sums: Mapping[str, str]) -> None:
    from tqdm import tqdm

    for path, expected in tqdm(sums.items(), desc="copying", unit="file", disable=None, leave=False):
        target = copies / path
        if target.is_file() and catalogue.checksum(target) == expected:
            continue
        # whole_file's own name is longer than the target's; a name at the disk's limit would not fit
        short = target.with_name(f"{expected[:16]}.whole")
        with whole_file(short) as partial:
            shutil.copyfile(folder / path, partial)
            if catalogue.checksum(partial) != expected:
                raise UserError(f"{folder / path} changed while it was copied; run the import again")
        short.replace(target)


def _twins(movements: list[catalogue.Movement]) -> list[str]:
    """Recordings whose bytes are the same: in two works, they can come into training and test."""
    first: dict[str, catalogue.Movement] = {}
    found = []
    for one in movements:
        known = first.setdefault(one.sha256, one)
        if known is not one:
            found.append(f"'{one.path}' holds the same sound as '{known.path}'; remove one of them")
    return found
