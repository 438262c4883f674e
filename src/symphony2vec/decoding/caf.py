"""Locate the samples of a Core Audio file (CAF), also where the size in its header is wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from symphony2vec.decoding.pcm import CANNOT_REPAIR, JUNK_BYTES, SampleFormat
from symphony2vec.decoding.ranges import Bytes, find_content_end
from symphony2vec.errors import Unusable

MAGIC = b"caff"
_MAX_BYTES = 1 << 62  # larger and negative sizes are placeholders of programs that stream
_CHUNK_NAMES = (
    b"desc", b"data", b"pakt", b"kuki", b"chan", b"info", b"free", b"mark", b"regn", b"strg", b"midi", b"ovvw", b"peak",
    b"edct", b"umid", b"uuid", b"inst",
)  # fmt: skip
_PCM = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}
_FLAG_FLOAT, _FLAG_LITTLE_ENDIAN = 1, 2


@dataclass(frozen=True)
class CafRecording:
    """The byte range of one recording; with `sample_format` that of its samples alone, without a usable header."""

    begin: int
    end: int
    sample_format: SampleFormat | None = None
    note: str = ""


def locate_recording(data: Bytes, begin: int) -> CafRecording:
    """Return the recording that begins at a byte of the file.

    Raises:
        Unusable: it is truncated, or the size of its samples is wrong and their format needs the header.
    """
    size = len(data)
    at, description = begin + 8, b""
    while at + 12 <= size:
        name, length = data[at : at + 4], int(struct.unpack(">q", data[at + 4 : at + 12])[0])
        if at > begin + 8 and name == MAGIC:
            return CafRecording(begin, at)
        if name == b"desc":
            description = data[at + 12 : at + 44]
        if name == b"data":
            if not 0 <= length < _MAX_BYTES:
                return CafRecording(begin, size)  # decoders read to the end
            if at + 12 + length > size:
                share = (size - at - 12) / length
                raise Unusable(f"truncated: {share:.0%} of the audio declared in the header is present")
            if not _is_plausible_end(data, at + 12 + length):
                return _parse_without_size(data, at + 16, length - 4, description)
        elif name not in _CHUNK_NAMES or length < 0:
            break
        at += 12 + length
    return CafRecording(begin, size)


def _is_plausible_end(data: Bytes, at: int) -> bool:
    """Return whether the samples can end at `at`: a chunk, another file, padding or nothing follows."""
    rest = find_content_end(data, at, len(data)) - at
    is_padding = rest < JUNK_BYTES and not any(data[at : at + rest])
    return rest < 12 or data[at : at + 4] in (*_CHUNK_NAMES, MAGIC) or is_padding


def _parse_without_size(data: Bytes, start: int, declared_bytes: int, description: bytes) -> CafRecording:
    """Return the samples from `start` to the end of the file, in the format that the chunk `desc` describes."""
    rate_hz, kind, flags, frame_bytes, _, channels, bits = struct.unpack(">d4s5I", description)
    subtype = {b"ulaw": "ULAW", b"alaw": "ALAW"}.get(kind, "")
    if kind == b"lpcm":
        subtype = {32: "FLOAT", 64: "DOUBLE"}.get(bits, "") if flags & _FLAG_FLOAT else _PCM.get(bits, "")
    if not subtype or not rate_hz >= 1 or not channels or frame_bytes != channels * (bits // 8):
        raise Unusable(CANNOT_REPAIR)
    endian = "LITTLE" if flags & _FLAG_LITTLE_ENDIAN else "BIG"
    sample_format = SampleFormat(round(rate_hz), channels, subtype, endian, frame_bytes)
    end = start + (find_content_end(data, start, len(data)) - start) // frame_bytes * frame_bytes
    declared_s, actual_s = (count / frame_bytes / rate_hz for count in (max(0, declared_bytes), end - start))
    note = f"header declares {declared_s:.1f} s, file contains {actual_s:.1f} s"
    return CafRecording(start, end, sample_format, note)
