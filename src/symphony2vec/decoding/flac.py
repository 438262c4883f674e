"""The number of samples that a FLAC file really holds, read from its last frame (RFC 9639, section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from symphony2vec.decoding.ranges import Bytes, Range, id3v2_size, without_tags

_MARKERS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # the mark and the header of STREAMINFO
_TAIL_BYTES = 1 << 20  # longer than any frame of music
_BLOCK_SIZES = {
    1: 192,
    **{code: 576 << (code - 2) for code in range(2, 6)},
    **{code: 1 << code for code in range(8, 16)},
}


def _table(polynomial: int, bits: int) -> list[int]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = ((value << 1) ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return table


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


@dataclass(frozen=True)
class Length:
    """Samples of each channel that the header promises (0: it does not say) and that the last frame ends with.

    `held` is None where the last frame is damaged or incomplete.
    """

    rate_hz: int
    promised: int
    held: int | None


def streams(data: Bytes) -> list[Range]:
    """The byte ranges of the FLAC streams of a file; more than one where files were joined."""
    end = without_tags(data, 0, len(data))
    starts = []
    at = data.find(b"fLaC")
    while at >= 0:
        if data[at : at + 8] in _MARKERS:
            starts.append(at)
        at = data.find(b"fLaC", at + 4)
    ends = [_before_id3(data, first, following) for first, following in pairwise(starts)]
    return list(zip(starts, [*ends, end], strict=True)) if starts else []


def _before_id3(data: Bytes, begin: int, at: int) -> int:
    """The end of a stream that another follows, whose own ID3v2 tag is not part of the first."""
    tag = data.rfind(b"ID3", max(begin, at - _TAIL_BYTES), at)
    end = tag if tag > 0 and tag + id3v2_size(data, tag) == at else at
    return without_tags(data, begin, end)


def length(data: Bytes, begin: int, end: int) -> Length:
    """Compare what the header of the stream in `data[begin:end]` promises with its last frame."""
    info = data[begin + 8 : begin + 42]
    packed = int.from_bytes(info[10:18], "big")
    rate_hz, promised = packed >> 44, packed & 0xF_FFFF_FFFF
    fixed_size = int.from_bytes(info[2:4], "big")
    return Length(rate_hz, promised, _held(data[max(begin, end - _TAIL_BYTES) : end], fixed_size))


def _held(tail: bytes, fixed_size: int) -> int | None:
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] not in (b"\xf8", b"\xf9"):
            continue
        found = _frame(tail, at, fixed_size)
        if found is not None and _crc16(tail[at:]) == 0:
            return found
    return None


def _frame(data: bytes, at: int, fixed_size: int) -> int | None:
    """The number of the sample after the frame whose header is at `at`; None where there is no such header."""
    variable = data[at + 1] & 1
    head = data[at : at + 16]
    if len(head) < 6 or head[3] & 1 or head[2] >> 4 == 0 or head[2] & 15 == 15:
        return None
    lead = head[4]
    count = 8 - (lead ^ 0xFF).bit_length()  # of leading ones
    if count == 1 or count > 7 or len(head) < 5 + max(1, count):
        return None
    number = lead if count == 0 else lead & (0x7F >> count)
    position = 5
    for _ in range(count - 1):
        if head[position] & 0xC0 != 0x80:
            return None
        number = number << 6 | head[position] & 0x3F
        position += 1
    size_code, rate_code = head[2] >> 4, head[2] & 15
    extra = {6: 1, 7: 2}.get(size_code, 0)
    size = int.from_bytes(head[position : position + extra], "big") + 1 if extra else _BLOCK_SIZES[size_code]
    position += extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if position >= len(head) or _crc8(head[: position + 1]) != 0:
        return None
    return (number if variable else number * fixed_size) + size


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc
