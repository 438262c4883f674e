"""Walk the frames of a raw AC-3 or E-AC-3 file to detect truncation (ATSC A/52, sections 5.3 and E.1.2)."""

from __future__ import annotations

from symphony2vec.decoding.ranges import Bytes, find_content_end

SYNC = b"\x0b\x77"
_KBIT = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_E_AC3_BSID = 11  # lowest bit stream identification (bsid) of E-AC-3


def is_truncated(data: Bytes) -> bool:
    """Return whether the file ends within a frame; raw AC-3 has no other indication of its length."""
    size = find_content_end(data, 0, len(data))
    at = data.find(SYNC)
    while 0 <= at < size:
        length = _parse_frame_bytes(data[at : at + 8])
        if length and at + length > size:
            return True
        is_frame = length and (at + length == size or data[at + length : at + length + 2] == SYNC)
        at = at + length if is_frame else data.find(SYNC, at + 2)
    return False


def _parse_frame_bytes(head: bytes) -> int:
    """Return the size in bytes of the frame that begins with these bytes; 0 if they are not a frame header."""
    if len(head) < 6 or head[:2] != SYNC:
        return 0
    if head[5] >> 3 >= _E_AC3_BSID:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code >> 1 >= len(_KBIT):
        return 0
    kbit = _KBIT[code >> 1]
    return 2 * (2 * kbit, kbit * 320 // 147 + (code & 1), 3 * kbit)[rate]
