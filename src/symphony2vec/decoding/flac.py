"""Find the FLAC streams of a file and their true length, read from the last frame (RFC 9639, section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from symphony2vec.decoding.ranges import Bytes, Range, find_content_end, read_id3v2_size

_MARKERS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # stream marker and header of STREAMINFO
_TAIL_BYTES = 1 << 20  # longer than any frame of music
_BLOCK_SIZES = {
    1: 192,
    **{code: 576 << (code - 2) for code in range(2, 6)},
    **{code: 1 << code for code in range(8, 16)},
}


def _crc_table(polynomial: int, bits: int) -> list[int]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = ((value << 1) ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return table


_CRC8, _CRC16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)


@dataclass(frozen=True)
class StreamLength:
    """The length of a FLAC stream in samples per channel.

    Attributes:
        rate_hz: sample rate.
        declared_samples: according to STREAMINFO; 0 if unknown.
        actual_samples: at the end of the last frame; None if that frame is damaged or incomplete.
    """

    rate_hz: int
    declared_samples: int
    actual_samples: int | None


def find_streams(data: Bytes) -> list[Range]:
    """Return the byte ranges of the FLAC streams in a file; more than one if files were concatenated."""
    starts = []
    at = data.find(b"fLaC")
    while at >= 0:
        if data[at : at + 8] in _MARKERS:
            starts.append(at)
        at = data.find(b"fLaC", at + 4)
    if not starts:
        return []
    ends = [_find_stream_end(data, begin, next_begin) for begin, next_begin in pairwise(starts)]
    return list(zip(starts, [*ends, find_content_end(data, 0, len(data))], strict=True))


def _find_stream_end(data: Bytes, begin: int, next_begin: int) -> int:
    """Return the end of a stream that another one follows; an ID3v2 tag between them belongs to the second."""
    tag = data.rfind(b"ID3", max(begin, next_begin - _TAIL_BYTES), next_begin)
    end = tag if tag > 0 and tag + read_id3v2_size(data, tag) == next_begin else next_begin
    return find_content_end(data, begin, end)


def measure_length(data: Bytes, begin: int, end: int) -> StreamLength:
    """Return the declared and the actual length of the stream in `data[begin:end]`."""
    info = data[begin + 8 : begin + 42]
    packed = int.from_bytes(info[10:18], "big")
    fixed_size = int.from_bytes(info[2:4], "big")
    actual_samples = _find_last_sample(data[max(begin, end - _TAIL_BYTES) : end], fixed_size)
    return StreamLength(packed >> 44, packed & 0xF_FFFF_FFFF, actual_samples)


def _find_last_sample(tail: bytes, fixed_size: int) -> int | None:
    """Return the number of samples up to the end of the last intact frame, which must end with `tail`."""
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] not in (b"\xf8", b"\xf9"):
            continue
        frame_end = _parse_frame_end(tail, at, fixed_size)
        if frame_end is not None and _crc16(tail[at:]) == 0:
            return frame_end
    return None


def _parse_frame_end(data: bytes, at: int, fixed_size: int) -> int | None:
    """Return the number of the first sample after the frame whose header is at `at`; None if it is not a header."""
    has_variable_size = data[at + 1] & 1
    head = data[at : at + 16]
    if len(head) < 6 or head[3] & 1 or head[2] >> 4 == 0 or head[2] & 15 == 15:
        return None
    lead = head[4]
    leading_ones = 8 - (lead ^ 0xFF).bit_length()
    if leading_ones == 1 or leading_ones > 7 or len(head) < 5 + max(1, leading_ones):
        return None
    number = lead if leading_ones == 0 else lead & (0x7F >> leading_ones)
    position = 5
    for _ in range(leading_ones - 1):
        if head[position] & 0xC0 != 0x80:
            return None
        number = number << 6 | head[position] & 0x3F
        position += 1
    size_code, rate_code = head[2] >> 4, head[2] & 15
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    block_size = (
        int.from_bytes(head[position : position + size_bytes], "big") + 1 if size_bytes else _BLOCK_SIZES[size_code]
    )
    position += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if position >= len(head) or _crc8(head[: position + 1]) != 0:
        return None
    return (number if has_variable_size else number * fixed_size) + block_size


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
