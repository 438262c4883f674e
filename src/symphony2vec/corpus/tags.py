"""The tags of a recording under one set of names, whatever the container and the program that wrote them.

Vorbis comments (flac, ogg, opus), ID3 (mp3, wav, aiff), MP4 atoms (m4a), APEv2 (ape, wv, mpc), ASF (wma) and the INFO
chunk of RIFF (wav); keys in any case. What Picard, iTunes, foobar2000, MusicBee, JRiver and dBpoweramp call one thing
differently is listed in `KEYS`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mutagen

# Our names, in the order in which their keys are looked for; keys are compared without case, spaces, "_" and "-".
KEYS = {
    "composer": "COMPOSER TCOM ©WRT WM/COMPOSER IMUS ICMP COMPOSERNAME",
    "work": "WORK TXXX:WORK ©WRK WORKNAME TXXX:WORKNAME WM/WORK WORKTITLE TXXX:WORKTITLE MUSICBRAINZWORK COMPOSITION "
    "TXXX:COMPOSITION",
    "grouping": "GROUPING TIT1 GRP1 ©GRP CONTENTGROUP WM/CONTENTGROUPDESCRIPTION TXXX:GROUPING TXXX:CONTENTGROUP",
    "album": "ALBUM TALB ©ALB WM/ALBUMTITLE IPRD",
    "title": "TITLE TIT2 ©NAM INAM WM/TITLE",
    "movement": "MOVEMENTNAME MOVEMENTTITLE MVNM ©MVN TXXX:MOVEMENTNAME TXXX:MOVEMENTTITLE WM/MOVEMENTNAME",
    "movement_number": "MOVEMENTNUMBER MVIN ©MVI TXXX:MOVEMENTNUMBER MOVEMENT TXXX:MOVEMENT WM/MOVEMENT",
    "track": "TRACKNUMBER TRCK TRKN TRACK WM/TRACKNUMBER ITRK IPRT",
    "disc": "DISCNUMBER TPOS DISK DISC WM/PARTOFSET",
    "artist": "ARTIST TPE1 ©ART IART AUTHOR WM/AUTHOR",
    "albumartist": "ALBUMARTIST TPE2 AART WM/ALBUMARTIST ENSEMBLE ORCHESTRA TXXX:ORCHESTRA TXXX:ENSEMBLE "
    "PERFORMER TXXX:PERFORMER",
    "conductor": "CONDUCTOR TPE3 ©CON WM/CONDUCTOR",
}
_ITUNES = "----:com.apple.itunes:"


def _folded(key: str) -> str:
    return re.sub(r"[\s_-]", "", key.casefold())


_NAMES = {_folded(key): (name, place) for name, keys in KEYS.items() for place, key in enumerate(keys.split())}


def read(file: Path) -> dict[str, str]:
    """The tags of a recording that bear on its title; none where they cannot be read.

    Returns:
        Texts by the names of `KEYS`; several values of one tag are joined by " / ". A number of a movement that is no
        number is its name.
    """

    try:
        opened = mutagen.File(file)
        pairs = list(_pairs(opened.tags)) if opened is not None and opened.tags is not None else []
    except Exception:  # on damaged files mutagen raises nearly anything; the audio stage will judge the sound itself
        pairs = []
    pairs += _riff_info(file)
    ranked: dict[str, dict[int, list[str]]] = {}
    for key, values in pairs:
        name, place = _NAMES.get(_folded(key), ("", 0))
        if name:
            ranked.setdefault(name, {}).setdefault(place, []).extend(values)
    texts = {name: _joined(places[min(places)]) for name, places in ranked.items()}
    number = texts.get("movement_number", "")
    if number and not re.fullmatch(r"\s*(?:\d{1,3}|[ivxIVX]{1,6})\s*(?:[./]\s*\d*)?\s*", number):
        texts.setdefault("movement", number)
        texts["movement_number"] = ""
    return {name: texts[name] for name in KEYS if texts.get(name)}


def _joined(values: list[str]) -> str:
    parts = [part.strip() for value in values for part in str(value).split("\0")]
    return " / ".join(dict.fromkeys(part for part in parts if part))


def _pairs(tags: Any) -> Iterator[tuple[str, list[str]]]:
    """The keys and values of the tags that mutagen read, in any container."""
    if hasattr(tags, "getall"):  # ID3
        for frame in tags.values():
            if hasattr(frame, "text"):
                key = f"TXXX:{frame.desc}" if frame.FrameID == "TXXX" else frame.FrameID
                yield key, [str(text) for text in frame.text]
        return
    for key, value in tags.items():
        values = (
            value if isinstance(value, list) else list(value) if type(value).__name__ == "APETextValue" else [value]
        )
        name = key[len(_ITUNES) :] if key.casefold().startswith(_ITUNES) else key
        yield name, [_text(one) for one in values]


def _text(value: Any) -> str:
    if isinstance(value, tuple):  # trkn and disk: number and total
        return "/".join(str(number) for number in value if number)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _riff_info(file: Path) -> list[tuple[str, list[str]]]:
    """The INFO chunk of a WAV file, which mutagen does not read."""
    if file.suffix.lower() not in (".wav", ".wave"):
        return []
    pairs = []
    try:
        with file.open("rb") as stream:
            if stream.read(4) not in (b"RIFF", b"RF64") or stream.read(8)[4:] != b"WAVE":
                return []
            while len(header := stream.read(8)) == 8:
                name, size = struct.unpack("<4sI", header)
                if name == b"LIST" and size < 1 << 20:
                    pairs += _info(stream.read(size + size % 2))
                else:
                    stream.seek(size + size % 2, 1)
    except (OSError, struct.error, OverflowError):
        return pairs
    return pairs


def _info(chunk: bytes) -> list[tuple[str, list[str]]]:
    pairs, place = [], 4
    while chunk[:4] == b"INFO" and place + 8 <= len(chunk):
        name, size = struct.unpack("<4sI", chunk[place : place + 8])
        raw = chunk[place + 8 : place + 8 + size].rstrip(b"\0")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", "replace")
        pairs.append((name.decode("latin-1"), [text]))
        place += 8 + size + size % 2
    return pairs
