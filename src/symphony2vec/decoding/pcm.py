"""Where the samples lie in a file of uncompressed sound: WAV, RF64, BW64, Wave64 and AIFF.

Recorders write the size of the samples when they stop, and a 32-bit size wraps at 4 GB: sizes of 0, of all ones, or
much too small are common. A size is believed where another chunk, or nothing, follows the samples that it promises.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from symphony2vec.decoding.ranges import Bytes, Range, without_tags
from symphony2vec.errors import Unusable

JUNK_BYTES = 4096  # what follows the samples and is no chunk counts as sound from this length on
TAIL_BYTES = 1 << 20  # chunks after samples of unknown size are looked for within the end of the file
WRAP = 1 << 32
# What programs write that stream to a pipe and cannot know the size: all ones, or the largest signed number.
_PLACEHOLDERS = (range(0x7FFF_F000, 0x8000_0001), range(0xFFFF_F000, 0x1_0000_0000), range(1 << 62, 1 << 64))
_TAGS_AFTER = (
    b"LIST",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"iXML",
    b"_PMX",
    b"cue ",
    b"smpl",
    b"fact",
    b"PEAK",
    b"JUNK",
    b"afsp",
)
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # the end of the GUID of "wave", "fmt ", "data" and most others
_PCM = {8: "PCM_U8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}
_AIFF_PCM = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}
_AIFC = {b"fl32": "FLOAT", b"FL32": "FLOAT", b"fl64": "DOUBLE", b"FL64": "DOUBLE", b"ulaw": "ULAW", b"alaw": "ALAW"}


@dataclass(frozen=True)
class Coding:
    """How samples without a header are to be read, in soundfile's words."""

    samplerate: int
    channels: int
    subtype: str
    endian: str
    frame_bytes: int


@dataclass(frozen=True)
class Samples:
    """The byte ranges that hold the samples of one file, and their coding; `note` says what its header says."""

    ranges: list[Range]
    coding: Coding
    note: str


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    begin: int
    size: int


def is_pcm_container(head: bytes) -> bool:
    """Whether a file begins as WAV, RF64, BW64, Wave64 or AIFF does."""
    riff = head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"
    return riff or head[:16] == _W64_RIFF or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"))


def locate(data: Bytes, begin: int, end: int) -> tuple[Samples | None, int]:
    """Find the samples of the sound file that begins at `begin`, where its header does not give them rightly.

    Args:
        data: the bytes of the whole file (bytes or `FileBytes`).
        begin: the first byte of this sound file.
        end: the first byte that is not the file's.

    Returns:
        The samples, or None where the header is right (or promises more than there is: the file is cut off); and the
        byte at which another sound file begins, else `end`.

    Raises:
        Unusable: it is cut off, or the header is wrong and the coding is not one that can be read without it.
    """
    style = _Style(data, begin)
    head: dict[bytes, _Chunk] = {}
    for chunk in style.chunks(begin + style.first, end):
        head.setdefault(chunk.name, chunk)
        if chunk.name == style.samples_name:
            break
    samples = head.get(style.samples_name)
    if samples is None or style.format_name not in head:
        return None, end
    start, promised = style.extent(samples, head.get(b"ds64"))
    promised_end = start + promised
    unknown = any(promised in sizes for sizes in _PLACEHOLDERS) and promised_end > end
    if promised_end > end and not unknown:
        if style.wide or b"ds64" in head:  # of which libsndfile says nothing
            share = max(0, end - start) / promised
            raise Unusable(f"cut off: {share:.0%} of the sound that its header promises is there")
        return None, end
    for at in (promised_end, promised_end + 1):
        if not unknown and is_pcm_container(data[at : min(at + 16, end)]):
            return None, at
    following = None if unknown else style.following(promised_end, end)
    if following is not None:
        following, joined = _split_joined(data, following, end)
        extents = [style.extent(chunk, None) for chunk in following if chunk.name == style.samples_name and chunk.size]
        if not extents:
            return None, joined
        ranges = [(start, promised_end), *((first, first + size) for first, size in extents)]
        return Samples(ranges, style.coding(head[style.format_name]), "it holds several blocks of samples"), joined
    true_end = _true_end(style, start, promised, end, unknown)
    coding = style.coding(head[style.format_name])
    true_end = start + (true_end - start) // coding.frame_bytes * coding.frame_bytes
    if true_end - start < coding.frame_bytes:
        return None, end
    rate = coding.frame_bytes * coding.samplerate
    claim = "no length" if unknown or not promised else f"{promised / rate:.1f} s"
    return Samples(
        [(start, true_end)], coding, f"its header gives {claim}; {(true_end - start) / rate:.1f} s are there"
    ), end


def _split_joined(data: Bytes, chunks: list[_Chunk], end: int) -> tuple[list[_Chunk], int]:
    for number, chunk in enumerate(chunks):
        at = chunk.begin - 8
        if chunk.name in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM") and is_pcm_container(data[at : at + 16]):
            return chunks[:number], at
    return chunks, end


def _true_end(style: _Style, start: int, promised: int, end: int, unknown: bool) -> int:
    """The end of samples whose size is wrong: where chunks follow that reach the end of the file, else its end."""
    if not unknown:
        for wraps in range(1, (end - start) // WRAP + 1):
            if style.following(start + promised + wraps * WRAP, end) is not None:
                return start + promised + wraps * WRAP
    for name in _TAGS_AFTER:
        at = style.data.rfind(name, max(start, end - TAIL_BYTES), end)
        while at > start:
            if style.wide is False and style.following(at, end):
                return _first_of_chain(style, at, start, end)
            at = style.data.rfind(name, max(start, end - TAIL_BYTES), at)
    return without_tags(style.data, start, end)


def _first_of_chain(style: _Style, at: int, start: int, end: int) -> int:
    """The first of the chunks that reach the end of the file, the last of which begins at `at`."""
    first = at
    for name in _TAGS_AFTER:
        other = style.data.rfind(name, max(start, end - TAIL_BYTES), first)
        if other > start and style.following(other, end):
            first = other
    return first


class _Style:
    """What differs between the containers: the order of bytes, the width of sizes, the names of chunks."""

    def __init__(self, data: Bytes, begin: int) -> None:
        self.data = data
        self.wide = data[begin : begin + 16] == _W64_RIFF
        self.aiff = data[begin : begin + 4] == b"FORM"
        self.compressed = data[begin + 8 : begin + 12] == b"AIFC"
        self.order = ">" if self.aiff or data[begin : begin + 4] == b"RIFX" else "<"
        self.first = 40 if self.wide else 12
        self.samples_name, self.format_name = (b"SSND", b"COMM") if self.aiff else (b"data", b"fmt ")

    def chunks(self, at: int, end: int) -> Iterator[_Chunk]:
        """The chunks from `at` on, also those that reach beyond the end."""
        while at + (24 if self.wide else 8) <= end:
            chunk = self._chunk(at)
            if chunk is None:
                return
            yield chunk
            at = chunk.begin + chunk.size
            at += -at % 8 if self.wide else chunk.size & 1

    def _chunk(self, at: int) -> _Chunk | None:
        name = self.data[at : at + 4]
        if not all(32 <= byte < 127 for byte in name):
            return None
        if self.wide:
            if self.data[at + 4 : at + 16] != _W64_TAIL and name not in (
                b"levl",
                b"list",
                b"junk",
                b"bext",
                b"mrkr",
                b"summ",
            ):
                return None
            size = int(struct.unpack("<Q", self.data[at + 16 : at + 24])[0]) - 24
            return _Chunk(name, at + 24, max(0, size))
        return _Chunk(name, at + 8, int(struct.unpack(f"{self.order}I", self.data[at + 4 : at + 8])[0]))

    def following(self, at: int, end: int) -> list[_Chunk] | None:
        """The chunks from `at` to the end; None where what is there is something else than chunks."""
        end = max(at, without_tags(self.data, at, end))
        aligned = at + (-at % 8 if self.wide else 0)
        for first in dict.fromkeys((aligned, at + 1)):  # samples of an odd number of bytes may lack their padding
            chunks = list(self.chunks(first, end))
            last = chunks[-1].begin + chunks[-1].size if chunks else first
            rest = self.data[min(last, end) : end] if end - last < TAIL_BYTES else b"\1"
            if last <= end and chunks and (len(rest) < JUNK_BYTES or not any(rest)):
                return chunks
        if end - at < JUNK_BYTES:
            return []
        return [] if not any(self.data[at : at + JUNK_BYTES]) and not _holds_sound(self.data, at, end) else None

    def extent(self, samples: _Chunk, ds64: _Chunk | None) -> tuple[int, int]:
        """The first byte of the samples of a chunk, and their number of bytes after the header."""
        if self.aiff:
            offset = int(struct.unpack(">I", self.data[samples.begin : samples.begin + 4])[0])
            offset = offset if offset < samples.size else 0
            return samples.begin + 8 + offset, max(0, samples.size - 8 - offset)
        if ds64 is not None and samples.size == 0xFFFF_FFFF:
            return samples.begin, int(struct.unpack("<Q", self.data[ds64.begin + 8 : ds64.begin + 16])[0])
        return samples.begin, samples.size

    def coding(self, chunk: _Chunk) -> Coding:
        """The coding of the samples, of the chunk that describes it."""
        body = self.data[chunk.begin : chunk.begin + chunk.size]
        subtype, rate, channels, bits, endian = self._of_aiff(body) if self.aiff else self._of_wav(body)
        if not subtype or not channels or not rate:
            raise Unusable("the length in its header is wrong, and its coding cannot be read without it; write it anew")
        return Coding(rate, channels, subtype, endian, channels * ((bits + 7) // 8))

    def _of_wav(self, body: bytes) -> tuple[str, int, int, int, str]:
        tag, channels, rate, _, _, bits = struct.unpack(f"{self.order}HHIIHH", body[:16])
        if tag == 0xFFFE and len(body) >= 26:
            tag = struct.unpack(f"{self.order}H", body[24:26])[0]
        subtypes = {1: _PCM.get(bits, ""), 3: {32: "FLOAT", 64: "DOUBLE"}.get(bits, ""), 6: "ALAW", 7: "ULAW"}
        return subtypes.get(tag, ""), rate, channels, bits, "BIG" if self.order == ">" else "LITTLE"

    def _of_aiff(self, body: bytes) -> tuple[str, int, int, int, str]:
        channels, _, bits, exponent, mantissa = struct.unpack(">hIhHQ", body[:18])
        rate = round(mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63))
        kind = body[18:22] if self.compressed else b"NONE"
        subtype = _AIFC.get(kind) or (_AIFF_PCM.get(bits, "") if kind in (b"NONE", b"twos", b"sowt") else "")
        bits = {"FLOAT": 32, "DOUBLE": 64, "ULAW": 8, "ALAW": 8}.get(subtype, bits)
        return subtype, rate, channels, bits, "LITTLE" if kind == b"sowt" else "BIG"


def _holds_sound(data: Bytes, at: int, end: int) -> bool:
    """Whether any byte is not 0."""
    return any(any(data[first : min(first + TAIL_BYTES, end)]) for first in range(at, end, TAIL_BYTES))
