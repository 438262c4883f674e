"""The cue sheets of a folder of recordings: which file each of them divides, and where. Nothing is written.

A sheet is beside its recording, or inside it as the tag CUESHEET. A file with one track keeps its whole length: the
sheet only names it. If a sheet does not fit its file, the file is not used, and the reason is reported.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import mutagen
import soundfile

from symphony2vec.corpus import cue
from symphony2vec.corpus.titles import UnidentifiedRecording
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable

SUFFIX = ".cue"
EMBEDDED = (".flac", ".ape", ".wv", ".ogg", ".oga", ".tta")  # files whose tags may contain a sheet


@dataclass(frozen=True)
class Part:
    """One track of a recording: its tags, start and end (s); None for the recording's own start or end."""

    tags: dict[str, str]
    start: float | None
    end: float | None


@dataclass(frozen=True)
class Sheets:
    """The tracks of each recording with a sheet, recordings whose sheet does not fit, and hints for the user."""

    parts: dict[str, list[Part]]
    faults: list[UnidentifiedRecording]
    hints: list[str]


@dataclass
class _Results:
    """What was read so far: by recording, the tracks of each of its sheets with a description of the sheet."""

    tracks: dict[str, list[tuple[str, list[Part]]]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, UnidentifiedRecording] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)


def read(folder: Path, paths: Sequence[str]) -> Sheets:
    """Read the cue sheets beside and inside the recordings `paths` (relative to `folder`)."""
    names_by_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path in paths:
        names_by_folder[PurePosixPath(path).parent].append(PurePosixPath(path).name)
    results = _Results()
    for place, names in sorted(names_by_folder.items()):
        for sheet in _find_sheets(folder / place):
            _read_sheet(folder, place, names, sheet, results)
    for path in paths:
        if path in results.tracks or path in results.faults or PurePosixPath(path).suffix.lower() not in EMBEDDED:
            continue
        text = _read_embedded_text(folder / path)
        if text:
            _read_embedded_sheet(folder, path, text, results)
    parts: dict[str, list[Part]] = {}
    for path, alternatives in results.tracks.items():
        if any(tracks != alternatives[0][1] for _, tracks in alternatives[1:]):
            names_of_sheets = " and ".join(name for name, _ in alternatives)
            results.faults[path] = UnidentifiedRecording(
                path, f"{names_of_sheets} divide it in different ways; keep one of them"
            )
        elif path not in results.faults:
            parts[path] = alternatives[0][1]
    return Sheets(parts, list(results.faults.values()), results.hints)


def _find_sheets(folder: Path) -> list[Path]:
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() == SUFFIX and path.is_file()]
    except OSError:  # library.find reports a folder that cannot be opened
        return []
    return sorted(path for path in files if not path.name.startswith("."))


def _read_sheet(folder: Path, place: PurePosixPath, names: list[str], file: Path, results: _Results) -> None:
    """Add the tracks of a sheet in the folder `place` with the recordings `names`, or what is wrong with it."""
    sheet_path = (place / file.name).as_posix()
    try:
        raw = file.read_bytes() if file.stat().st_size <= cue.LARGEST_BYTES else b""
        sheet = cue.parse(cue.decode(raw))
    except OSError as error:
        results.hints.append(f"the cue sheet {sheet_path} cannot be read: {error.strerror}")
        return
    except cue.SheetError as error:
        stem = PurePosixPath(file.stem).stem if file.stem in names else file.stem  # "x.cue" or "x.flac.cue"
        path = next(((place / name).as_posix() for name in names if PurePosixPath(name).stem == stem), None)
        if path is None:
            results.hints.append(f"the cue sheet {sheet_path} cannot be used: {error}")
        else:
            reason = f"its cue sheet '{sheet_path}' cannot be used: {error}; fix or remove it"
            results.faults[path] = UnidentifiedRecording(path, reason)
        return
    for file_line in dict.fromkeys(track.file for track in sheet.tracks):
        name = cue.find_file(file_line, names)
        if name is None and len(sheet.files) == 1:  # sheet and recording were renamed together, the FILE line was not
            name = cue.find_file(file.name, names)
        if name is None:
            results.hints.append(f"the cue sheet {sheet_path} is for '{file_line}', which is not beside it")
        else:
            _add_tracks(folder, (place / name).as_posix(), file_line, sheet, f"its cue sheet '{sheet_path}'", results)


def _read_embedded_sheet(folder: Path, path: str, text: str, results: _Results) -> None:
    """Add the tracks of a sheet inside a recording, whatever file name it gives, or what is wrong with it."""
    description = "the cue sheet in its tag CUESHEET"
    try:
        sheet = cue.parse(text)
        if len(sheet.files) > 1:
            raise cue.SheetError("it has several FILE lines")
    except cue.SheetError as error:
        results.faults[path] = UnidentifiedRecording(path, f"{description} cannot be used: {error}; fix or remove it")
        return
    _add_tracks(folder, path, sheet.files[0], sheet, description, results)


def _add_tracks(folder: Path, path: str, file_line: str, sheet: cue.Sheet, description: str, results: _Results) -> None:
    """Add the tracks of the recording `path`, which the sheet calls `file_line`."""
    tracks = [track for track in sheet.tracks if track.file == file_line]
    try:
        try:
            bounds = cue.compute_bounds(tracks, header_length_s(folder / path))
        except cue.SheetError:  # the header may state less than the file contains
            bounds = cue.compute_bounds(tracks, decoded_length_s(folder / path))
    except cue.SheetError as error:
        results.faults[path] = UnidentifiedRecording(path, f"{description} does not fit it: {error}; fix or remove it")
        return
    if len(tracks) == 1 and len(sheet.files) > 1:  # one file per track: the sheet only names them
        bounds = [(0.0, None)]
    parts = [
        Part(cue.track_tags(sheet, track), round(start, 4) if start or end is not None else None, end and round(end, 4))
        for track, (start, end) in zip(tracks, bounds, strict=True)
    ]
    results.tracks[path].append((description, parts))


def header_length_s(file: Path) -> float:
    """Return the duration (s) that the header states, infinity if it states none."""
    try:
        return float(soundfile.info(file).duration)
    except (soundfile.LibsndfileError, OSError):
        pass
    try:
        return float(mutagen.File(file).info.length) or math.inf
    except Exception:  # mutagen raises nearly anything on damaged files; the audio stage will judge the sound itself
        return math.inf


def decoded_length_s(file: Path) -> float:
    """Return the duration (s) of the decoded sound, or of the header if it cannot be decoded."""
    try:
        with decoding.open_recording(file, decoding.MAX_DURATION_S) as recording:
            return sum(len(block) / rate_hz for rate_hz, block in recording.read_mono_blocks())
    except Unusable:
        return header_length_s(file)


def _read_embedded_text(file: Path) -> str:
    """Return the cue sheet in the tags of a recording, "" without one."""
    try:
        tags = mutagen.File(file).tags
        values = [tags.get(key) for key in ("cuesheet", "Cuesheet", "CUESHEET")] if hasattr(tags, "get") else []
    except Exception:  # as in header_length_s
        return ""
    texts = (value[0] if isinstance(value, list) else value for value in values if value)
    return next(map(str, texts), "")
