"""Locate the samples of uncompressed audio in WAV, RF64, BW64, Wave64 and AIFF files.

Recorders write the size of the samples when they stop, and a 32-bit size wraps at 4 GB: sizes of 0, of all ones, or
much too small are common. A size is trusted if another chunk, or nothing, follows the samples it declares.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from symphony2vec.decoding.ranges import Bytes, Range, find_content_end
from symphony2vec.errors import Unusable

CANNOT_REPAIR = "the length in its header is wrong and its encoding cannot be read without it; save the file anew"
JUNK_BYTES = 4096  # from this length on, bytes after the samples that are no chunk count as audio
TAIL_BYTES = 1 << 20  # chunks after samples of unknown size are searched within this distance of the end
WRAP = 1 << 32
# Placeholders of programs that write to a pipe and cannot know the size: all ones, or the largest signed number.
_PLACEHOLDERS = (range(0x7FFF_F000, 0x8000_0001), range(0xFFFF_F000, 0x1_0000_0000), range(1 << 62, 1 << 64))
_RIFF_NAMES = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_TRAILING_NAMES = (
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"_PMX", b"cue ", b"smpl", b"fact", b"PEAK", b"JUNK", b"afsp",
)  # fmt: skip
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # the end of the GUID of "wave", "fmt ", "data" and most others
_W64_OTHER_NAMES = (b"levl", b"list", b"junk", b"bext", b"mrkr", b"summ")
_WAV_PCM = {8: "PCM_U8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}
_AIFF_PCM = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}
_AIFC = {b"fl32": "FLOAT", b"FL32": "FLOAT", b"fl64": "DOUBLE", b"FL64": "DOUBLE", b"ulaw": "ULAW", b"alaw": "ALAW"}


@dataclass(frozen=True)
class SampleFormat:
    """How to read samples without a header, in soundfile's terms."""

    samplerate: int
    channels: int
    subtype: str
    endian: str
    frame_bytes: int


@dataclass(frozen=True)
class SampleRanges:
    """The byte ranges and the format of the samples of one file, and a note on what its header declares."""

    ranges: list[Range]
    sample_format: SampleFormat
    note: str


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    begin: int
    size: int

    @property
    def end(self) -> int:
        return self.begin + self.size


def is_pcm_container(head: bytes) -> bool:
    """Return whether a file begins as WAV, RF64, BW64, Wave64 or AIFF.

    Examples:
        >>> is_pcm_container(b"RIFF\\x24\\x00\\x00\\x00WAVE")
        True
    """
    is_wav = head[:4] in _RIFF_NAMES and head[8:12] == b"WAVE"
    return is_wav or head[:16] == _W64_RIFF or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"))


def locate_samples(data: Bytes, begin: int, end: int) -> tuple[SampleRanges | None, int]:
    """Locate the samples of the sound file that begins at `begin`, if its header is wrong.

    Args:
        data: the bytes of the whole file.
        begin: the first byte of this sound file.
        end: the first byte after the whole file.

    Returns:
        The samples, or None if the header is right (or declares more than there is: the decoder detects truncation);
        and the byte at which another sound file begins, else `end`.

    Raises:
        Unusable: it is truncated, or the header is wrong and the samples cannot be read without it.
    """
    container = _Container(data, begin, end)
    head: dict[bytes, _Chunk] = {}
    for chunk in container.iterate_chunks(begin + container.header_bytes, end):
        head.setdefault(chunk.name, chunk)
        if chunk.name == container.samples_name:
            break
    samples = head.get(container.samples_name)
    if samples is None or container.format_name not in head:
        return None, end
    start, declared = container.locate_extent(samples, head.get(b"ds64"))
    declared_end = start + declared
    is_unknown = any(declared in sizes for sizes in _PLACEHOLDERS) and declared_end > end
    if declared_end > end and not is_unknown:
        if container.is_w64 or b"ds64" in head:  # libsndfile does not report truncation of these
            share = max(0, end - start) / declared
            raise Unusable(f"truncated: {share:.0%} of the audio declared in the header is present")
        return None, end
    for at in () if is_unknown else (declared_end, declared_end + 1):
        if is_pcm_container(data[at : min(at + 16, end)]):
            return None, at
    trailing = None if is_unknown else container.parse_trailing_chunks(declared_end)
    if trailing is None:
        return _measure_samples(container, head[container.format_name], start, declared, is_unknown), end
    trailing, next_file = _split_at_next_file(data, trailing, end)
    sample_chunks = [chunk for chunk in trailing if chunk.name == container.samples_name and chunk.size]
    if not sample_chunks:
        return None, next_file
    extents = [container.locate_extent(chunk, None) for chunk in sample_chunks]
    ranges = [(start, declared_end), *((first, first + size) for first, size in extents)]
    sample_format = container.parse_format(head[container.format_name])
    return SampleRanges(ranges, sample_format, "file contains several chunks of samples"), next_file


def _measure_samples(
    container: _Container, format_chunk: _Chunk, start: int, declared: int, is_unknown: bool
) -> SampleRanges | None:
    """Return the samples from `start` to their true end, whose declared size is wrong; None if there are none."""
    true_end = _find_true_end(container, start, declared, is_unknown)
    sample_format = container.parse_format(format_chunk)
    size = (true_end - start) // sample_format.frame_bytes * sample_format.frame_bytes
    if size < sample_format.frame_bytes:
        return None
    rate = sample_format.frame_bytes * sample_format.samplerate
    declared_length = "no length" if is_unknown or not declared else f"{declared / rate:.1f} s"
    note = f"header declares {declared_length}, file contains {size / rate:.1f} s"
    return SampleRanges([(start, start + size)], sample_format, note)


def _split_at_next_file(data: Bytes, chunks: list[_Chunk], end: int) -> tuple[list[_Chunk], int]:
    """Return the chunks before the next sound file, and where it begins; all chunks and `end` if there is none."""
    for index, chunk in enumerate(chunks):
        at = chunk.begin - 8
        if chunk.name in (*_RIFF_NAMES, b"FORM") and is_pcm_container(data[at : at + 16]):
            return chunks[:index], at
    return chunks, end


def _find_true_end(container: _Container, start: int, declared: int, is_unknown: bool) -> int:
    """Return the end of samples whose size is wrong: where the chunks begin that reach the end of the file."""
    data, end = container.data, container.end
    if not is_unknown:
        for wraps in range(1, (end - start) // WRAP + 1):
            wrapped_end = start + declared + wraps * WRAP
            if container.parse_trailing_chunks(wrapped_end) is not None:
                return wrapped_end
    for name in () if container.is_w64 else _TRAILING_NAMES:
        at = end
        while (at := data.rfind(name, max(start, end - TAIL_BYTES), at)) > start:
            if container.parse_trailing_chunks(at):
                return _find_first_trailing_chunk(container, at, start)
    return find_content_end(data, start, end)


def _find_first_trailing_chunk(container: _Container, at: int, start: int) -> int:
    """Return the first of the chunks that reach the end of the file, one of which begins at `at`."""
    for name in _TRAILING_NAMES:
        candidate = container.data.rfind(name, max(start, container.end - TAIL_BYTES), at)
        if candidate > start and container.parse_trailing_chunks(candidate):
            at = candidate
    return at


class _Container:
    """What differs between the containers: byte order, width of sizes, names of chunks."""

    def __init__(self, data: Bytes, begin: int, end: int) -> None:
        self.data, self.end = data, end
        self.is_w64 = data[begin : begin + 16] == _W64_RIFF
        self.is_aiff = data[begin : begin + 4] == b"FORM"
        self.is_aifc = data[begin + 8 : begin + 12] == b"AIFC"
        self.order = ">" if self.is_aiff or data[begin : begin + 4] == b"RIFX" else "<"
        self.header_bytes = 40 if self.is_w64 else 12
        self.samples_name, self.format_name = (b"SSND", b"COMM") if self.is_aiff else (b"data", b"fmt ")

    def iterate_chunks(self, at: int, end: int) -> Iterator[_Chunk]:
        """Yield the chunks from `at` on, including one that reaches beyond the end."""
        while at + (24 if self.is_w64 else 8) <= end:
            chunk = self._parse_chunk(at)
            if chunk is None:
                return
            yield chunk
            at = chunk.end
            at += -at % 8 if self.is_w64 else chunk.size & 1

    def _parse_chunk(self, at: int) -> _Chunk | None:
        name = self.data[at : at + 4]
        if not all(32 <= byte < 127 for byte in name):
            return None
        if not self.is_w64:
            return _Chunk(name, at + 8, int(struct.unpack(f"{self.order}I", self.data[at + 4 : at + 8])[0]))
        if self.data[at + 4 : at + 16] != _W64_TAIL and name not in _W64_OTHER_NAMES:
            return None
        size = int(struct.unpack("<Q", self.data[at + 16 : at + 24])[0]) - 24
        return _Chunk(name, at + 24, max(0, size))

    def parse_trailing_chunks(self, at: int) -> list[_Chunk] | None:
        """Return the chunks from `at` to the end of the file; None if something other than chunks follows."""
        end = max(at, find_content_end(self.data, at, self.end))
        aligned = at + (-at % 8 if self.is_w64 else 0)
        for first in dict.fromkeys((aligned, at + 1)):  # samples of an odd number of bytes may lack their padding
            chunks = list(self.iterate_chunks(first, end))
            last = chunks[-1].end if chunks else first
            rest = self.data[min(last, end) : end] if end - last < TAIL_BYTES else b"\1"
            if last <= end and chunks and (len(rest) < JUNK_BYTES or not any(rest)):
                return chunks
        return [] if end - at < JUNK_BYTES or _is_zero(self.data, at, end) else None

    def locate_extent(self, samples: _Chunk, ds64: _Chunk | None) -> tuple[int, int]:
        """Return the first byte of the samples in a chunk, and their size in bytes according to the header."""
        if self.is_aiff:
            offset = int(struct.unpack(">I", self.data[samples.begin : samples.begin + 4])[0])
            offset = offset if offset < samples.size else 0
            return samples.begin + 8 + offset, max(0, samples.size - 8 - offset)
        if ds64 is not None and samples.size == 0xFFFF_FFFF:
            return samples.begin, int(struct.unpack("<Q", self.data[ds64.begin + 8 : ds64.begin + 16])[0])
        return samples.begin, samples.size

    def parse_format(self, chunk: _Chunk) -> SampleFormat:
        """Return the format of the samples from the chunk that describes it.

        Raises:
            Unusable: libsndfile cannot read samples of this encoding without a header.
        """
        body = self.data[chunk.begin : chunk.end]
        subtype, rate_hz, channels, bits, endian = self._parse_comm(body) if self.is_aiff else self._parse_fmt(body)
        if not subtype or not channels or not rate_hz:
            raise Unusable(CANNOT_REPAIR)
        return SampleFormat(rate_hz, channels, subtype, endian, channels * ((bits + 7) // 8))

    def _parse_fmt(self, body: bytes) -> tuple[str, int, int, int, str]:
        """Return subtype, rate (Hz), channels, bits and byte order from a chunk `fmt ` of WAV."""
        tag, channels, rate_hz, _, _, bits = struct.unpack(f"{self.order}HHIIHH", body[:16])
        if tag == 0xFFFE and len(body) >= 26:
            tag = struct.unpack(f"{self.order}H", body[24:26])[0]
        subtypes = {1: _WAV_PCM.get(bits, ""), 3: {32: "FLOAT", 64: "DOUBLE"}.get(bits, ""), 6: "ALAW", 7: "ULAW"}
        return subtypes.get(tag, ""), rate_hz, channels, bits, "BIG" if self.order == ">" else "LITTLE"

    def _parse_comm(self, body: bytes) -> tuple[str, int, int, int, str]:
        """Return subtype, rate (Hz), channels, bits and byte order from a chunk `COMM` of AIFF."""
        channels, _, bits, exponent, mantissa = struct.unpack(">hIhHQ", body[:18])
        rate_hz = round(mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63))
        kind = body[18:22] if self.is_aifc else b"NONE"
        subtype = _AIFC.get(kind) or (_AIFF_PCM.get(bits, "") if kind in (b"NONE", b"twos", b"sowt") else "")
        bits = {"FLOAT": 32, "DOUBLE": 64, "ULAW": 8, "ALAW": 8}.get(subtype, bits)
        return subtype, rate_hz, channels, bits, "LITTLE" if kind == b"sowt" else "BIG"


def _is_zero(data: Bytes, at: int, end: int) -> bool:
    """Return whether all bytes from `at` to `end` are 0; the first block decides in most files."""
    bounds = [at, *range(at + JUNK_BYTES, end, TAIL_BYTES), end]
    return not any(any(data[begin:stop]) for begin, stop in pairwise(bounds))
