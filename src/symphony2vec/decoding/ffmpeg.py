"""Sound that libsndfile does not read, by FFmpeg (PyAV): AAC, ALAC, WMA, WavPack, APE, TTA, Matroska, DSD and others.

The container is told from the first bytes and named to FFmpeg, which so never guesses: among its guesses are lists of
other files and of addresses, which it would open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import av
import numpy as np

from symphony2vec.decoding.ranges import Bytes, id3v2_size, without_tags
from symphony2vec.errors import Unusable

_EBML, ASF = b"\x1a\x45\xdf\xa3", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MAGIC = {
    ASF: "asf", b"wvpk": "wv", b"MAC ": "ape", b"TTA1": "tta", b"MPCK": "mpc8", b"MP+": "mpc", _EBML: "matroska",
    b"DSD ": "dsf", b"FRM8": "iff", b"tBaK": "tak", b"OggS": "ogg", b"fLaC": "flac", b"riff": "w64", b"RIFF": "wav",
    b"RF64": "wav", b"BW64": "wav", b"caff": "caf", b"\x0b\x77": "ac3",
}  # fmt: skip
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Containers whose header counts what they hold. The others (raw AAC, MP3) let FFmpeg guess from the bit rate.
_COUNTED = ("mov", "asf", "wv", "ape", "tta", "mpc8", "mpc", "matroska", "dsf", "iff", "tak", "ogg", "wav", "caf")
_PROTECTED = ("drms", "enca", "drmi")
_JOINABLE = ("asf", "wv", "ape", "tta", "tak", "matroska", "mpc8", "dsf")  # FFmpeg stops at the end of the first
_RAW = ("aac", "ac3")
_REST_BYTES = 1 << 26
_RAW_LEFT_BYTES = 1 << 14
_ZEROS_BYTES = 1 << 20
_MOST_TAGS = 4
_NEARLY = 0.99  # of the promised length
_LEAST_LOST = 0.005  # of all packets: more than that is a damaged file


def container(data: Bytes) -> str:
    """FFmpeg's name of the container of a file, from its first bytes; "" where it is not known."""
    at = 0
    for _ in range(_MOST_TAGS):
        head = data[at : at + 16]
        # some programs put zeros before the first frame of an MP3
        skipped = _zeros(data[at : at + _ZEROS_BYTES]) if head and not any(head) else id3v2_size(data, at)
        if not skipped:
            break
        at += skipped
    head = data[at : at + 16]
    if head[4:8] in _ATOMS:
        return "mov"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0xF6 == 0xF0 else "mp3" if head[1] >> 1 & 3 else ""
    return ""


def _zeros(head: bytes) -> int:
    return len(head) - len(head.lstrip(b"\0"))


class FfmpegSource:
    """An open recording, decoded by FFmpeg.

    The samples that encoders put before the sound (priming of AAC, MP3 and Opus) are left out where the file counts
    them, as every player does; less than one packet of padding may remain after its end.
    """

    def __init__(self, file: Any, name: str, whole_media: bool = False, counted: bool = True) -> None:
        """Open a file-like object.

        Args:
            file: binary, with read and seek.
            name: of the container; see `container`.
            whole_media: play all samples of an MP4 file, also those that its edit list leaves out.
            counted: False where its header is known to be wrong.

        Raises:
            Unusable: it cannot be opened, holds no audio, or is protected.
        """

        self._file, self._name = file, name
        options = {"ignore_editlist": "1"} if whole_media else {}
        try:
            self._opened = av.open(file, format=name, options=options, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError) as fault:
            raise Unusable(_reason(fault)) from None
        stream = self._opened.streams.best("audio")
        if stream is None:
            self.close()
            raise Unusable("holds no audio")
        self._stream: Any = stream
        coding = self._stream.codec_context
        if coding is None or coding.codec_tag in _PROTECTED:
            self.close()
            protected = coding is not None and coding.codec_tag in _PROTECTED
            raise Unusable("protected against copying (DRM)" if protected else "not readable as audio: unknown coding")
        coding.thread_count = 1
        self.samplerate, self.channels = int(coding.sample_rate or 0), int(coding.channels or 0)
        if not self.samplerate or not self.channels:
            self.close()
            raise Unusable("holds no samples: it is empty, or cut off near its start")
        self.promised_s = self._promised_s() if counted and name in _COUNTED else None
        self.end_byte, self.note = 0, ""

    def _promised_s(self) -> float | None:
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return self._opened.duration / 1e6 if self._opened.duration else None

    def close(self) -> None:
        """Free what FFmpeg holds."""
        self._opened.close()

    def blocks(self, frames: int) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks (n, channels) float32 of about so many frames, each with its rate in Hz.

        Raises:
            Unusable: packets are damaged, other than the last.
        """

        pending: list[np.ndarray] = []
        count, kind = 0, (self.samplerate, self.channels)
        for rate_hz, samples in self._frames():
            if pending and (count >= frames or (rate_hz, samples.shape[1]) != kind):
                yield kind[0], np.concatenate(pending)
                pending, count = [], 0
            kind = rate_hz, samples.shape[1]
            pending.append(samples)
            count += len(samples)
        if pending:
            yield kind[0], np.concatenate(pending)

    def _frames(self) -> Iterator[tuple[int, np.ndarray]]:
        packets, lost, last_lost, lasts_s = 0, 0, False, 0.0
        for packet in self._packets():
            packets += 1
            if packet.pos is not None:
                self.end_byte = max(self.end_byte, packet.pos + packet.size)
            try:
                decoded = packet.decode()
                last_lost = last_lost and not packet.size
            except av.error.FFmpegError:
                lost, last_lost = lost + 1, True
                continue
            for frame in decoded:
                lasts_s += frame.samples / frame.sample_rate
                yield frame.sample_rate, _samples(frame)
        if last_lost:
            lost -= 1
            self.note = "its last packet is incomplete and was left out"
        if self.promised_s is None or lasts_s >= _NEARLY * self.promised_s:  # else it is cut off
            self._refuse_rest()
        if lost > _LEAST_LOST * packets:
            raise Unusable(f"damaged: {lost} of {packets} packets cannot be decoded")

    def _refuse_rest(self) -> None:
        """A second recording behind the first, and what FFmpeg did not come to, is never left out silently."""
        magic = next((magic for magic, name in _MAGIC.items() if name == self._name and len(magic) >= 4), None)
        self._file.seek(0, 2)
        size = self._file.tell()
        if not self.end_byte or size <= self.end_byte:
            return
        self._file.seek(self.end_byte)
        rest = self._file.read(min(size - self.end_byte, _REST_BYTES)) or b""
        if self._name in _JOINABLE and magic is not None and magic in rest:
            raise Unusable("another recording follows the first in the same file; split it")
        if self._name in _RAW and without_tags(rest, 0, len(rest)) > _RAW_LEFT_BYTES:
            raise Unusable(f"damaged: nothing can be read from byte {self.end_byte} of {size} on")

    def _packets(self) -> Iterator[Any]:
        """All packets that can be read; a fault of reading ends them, and the missing length tells of it."""

        with suppress(av.error.FFmpegError):
            yield from self._opened.demux(self._stream)


def mov_lengths(file: Any) -> tuple[float, float]:
    """Seconds of an MP4 file that its edit list plays, and that are there; (0, 0) where it cannot be opened."""
    lengths = []
    for whole_media in (False, True):
        file.seek(0)
        try:
            source = FfmpegSource(file, "mov", whole_media)
        except Unusable:
            return 0.0, 0.0
        lengths.append(source.promised_s or 0.0)
        source.close()
    return lengths[0], lengths[1]


def _samples(frame: Any) -> np.ndarray:
    """The samples (n, channels) float32 of a frame, full scale 1."""

    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        values = values.astype(np.float32) - np.float32(128.0)
        return np.asarray(values / np.float32(128.0))
    if values.dtype.kind == "i":
        return np.asarray(values.astype(np.float32) * np.float32(2.0 ** (1 - 8 * values.dtype.itemsize)))
    return np.asarray(values, dtype=np.float32)


def _reason(fault: Exception) -> str:
    text = getattr(fault, "strerror", None) or str(fault)
    return f"not readable as audio, or damaged: {text}"
