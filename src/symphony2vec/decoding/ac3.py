"""The frames of a raw AC-3 or E-AC-3 file, walked from header to header: whether the last of them is whole."""

from __future__ import annotations

from symphony2vec.decoding.ranges import Bytes, without_tags

SYNC = b"\x0b\x77"
_KBIT = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_ENHANCED = 11  # the bit stream identification of E-AC-3, and those above


def is_cut_off(data: Bytes) -> bool:
    """Whether the file ends within a frame: its header gives no length, so that nothing else can tell."""
    size = without_tags(data, 0, len(data))
    at = data.find(SYNC)
    while 0 <= at < size:
        length = _frame_bytes(data[at : at + 8])
        if length and at + length > size:
            return True
        believed = length and (at + length == size or data[at + length : at + length + 2] == SYNC)
        at = at + length if believed else data.find(SYNC, at + 2)
    return False


def _frame_bytes(head: bytes) -> int:
    """The size of the frame that these bytes begin; 0 where they begin none."""
    if len(head) < 6 or head[:2] != SYNC:
        return 0
    if head[5] >> 3 >= _ENHANCED:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code >> 1 >= len(_KBIT):
        return 0
    kbit = _KBIT[code >> 1]
    words = (2 * kbit, kbit * 320 // 147 + (code & 1), 3 * kbit)[rate]
    return 2 * words
