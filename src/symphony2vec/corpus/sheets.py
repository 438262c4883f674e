"""The cue sheets of a folder of recordings: which file each of them cuts, and where. Nothing is written.

A sheet lies beside its recording, or inside it as the tag CUESHEET. A file with one track keeps its whole length: the
sheet then only says what it is called. A sheet that does not fit its file is never guessed at: the file is set aside
with that reason.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import mutagen
import soundfile

from symphony2vec.corpus import cue
from symphony2vec.corpus.titles import Unplaced
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable

SUFFIX = ".cue"
EMBEDDED = (".flac", ".ape", ".wv", ".ogg", ".oga", ".tta")  # whose tags may hold a sheet


@dataclass(frozen=True)
class Part:
    """One track of a recording: its tags, and where it begins and ends (s); None for the recording's own ends."""

    tags: dict[str, str]
    start: float | None
    end: float | None


@dataclass(frozen=True)
class Sheets:
    """The tracks of every recording that a sheet names, recordings whose sheet does not fit, and what to look at."""

    parts: dict[str, list[Part]]
    faults: list[Unplaced]
    hints: list[str]


def read(folder: Path, paths: Sequence[str]) -> Sheets:
    """Read the cue sheets beside and inside the recordings `paths` (relative to `folder`)."""
    beside: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path in paths:
        beside[PurePosixPath(path).parent].append(PurePosixPath(path).name)
    found: dict[str, list[tuple[str, list[Part]]]] = defaultdict(list)
    faults: dict[str, Unplaced] = {}
    hints: list[str] = []
    for place, names in sorted(beside.items()):
        for sheet in _sheets(folder / place):
            _read_sheet(folder, place, names, sheet, found, faults, hints)
    for path in paths:
        if path not in found and path not in faults and PurePosixPath(path).suffix.lower() in EMBEDDED:
            text = _embedded(folder / path)
            if text:
                _read_embedded(folder, path, text, found, faults)
    parts: dict[str, list[Part]] = {}
    for path, readouts in found.items():
        if any(tracks != readouts[0][1] for _, tracks in readouts[1:]):
            cutters = " and ".join(shown for shown, _ in readouts)
            faults[path] = Unplaced(path, f"{cutters} cut it in different ways; keep one of them")
        elif path not in faults:
            parts[path] = readouts[0][1]
    return Sheets(parts, list(faults.values()), hints)


def _sheets(folder: Path) -> list[Path]:
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() == SUFFIX and not path.name.startswith(".") and path.is_file()
        )
    except OSError:  # library.find has said that it cannot be opened
        return []


def _read_sheet(
    folder: Path,
    place: PurePosixPath,
    names: list[str],
    sheet: Path,
    found: dict[str, list[tuple[str, list[Part]]]],
    faults: dict[str, Unplaced],
    hints: list[str],
) -> None:
    """Note the tracks of one sheet, or what is wrong with it."""
    shown = (place / sheet.name).as_posix()
    try:
        raw = sheet.read_bytes() if sheet.stat().st_size <= cue.LARGEST_BYTES else b""
        parsed = cue.parse(cue.decode(raw))
    except OSError as fault:
        hints.append(f"the cue sheet {shown} cannot be read: {fault.strerror}")
        return
    except cue.SheetError as fault:
        stem = PurePosixPath(sheet.stem).stem if sheet.stem in names else sheet.stem  # "x.cue" or "x.flac.cue"
        path = next(((place / one).as_posix() for one in names if PurePosixPath(one).stem == stem), None)
        if path is None:
            hints.append(f"the cue sheet {shown} cannot be used: {fault}")
        else:
            faults[path] = Unplaced(path, f"its cue sheet '{shown}' cannot be used: {fault}; mend or remove it")
        return
    for named in dict.fromkeys(track.file for track in parsed.tracks):
        own = cue.file_of(named, names)
        if own is None and len(parsed.files) == 1:  # sheet and recording were renamed together, the FILE line was not
            own = cue.file_of(sheet.name, names)
        if own is None:
            hints.append(f"the cue sheet {shown} names '{named}', which is not beside it")
        else:
            _place(folder, (place / own).as_posix(), named, parsed, f"its cue sheet '{shown}'", found, faults)


def _read_embedded(
    folder: Path,
    path: str,
    text: str,
    found: dict[str, list[tuple[str, list[Part]]]],
    faults: dict[str, Unplaced],
) -> None:
    """Note the tracks of a sheet that lies inside the recording itself, whatever name it gives that."""
    shown = "the cue sheet in its tag CUESHEET"
    try:
        parsed = cue.parse(text)
        if len(parsed.files) > 1:
            raise cue.SheetError("it names several files")
    except cue.SheetError as fault:
        faults[path] = Unplaced(path, f"{shown} cannot be used: {fault}; mend or remove it")
        return
    _place(folder, path, parsed.files[0], parsed, shown, found, faults)


def _place(
    folder: Path,
    path: str,
    name: str,
    sheet: cue.Sheet,
    shown: str,
    found: dict[str, list[tuple[str, list[Part]]]],
    faults: dict[str, Unplaced],
) -> None:
    tracks = [track for track in sheet.tracks if track.file == name]
    try:
        try:
            ends = cue.bounds(tracks, header_length_s(folder / path))
        except cue.SheetError:  # the header may promise less than the file holds
            ends = cue.bounds(tracks, decoded_length_s(folder / path))
    except cue.SheetError as fault:
        faults[path] = Unplaced(path, f"{shown} does not fit it: {fault}; mend or remove it")
        return
    if len(tracks) == 1 and len(sheet.files) > 1:  # a file a track: the sheet only names them
        ends = [(0.0, None)]
    own = [
        Part(cue.tags(sheet, track), round(start, 4) if start or end is not None else None, end and round(end, 4))
        for track, (start, end) in zip(tracks, ends, strict=True)
    ]
    found[path].append((shown, own))


def header_length_s(file: Path) -> float:
    """The length that the header gives; infinite where it gives none."""

    try:
        return float(soundfile.info(file).duration)
    except (soundfile.LibsndfileError, OSError):
        pass
    try:
        return float(mutagen.File(file).info.length) or math.inf
    except Exception:  # on damaged files mutagen raises nearly anything; the audio stage will judge the sound itself
        return math.inf


def decoded_length_s(file: Path) -> float:
    """The length of the sound itself; that of the header where it cannot be decoded."""

    try:
        with decoding.open_recording(file, decoding.MAX_DURATION_S) as recording:
            return sum(len(block) / rate_hz for rate_hz, block in recording.read_mono_blocks())
    except Unusable:
        return header_length_s(file)


def _embedded(file: Path) -> str:
    """The cue sheet among the tags of a recording, "" without one."""

    try:
        opened = mutagen.File(file)
        values = [str(value) for key in ("cuesheet", "Cuesheet", "CUESHEET") for value in _values(opened.tags, key)]
    except Exception:  # as in header_length_s
        return ""
    return values[0] if values else ""


def _values(tags: object, key: str) -> list[object]:
    value = tags.get(key) if tags is not None and hasattr(tags, "get") else None
    return list(value) if isinstance(value, list) else [value] if value else []
