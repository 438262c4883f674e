"""The tags of a recording under one set of names, whatever the container and the program that wrote them.

Vorbis comments (flac, ogg, opus), ID3 (mp3, wav, aiff), MP4 atoms (m4a), APEv2 (ape, wv, mpc), ASF (wma) and the INFO
chunk of RIFF (wav); keys in upper or lower case. `KEYS` lists what Picard, iTunes, foobar2000, MusicBee, JRiver and
dBpoweramp call each tag.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mutagen

# Our names, with the keys of files in order of preference; keys are compared without case, spaces, "_" and "-".
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


def _normalize_key(key: str) -> str:
    return re.sub(r"[\s_-]", "", key.casefold())


_NAMES = {_normalize_key(key): (name, rank) for name, keys in KEYS.items() for rank, key in enumerate(keys.split())}


def read_tags(file: Path) -> dict[str, str]:
    """Return the tags of a recording that concern its title; empty if they cannot be read.

    Returns:
        Texts by the names of `KEYS`; several values of one tag are joined by " / ". A movement number that is not a
        number is returned as the name of the movement.
    """
    try:
        recording = mutagen.File(file)
        pairs = list(_read_pairs(recording.tags)) if recording is not None and recording.tags is not None else []
    except Exception:  # mutagen raises nearly anything on damaged files; the audio stage will judge the sound itself
        pairs = []
    pairs += _read_riff_info(file)
    ranked: dict[str, dict[int, list[str]]] = {}
    for key, values in pairs:
        name, rank = _NAMES.get(_normalize_key(key), ("", 0))
        if name:
            ranked.setdefault(name, {}).setdefault(rank, []).extend(values)
    texts = {name: _join_values(values_by_rank[min(values_by_rank)]) for name, values_by_rank in ranked.items()}
    number = texts.get("movement_number", "")
    if number and not re.fullmatch(r"\s*(?:\d{1,3}|[ivxIVX]{1,6})\s*(?:[./]\s*\d*)?\s*", number):
        texts.setdefault("movement", number)
        texts["movement_number"] = ""
    return {name: texts[name] for name in KEYS if texts.get(name)}


def _join_values(values: list[str]) -> str:
    parts = [part.strip() for value in values for part in str(value).split("\0")]
    return " / ".join(dict.fromkeys(part for part in parts if part))


def _read_pairs(tags: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the keys and values of tags that mutagen read, from any container."""
    if hasattr(tags, "getall"):  # ID3
        for frame in tags.values():
            if hasattr(frame, "text"):
                key = f"TXXX:{frame.desc}" if frame.FrameID == "TXXX" else frame.FrameID
                yield key, [str(text) for text in frame.text]
        return
    for key, value in tags.items():
        is_list = isinstance(value, list) or type(value).__name__ == "APETextValue"
        name = key[len(_ITUNES) :] if key.casefold().startswith(_ITUNES) else key
        yield name, [_to_text(item) for item in (list(value) if is_list else [value])]


def _to_text(value: Any) -> str:
    if isinstance(value, tuple):  # trkn and disk: number and total
        return "/".join(str(number) for number in value if number)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _read_riff_info(file: Path) -> list[tuple[str, list[str]]]:
    """Return the keys and values of the INFO chunk of a WAV file, which mutagen does not read."""
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
                    pairs += _parse_info(stream.read(size + size % 2))
                else:
                    stream.seek(size + size % 2, 1)
    except (OSError, struct.error, OverflowError):
        return pairs
    return pairs


def _parse_info(chunk: bytes) -> list[tuple[str, list[str]]]:
    pairs, offset = [], 4
    while chunk[:4] == b"INFO" and offset + 8 <= len(chunk):
        name, size = struct.unpack("<4sI", chunk[offset : offset + 8])
        raw = chunk[offset + 8 : offset + 8 + size].rstrip(b"\0")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", "replace")
        pairs.append((name.decode("latin-1"), [text]))
        offset += 8 + size + size % 2
    return pairs
