"""The frames of an MP3 file (MPEG-1, -2 and -2.5, layers I to III), counted without decoding them.

The number of frames in the header of an encoder (Xing, Info) is a claim; without one, decoders guess the length from
the first frame's bit rate. Frames are walked from header to header, over tags and whatever else lies between them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from symphony2vec.decoding.ranges import Bytes, Range, id3v2_size, without_tags

_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version
_KBIT = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_LIKE = 3  # a header is believed where so many frames follow each other


@dataclass
class Stream:
    """Frames of one rate and layout that belong together, with the header that an encoder wrote before them.

    promised, promised_bytes: what that header says; None where there is none, or it does not say.
    is_cut_off: whether the file ends within a frame of it.
    """

    rate_hz: int
    frame_samples: int
    layout: int
    ranges: list[Range] = field(default_factory=list)
    frames: int = 0
    header: Range | None = None
    promised: int | None = None
    promised_bytes: int | None = None
    is_cut_off: bool = False

    @property
    def is_layer_2(self) -> bool:
        """Whether its frames are those of an MP2 file, whose encoders write no header."""
        return self.layout >> 2 & 3 == 2

    @property
    def held_bytes(self) -> int:
        """Bytes of its frames, the header included."""
        return sum(end - begin for begin, end in self.ranges) + (self.header[1] - self.header[0] if self.header else 0)


def streams(data: Bytes) -> list[Stream]:
    """Walk all frames of a file (bytes or `FileBytes`); none where it holds no MPEG audio."""
    found: list[Stream] = []
    size = without_tags(data, 0, len(data))
    at = _first_frame(data, 0, size)
    begin = at
    current: Stream | None = None
    while 0 <= at < size:
        head = data[at : at + 40]
        frame = _frame(head[:4])
        if frame is None or at + frame[0] > size:
            _close(current, begin, at)
            if frame is not None and current is not None:
                current.is_cut_off = frame[1:3] == (current.frame_samples, current.rate_hz)
            at = begin = _first_frame(data, at + 1 if frame is None else at + frame[0], size)
            continue
        length, samples, rate_hz, layout = frame
        tag = _tag_offset(head, layout)
        if (
            tag
            or current is None
            or (current.rate_hz, current.layout, current.frame_samples) != (rate_hz, layout, samples)
        ):
            _close(current, begin, at)
            current = Stream(rate_hz, samples, layout)
            found.append(current)
            begin = at
            if tag:
                _read_header(current, data, at, tag, length)
                at = begin = at + length
                continue
        current.frames += 1
        at += length
    _close(current, begin, min(at, size) if at >= 0 else begin)
    return [stream for stream in found if stream.frames]


def _close(stream: Stream | None, begin: int, end: int) -> None:
    if stream is not None and end > begin:
        stream.ranges.append((begin, end))


def _first_frame(data: Bytes, at: int, size: int) -> int:
    """The next place where frames follow each other; -1 where there is none. ID3v2 tags are passed over whole."""
    while 0 <= at < size - 4:
        tag = id3v2_size(data, at)
        if tag:
            at += tag
            continue
        if data[at] == 0xFF and _believed(data, at, size):
            return at
        places = (data.find(b"\xff", at + 1, size), data.find(b"ID3", at + 1, min(at + 4096, size)))
        at = min((place for place in places if place >= 0), default=-1)
    return -1


def _believed(data: Bytes, at: int, size: int) -> bool:
    kind = None
    for _ in range(_LIKE):
        frame = _frame(data[at : at + 4])
        if frame is None or (kind is not None and frame[1:3] != kind) or at + frame[0] > size:
            return False
        kind, at = frame[1:3], at + frame[0]
        if at == size or id3v2_size(data, at):
            return True
    return True


@functools.lru_cache(maxsize=4096)
def _frame(head: bytes) -> tuple[int, int, int, int] | None:
    """Bytes, samples, rate (Hz) and layout of the frame that these four bytes begin."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    kbit_code, rate_code, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 0 or not 0 < kbit_code < 15 or rate_code == 3:
        return None
    rate_hz = _RATES_HZ[version][rate_code]
    bits = 1000 * _KBIT[3 if version == 3 else 2, layer][kbit_code - 1]
    samples = 384 if layer == 3 else 1152 if layer == 2 or version == 3 else 576
    length = (12 * bits // rate_hz + padding) * 4 if layer == 3 else samples // 8 * bits // rate_hz + padding
    return length, samples, rate_hz, version << 4 | layer << 2 | (head[3] >> 6 == 3)


def _tag_offset(head: bytes, layout: int) -> int:
    """Where in a frame the header of an encoder begins, of its first 40 bytes; 0 where there is none."""
    mono, full = layout & 1, layout >> 4 == 3
    offset = 4 + ((17 if mono else 32) if full else (9 if mono else 17))
    if head[offset : offset + 4] in (b"Xing", b"Info"):
        return offset
    return 36 if head[36:40] == b"VBRI" else 0


def _read_header(stream: Stream, data: Bytes, at: int, tag: int, length: int) -> None:
    stream.header = (at, at + length)
    head = data[at + tag : at + tag + 18]
    if head[:4] == b"VBRI":
        stream.promised_bytes = int.from_bytes(head[10:14], "big")
        stream.promised = int.from_bytes(head[14:18], "big")
        return
    flags, position = head[7], 8
    if flags & 1:
        stream.promised = int.from_bytes(head[8:12], "big")
        position = 12
    if flags & 2:
        stream.promised_bytes = int.from_bytes(head[position : position + 4], "big")
