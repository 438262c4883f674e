"""Cue sheets: the tracks of one long file, with where they begin and what they are called. No sound is opened here.

A sheet is text in whatever encoding the program that wrote it had. Positions are minutes:seconds:frames of 1/75 s, from
the beginning of the FILE above them. INDEX 01 is where a track begins; the gap before it (INDEX 00) belongs to the
track before, as players have it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath

FRAMES_A_SECOND = 75
LARGEST_BYTES = 1 << 20
_POSITION = re.compile(r"(\d{1,4}):([0-5]?\d):(\d{1,2})")
_WORDS = re.compile(r'\s*"((?:[^"\\]|\\.)*)"?|\s*(\S+)')


class SheetError(ValueError):
    """A cue sheet cannot be used; the message says why."""


@dataclass
class Track:
    """One track: its number, the FILE it lies in, where it begins (s), and its fields by name in lower case."""

    number: int
    file: str
    start_s: float | None = None
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Sheet:
    """A cue sheet: the fields above its first track, its files in order, its tracks in order."""

    fields: dict[str, str]
    files: list[str]
    tracks: list[Track]


def decode(raw: bytes) -> str:
    """Decode a sheet: by its byte order mark, else UTF-8, else UTF-16 without a mark, else Windows' Latin."""
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
    """Parse a cue sheet; commands are read in any case, with quotation marks or without.

    Raises:
        SheetError: it has no FILE or no TRACK, a position that is none, or a track without INDEX 01.
    """
    sheet = Sheet({}, [], [])
    track: Track | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        command, _, rest = line.strip().partition(" ")
        command = command.upper()
        if command == "FILE":
            sheet.files.append(_file_name(rest))
        elif command == "TRACK":
            track = _track(rest, sheet, number)
            if track is not None:
                sheet.tracks.append(track)
        elif command == "INDEX":
            if track is not None:
                _index(track, rest, sheet, number)
        elif command == "REM":
            name, _, value = rest.strip().partition(" ")
            _note(sheet, track, name, value)
        elif command in ("TITLE", "PERFORMER", "SONGWRITER", "COMPOSER", "ARRANGER"):
            _note(sheet, track, command, rest)
    if not sheet.files:
        raise SheetError("it names no FILE")
    if not sheet.tracks:
        raise SheetError("it names no TRACK")
    for one in sheet.tracks:
        if one.start_s is None:
            raise SheetError(f"track {one.number} has no INDEX 01")
    return sheet


def _track(rest: str, sheet: Sheet, line: int) -> Track | None:
    words = rest.split()
    if not words or not words[0].isdigit():
        raise SheetError(f"line {line}: 'TRACK {rest.strip()}' has no number")
    if not sheet.files:
        raise SheetError(f"line {line}: a TRACK stands before the first FILE")
    if len(words) > 1 and words[1].upper() != "AUDIO":
        return None  # data, as on enhanced discs
    return Track(int(words[0]), sheet.files[-1])


def _index(track: Track, rest: str, sheet: Sheet, line: int) -> None:
    words = rest.split()
    position = _POSITION.fullmatch(words[1]) if len(words) > 1 else None
    if position is None or int(position[3]) >= FRAMES_A_SECOND:
        raise SheetError(f"line {line}: 'INDEX {rest.strip()}' is not a number and a position as 03:12:74")
    if words[0].lstrip("0") == "1":
        minutes, seconds, frames = map(int, position.groups())
        track.start_s = 60 * minutes + seconds + frames / FRAMES_A_SECOND
        track.file = sheet.files[-1]  # where the gap lies in the file before, the FILE stands between the indices


def _note(sheet: Sheet, track: Track | None, name: str, value: str) -> None:
    text = _unquoted(value)
    if name and text:
        (sheet.fields if track is None else track.fields)[name.lower()] = text


def _unquoted(text: str) -> str:
    text = text.strip()
    return text.removeprefix('"').removesuffix('"').replace('\\"', '"').strip()


def _file_name(rest: str) -> str:
    """The name in a FILE line, without the type after it and without the folders of another computer."""
    rest = rest.strip()
    if rest.startswith('"'):
        name = rest[1:].partition('"')[0]
    else:
        head, _, kind = rest.rpartition(" ")
        name = head if head and kind.isalnum() and kind.isupper() else rest
    return name.strip()


def file_of(name: str, names: Sequence[str]) -> str | None:
    """Find the file that a FILE line means among the names beside the sheet: as written, in another case, or the one
    with the same stem and another suffix ("CDImage.wav" that has since become "CDImage.flac"). None where it is not
    one.
    """
    wanted = PureWindowsPath(name).name if "\\" in name else PurePosixPath(name).name
    for key in (str, str.casefold, lambda text: PurePosixPath(text).stem.casefold()):
        fitting = [one for one in names if key(one) == key(wanted)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            return None
    return None


def bounds(tracks: Sequence[Track], duration_s: float) -> list[tuple[float, float | None]]:
    """Where the tracks of one file begin and end (s): each ends where the next begins, the last at the file's end.

    Raises:
        SheetError: the tracks are not in order, or one begins after the end of the file.
    """
    starts = [track.start_s or 0.0 for track in tracks]
    for track, before, start in zip(tracks[1:], starts, starts[1:], strict=False):
        if start <= before:
            raise SheetError(f"track {track.number} begins at {start:.2f} s, not after the track before it")
    if starts[-1] >= duration_s:
        raise SheetError(
            f"track {tracks[-1].number} begins at {starts[-1]:.2f} s, but the file lasts {duration_s:.2f} s"
        )
    return list(zip(starts, [*starts[1:], None], strict=True))


def tags(sheet: Sheet, track: Track) -> dict[str, str]:
    """The tags of a track as `titles.by_tags` reads them. The performer is never taken for the composer."""
    composer = next(
        (
            fields[name]
            for fields in (track.fields, sheet.fields)
            for name in ("composer", "songwriter")
            if fields.get(name)
        ),
        "",
    )
    known = {
        "composer": composer,
        "work": track.fields.get("work", sheet.fields.get("work", "")),
        "album": sheet.fields.get("title", ""),
        "title": track.fields.get("title", ""),
        "track": str(track.number),
        "disc": sheet.fields.get("discnumber", ""),
        "performer": track.fields.get("performer", sheet.fields.get("performer", "")),
    }
    return {name: text for name, text in known.items() if text}
