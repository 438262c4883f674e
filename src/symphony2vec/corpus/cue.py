"""Cue sheets: the tracks of one long file, with their positions and titles. No audio is opened here.

A sheet is text in the encoding of the program that wrote it. Positions are minutes:seconds:frames of 1/75 s from the
beginning of the FILE above them. INDEX 01 is where a track begins; the gap before it (INDEX 00) belongs to the previous
track, as in players.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath

FRAMES_PER_SECOND = 75
LARGEST_BYTES = 1 << 20
_POSITION = re.compile(r"(\d{1,4}):([0-5]?\d):(\d{1,2})")


class SheetError(ValueError):
    """A cue sheet cannot be used; the message says why."""


@dataclass
class Track:
    """One track: its number, its FILE, where it begins (s), and its fields by name in lower case."""

    number: int
    file: str
    start_s: float | None = None
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Sheet:
    """A cue sheet: the fields above its first track, its files and its tracks in order."""

    fields: dict[str, str]
    files: list[str]
    tracks: list[Track]


def decode(raw: bytes) -> str:
    """Decode a sheet: by its byte order mark, else as UTF-8, UTF-16 without a mark, or Windows-1252."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    if b"\0" in raw[:200]:
        return raw.decode("utf-16-le" if raw[1:2] == b"\0" else "utf-16-be", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def parse(text: str) -> Sheet:
    """Parse a cue sheet; commands may be in lower case, and values without quotation marks.

    Raises:
        SheetError: The sheet has no FILE or no TRACK, an invalid position, or a track without INDEX 01.
    """
    sheet = Sheet({}, [], [])
    track: Track | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        command, _, rest = line.strip().partition(" ")
        command = command.upper()
        if command == "FILE":
            sheet.files.append(_parse_file_name(rest))
        elif command == "TRACK":
            track = _parse_track(rest, sheet, number)
            if track is not None:
                sheet.tracks.append(track)
        elif command == "INDEX":
            if track is not None:
                _parse_index(track, rest, sheet, number)
        elif command == "REM":
            name, _, value = rest.strip().partition(" ")
            _set_field(sheet, track, name, value)
        elif command in ("TITLE", "PERFORMER", "SONGWRITER", "COMPOSER", "ARRANGER"):
            _set_field(sheet, track, command, rest)
    if not sheet.files:
        raise SheetError("it has no FILE")
    if not sheet.tracks:
        raise SheetError("it has no TRACK")
    for track in sheet.tracks:
        if track.start_s is None:
            raise SheetError(f"track {track.number} has no INDEX 01")
    return sheet


def _parse_track(rest: str, sheet: Sheet, line: int) -> Track | None:
    """Return the track of a TRACK line; None for data, as on enhanced discs."""
    words = rest.split()
    if not words or not words[0].isdigit():
        raise SheetError(f"line {line}: 'TRACK {rest.strip()}' has no number")
    if not sheet.files:
        raise SheetError(f"line {line}: a TRACK precedes the first FILE")
    if len(words) > 1 and words[1].upper() != "AUDIO":
        return None
    return Track(int(words[0]), sheet.files[-1])


def _parse_index(track: Track, rest: str, sheet: Sheet, line: int) -> None:
    words = rest.split()
    position = _POSITION.fullmatch(words[1]) if len(words) > 1 else None
    if position is None or int(position[3]) >= FRAMES_PER_SECOND:
        raise SheetError(f"line {line}: 'INDEX {rest.strip()}' is not a number and a position such as 03:12:74")
    if words[0].lstrip("0") == "1":
        minutes, seconds, frames = map(int, position.groups())
        track.start_s = 60 * minutes + seconds + frames / FRAMES_PER_SECOND
        track.file = sheet.files[-1]  # if the gap is in the previous file, the FILE line is between the indices


def _set_field(sheet: Sheet, track: Track | None, name: str, value: str) -> None:
    text = value.strip().removeprefix('"').removesuffix('"').replace('\\"', '"').strip()
    if name and text:
        (sheet.fields if track is None else track.fields)[name.lower()] = text


def _parse_file_name(rest: str) -> str:
    """Return the name in a FILE line without the type after it."""
    rest = rest.strip()
    if rest.startswith('"'):
        name = rest[1:].partition('"')[0]
    else:
        head, _, kind = rest.rpartition(" ")
        name = head if head and kind.isalnum() and kind.isupper() else rest
    return name.strip()


def find_file(name: str, names: Sequence[str]) -> str | None:
    """Return the file beside a sheet that a FILE line means, None if there is not exactly one.

    Folders of the line are ignored. The name may differ in case, or in its suffix: "CDImage.wav" may since have become
    "CDImage.flac".

    Examples:
        >>> find_file("CDImage.wav", ["CDImage.flac", "other.flac"])
        'CDImage.flac'
    """
    name = PureWindowsPath(name).name if "\\" in name else PurePosixPath(name).name
    for key in (str, str.casefold, lambda text: PurePosixPath(text).stem.casefold()):
        candidates = [candidate for candidate in names if key(candidate) == key(name)]
        if candidates:
            return candidates[0] if len(candidates) == 1 else None
    return None


def compute_bounds(tracks: Sequence[Track], duration_s: float) -> list[tuple[float, float | None]]:
    """Return start and end (s) of the tracks of one file; the last track ends with the file (None).

    Raises:
        SheetError: The tracks are not in order, or one begins after the end of the file.
    """
    starts = [track.start_s or 0.0 for track in tracks]
    for track, previous, start in zip(tracks[1:], starts, starts[1:], strict=False):
        if start <= previous:
            raise SheetError(f"track {track.number} begins at {start:.2f} s, not after the previous track")
    if starts[-1] >= duration_s:
        raise SheetError(
            f"track {tracks[-1].number} begins at {starts[-1]:.2f} s, but the file lasts {duration_s:.2f} s"
        )
    return list(zip(starts, [*starts[1:], None], strict=True))


def track_tags(sheet: Sheet, track: Track) -> dict[str, str]:
    """Return the tags of a track as `titles.identify_by_tags` reads them; the performer is never the composer."""
    fields = {**sheet.fields, **track.fields}
    composers = [
        group[name] for group in (track.fields, sheet.fields) for name in ("composer", "songwriter") if group.get(name)
    ]
    tags = {
        "composer": composers[0] if composers else "",
        "work": fields.get("work", ""),
        "album": sheet.fields.get("title", ""),
        "title": track.fields.get("title", ""),
        "track": str(track.number),
        "disc": sheet.fields.get("discnumber", ""),
        "performer": fields.get("performer", ""),
    }
    return {name: text for name, text in tags.items() if text}
