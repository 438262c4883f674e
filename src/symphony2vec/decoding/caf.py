"""Where the samples lie in a Core Audio file (CAF): after the header, or to the true end where its size is wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from symphony2vec.decoding.pcm import JUNK_BYTES, Coding
from symphony2vec.decoding.ranges import Bytes, without_tags
from symphony2vec.errors import Unusable

MAGIC = b"caff"
_UNKNOWN = 1 << 62  # sizes beyond, and negative ones, are written by programs that cannot know the size
_NAMES = (
    b"desc", b"data", b"pakt", b"kuki", b"chan", b"info", b"free", b"mark", b"regn", b"strg", b"midi", b"ovvw", b"peak",
    b"edct", b"umid", b"uuid", b"inst",
)  # fmt: skip
_WIDTHS = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}
_IS_FLOAT, _IS_LITTLE = 1, 2


@dataclass(frozen=True)
class Samples:
    """One recording within a file: its bytes; with a coding those of the samples alone, which its header miscounts."""

    begin: int
    end: int
    coding: Coding | None = None
    note: str = ""


def locate(data: Bytes, begin: int) -> Samples:
    """Find the recording that begins at a byte of the file.

    Raises:
        Unusable: it is cut off, or the size of its samples is wrong and its coding cannot be read without it.
    """
    size = len(data)
    at, description = begin + 8, b""
    while at + 12 <= size:
        name, length = data[at : at + 4], int(struct.unpack(">q", data[at + 4 : at + 12])[0])
        if at > begin + 8 and name == MAGIC:
            return Samples(begin, at)
        if name == b"desc":
            description = data[at + 12 : at + 44]
        if name == b"data":
            if not 0 <= length < _UNKNOWN:
                return Samples(begin, size)  # decoders read to the end
            if at + 12 + length > size:
                share = (size - at - 12) / length
                raise Unusable(f"cut off: {share:.0%} of the sound that its header promises is there")
            if not _is_followed(data, at + 12 + length):
                return _miscounted(data, begin, at + 16, length - 4, description)
        elif name not in _NAMES or length < 0:
            break
        at += 12 + length
    return Samples(begin, size)


def _is_followed(data: Bytes, at: int) -> bool:
    """Whether nothing, a chunk, another file, or a little rest follows the samples."""
    rest = without_tags(data, at, len(data)) - at
    return rest < 12 or data[at : at + 4] in (*_NAMES, MAGIC) or (rest < JUNK_BYTES and not any(data[at : at + rest]))


def _miscounted(data: Bytes, begin: int, start: int, promised: int, description: bytes) -> Samples:
    rate_hz, kind, flags, frame_bytes, _, channels, bits = struct.unpack(">d4s5I", description)
    subtype = {b"ulaw": "ULAW", b"alaw": "ALAW"}.get(kind, "")
    if kind == b"lpcm":
        subtype = {32: "FLOAT", 64: "DOUBLE"}.get(bits, "") if flags & _IS_FLOAT else _WIDTHS.get(bits, "")
    if not subtype or not rate_hz >= 1 or not channels or frame_bytes != channels * (bits // 8):
        raise Unusable("the length in its header is wrong, and its coding cannot be read without it; write it anew")
    coding = Coding(round(rate_hz), channels, subtype, "LITTLE" if flags & _IS_LITTLE else "BIG", frame_bytes)
    end = start + (without_tags(data, start, len(data)) - start) // frame_bytes * frame_bytes
    claim_s, there_s = (count / frame_bytes / rate_hz for count in (max(0, promised), end - start))
    return Samples(start, end, coding, f"its header gives {claim_s:.1f} s; {there_s:.1f} s are there")
