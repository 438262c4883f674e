"""Count the frames of an MP3 file (MPEG-1, -2 and -2.5, layers I to III) without decoding them.

The number of frames in an encoder's header (Xing, Info, VBRI) can be wrong; without one, decoders estimate the length
from the bit rate of the first frame. Frames are walked from header to header, across tags and other data between them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

from symphony2vec.decoding.ranges import Bytes, Range, find_content_end, read_id3v2_size

_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version
_KBIT = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SYNC_FRAMES = 3  # consecutive frames that confirm a frame header


class _Frame(NamedTuple):
    """What a frame header says; `layout` packs version, layer and whether it is mono."""

    length: int
    samples: int
    rate_hz: int
    layout: int


@dataclass
class Stream:
    """Consecutive frames of one rate and layout, with the encoder's header frame if there is one.

    Attributes:
        rate_hz: sample rate.
        frame_samples: samples per channel in a frame.
        layout: MPEG version, layer and whether it is mono, packed as in `_Frame`.
        ranges: byte ranges of the frames, without the header frame.
        frames: number of frames counted.
        header: byte range of the header frame.
        declared_frames: number of frames according to the header; None if it does not say.
        declared_bytes: size in bytes according to the header; None if it does not say.
        is_truncated: whether the file ends within a frame of this stream.
    """

    rate_hz: int
    frame_samples: int
    layout: int
    ranges: list[Range] = field(default_factory=list)
    frames: int = 0
    header: Range | None = None
    declared_frames: int | None = None
    declared_bytes: int | None = None
    is_truncated: bool = False

    @property
    def is_layer_2(self) -> bool:
        """Return whether this is MP2, whose encoders write no header frame."""
        return self.layout >> 2 & 3 == 2

    @property
    def actual_bytes(self) -> int:
        """Size of all frames in bytes, including the header frame."""
        ranges = [self.header, *self.ranges] if self.header else self.ranges
        return sum(end - begin for begin, end in ranges)

    def add_range(self, begin: int, end: int) -> None:
        """Add a byte range of frames unless it is empty."""
        if end > begin:
            self.ranges.append((begin, end))

    def continues_with(self, frame: _Frame) -> bool:
        """Return whether a frame has the rate and layout of this stream."""
        return (self.rate_hz, self.layout, self.frame_samples) == (frame.rate_hz, frame.layout, frame.samples)


def find_streams(data: Bytes) -> list[Stream]:
    """Walk all frames of a file and return its streams; an empty list if it contains no MPEG audio."""
    streams: list[Stream] = []
    size = find_content_end(data, 0, len(data))
    begin = at = _find_frame(data, 0, size)
    while 0 <= at < size:
        head = data[at : at + 40]
        frame = _parse_frame(head[:4])
        if frame is None or at + frame.length > size:
            if streams:
                streams[-1].add_range(begin, at)
                if frame is not None:
                    stream = streams[-1]
                    stream.is_truncated = (frame.samples, frame.rate_hz) == (stream.frame_samples, stream.rate_hz)
            at = begin = _find_frame(data, at + 1 if frame is None else at + frame.length, size)
            continue
        header_offset = _find_header(head, frame.layout)
        if header_offset or not streams or not streams[-1].continues_with(frame):
            if streams:
                streams[-1].add_range(begin, at)
            streams.append(Stream(frame.rate_hz, frame.samples, frame.layout))
            begin = at
            if header_offset:
                _parse_header(streams[-1], data, at, header_offset, frame.length)
                at = begin = at + frame.length
                continue
        streams[-1].frames += 1
        at += frame.length
    if streams and at >= 0:
        streams[-1].add_range(begin, min(at, size))
    return [stream for stream in streams if stream.frames]


def _find_frame(data: Bytes, at: int, size: int) -> int:
    """Return the next position where frames follow each other, or -1; ID3v2 tags are skipped as a whole."""
    while 0 <= at < size - 4:
        tag_bytes = read_id3v2_size(data, at)
        if tag_bytes:
            at += tag_bytes
            continue
        if data[at] == 0xFF and _is_frame_sequence(data, at, size):
            return at
        candidates = (data.find(b"\xff", at + 1, size), data.find(b"ID3", at + 1, min(at + 4096, size)))
        at = min((candidate for candidate in candidates if candidate >= 0), default=-1)
    return -1


def _is_frame_sequence(data: Bytes, at: int, size: int) -> bool:
    """Return whether several frames of one kind follow each other from `at`, or up to the end or a tag."""
    kind = None
    for _ in range(_SYNC_FRAMES):
        frame = _parse_frame(data[at : at + 4])
        if frame is None or at + frame.length > size or kind not in (None, (frame.samples, frame.rate_hz)):
            return False
        kind, at = (frame.samples, frame.rate_hz), at + frame.length
        if at == size or read_id3v2_size(data, at):
            return True
    return True


@functools.lru_cache(maxsize=4096)
def _parse_frame(head: bytes) -> _Frame | None:
    """Parse the four bytes of a frame header; None if they are not one."""
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
    return _Frame(length, samples, rate_hz, version << 4 | layer << 2 | (head[3] >> 6 == 3))


def _find_header(head: bytes, layout: int) -> int:
    """Return the offset of an encoder's header in the first 40 bytes of a frame; 0 if there is none."""
    is_mono, is_mpeg_1 = layout & 1, layout >> 4 == 3
    offset = 4 + ((17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17))
    if head[offset : offset + 4] in (b"Xing", b"Info"):
        return offset
    return 36 if head[36:40] == b"VBRI" else 0


def _parse_header(stream: Stream, data: Bytes, at: int, offset: int, length: int) -> None:
    """Read the declared numbers of frames and bytes from the header frame at `at`."""
    stream.header = (at, at + length)
    head = data[at + offset : at + offset + 18]
    if head[:4] == b"VBRI":
        stream.declared_bytes = int.from_bytes(head[10:14], "big")
        stream.declared_frames = int.from_bytes(head[14:18], "big")
        return
    flags, position = head[7], 8
    if flags & 1:
        stream.declared_frames = int.from_bytes(head[8:12], "big")
        position = 12
    if flags & 2:
        stream.declared_bytes = int.from_bytes(head[position : position + 4], "big")
