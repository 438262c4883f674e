"""Decode with FFmpeg (PyAV) what libsndfile does not read: AAC, ALAC, WMA, WavPack, APE, TTA, Matroska, DSD and others.

The container is detected from the first bytes and passed to FFmpeg by name. Its own detection is never used, because
it includes playlists and addresses, which FFmpeg would open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import av
import numpy as np

from symphony2vec.decoding.ranges import Bytes, find_content_end, read_id3v2_size
from symphony2vec.errors import Unusable

SECOND_RECORDING = "another recording follows the first in the same file; split the file"
_EBML, ASF = b"\x1a\x45\xdf\xa3", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MAGIC = {
    ASF: "asf", b"wvpk": "wv", b"MAC ": "ape", b"TTA1": "tta", b"MPCK": "mpc8", b"MP+": "mpc", _EBML: "matroska",
    b"DSD ": "dsf", b"FRM8": "iff", b"tBaK": "tak", b"OggS": "ogg", b"fLaC": "flac", b"riff": "w64", b"RIFF": "wav",
    b"RF64": "wav", b"BW64": "wav", b"caff": "caf", b"\x0b\x77": "ac3",
}  # fmt: skip
_MP4_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Containers whose header gives the duration. For the others (raw AAC, MP3) FFmpeg estimates it from the bit rate.
_WITH_DURATION = (
    "mov", "asf", "wv", "ape", "tta", "mpc8", "mpc", "matroska", "dsf", "iff", "tak", "ogg", "wav", "caf",
)  # fmt: skip
_PROTECTED = ("drms", "enca", "drmi")
_JOINABLE = ("asf", "wv", "ape", "tta", "tak", "matroska", "mpc8", "dsf")  # FFmpeg stops at the end of the first
_RAW = ("aac", "ac3")
_MAX_SCAN_BYTES = 1 << 26
_MAX_RAW_REST_BYTES = 1 << 14
_MAX_LEADING_ZEROS = 1 << 20
_MAX_LEADING_TAGS = 4
_COMPLETE_SHARE = 0.99  # of the declared duration
_MAX_LOST_SHARE = 0.005  # of all packets; with more the file counts as damaged


def detect_container(data: Bytes) -> str:
    """Return FFmpeg's name of the container of a file from its first bytes; "" if it is unknown.

    Examples:
        >>> detect_container(b"fLaC" + bytes(12))
        'flac'
    """
    at = 0
    for _ in range(_MAX_LEADING_TAGS):
        head = data[at : at + 16]
        if head and not any(head):  # some programs write zeros before the first frame of an MP3
            zeros = data[at : at + _MAX_LEADING_ZEROS]
            skipped = len(zeros) - len(zeros.lstrip(b"\0"))
        else:
            skipped = read_id3v2_size(data, at)
        if not skipped:
            break
        at += skipped
    head = data[at : at + 16]
    if head[4:8] in _MP4_ATOMS:
        return "mov"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0xF6 == 0xF0 else "mp3" if head[1] >> 1 & 3 else ""
    return ""


class FfmpegSource:
    """An open recording, decoded by FFmpeg; see `symphony2vec.decoding.sources.Source`.

    Samples that encoders insert before the audio (priming of AAC, MP3 and Opus) are dropped if the file declares them,
    as every player does; less than one packet of padding may remain at the end.
    """

    def __init__(self, file: Any, container: str, ignore_edit_list: bool = False, trust_duration: bool = True) -> None:
        """Open a file-like object.

        Args:
            file: binary, with read and seek.
            container: its name; see `detect_container`.
            ignore_edit_list: decode all samples of an MP4 file, also those that its edit list excludes.
            trust_duration: False if its header is known to be wrong.

        Raises:
            Unusable: it cannot be opened, contains no audio, or is protected.
        """
        self._file, self._container = file, container
        options = {"ignore_editlist": "1"} if ignore_edit_list else {}
        try:
            self._demuxer = av.open(file, format=container, options=options, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Unusable(f"not readable as audio, or damaged: {reason}") from None
        try:
            self._stream = self._select_stream()
        except Unusable:
            self.close()
            raise
        context = self._stream.codec_context
        self.samplerate, self.channels = int(context.sample_rate), int(context.channels)
        self.declared_s = self._read_duration() if trust_duration and container in _WITH_DURATION else None
        self.end_byte, self.note = 0, ""

    def _select_stream(self) -> Any:
        """Return the audio stream of the file, checked to be decodable."""
        stream: Any = self._demuxer.streams.best("audio")
        if stream is None:
            raise Unusable("contains no audio")
        context = stream.codec_context
        if context is None:
            raise Unusable("not readable as audio: unknown codec")
        if context.codec_tag in _PROTECTED:
            raise Unusable("protected against copying (DRM)")
        context.thread_count = 1
        if not context.sample_rate or not context.channels:
            raise Unusable("contains no samples: the file is empty, or truncated near its start")
        return stream

    def _read_duration(self) -> float | None:
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return self._demuxer.duration / 1e6 if self._demuxer.duration else None

    def close(self) -> None:
        """Free FFmpeg's resources."""
        self._demuxer.close()

    def read_blocks(self, frames: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (rate in Hz, block (n, channels) float32) with n of about `frames`.

        Raises:
            Unusable: packets other than the last are damaged.
        """
        pending: list[np.ndarray] = []
        count, kind = 0, (self.samplerate, self.channels)
        for rate_hz, samples in self._decode_frames():
            if pending and (count >= frames or (rate_hz, samples.shape[1]) != kind):
                yield kind[0], np.concatenate(pending)
                pending, count = [], 0
            kind = rate_hz, samples.shape[1]
            pending.append(samples)
            count += len(samples)
        if pending:
            yield kind[0], np.concatenate(pending)

    def _decode_frames(self) -> Iterator[tuple[int, np.ndarray]]:
        packets, lost, is_last_lost, decoded_s = 0, 0, False, 0.0
        for packet in self._demux_packets():
            packets += 1
            if packet.pos is not None:
                self.end_byte = max(self.end_byte, packet.pos + packet.size)
            try:
                frames = packet.decode()
                is_last_lost = is_last_lost and not packet.size
            except av.error.FFmpegError:
                lost, is_last_lost = lost + 1, True
                continue
            for frame in frames:
                decoded_s += frame.samples / frame.sample_rate
                yield frame.sample_rate, _convert_samples(frame)
        if is_last_lost:
            lost -= 1
            self.note = "incomplete last packet was dropped"
        if self.declared_s is None or decoded_s >= _COMPLETE_SHARE * self.declared_s:  # otherwise it is truncated
            self._check_trailing_data()
        if lost > _MAX_LOST_SHARE * packets:
            raise Unusable(f"damaged: {lost} of {packets} packets cannot be decoded")

    def _demux_packets(self) -> Iterator[Any]:
        """Yield packets until a read error, which shows as a duration shorter than declared."""
        with suppress(av.error.FFmpegError):
            yield from self._demuxer.demux(self._stream)

    def _check_trailing_data(self) -> None:
        """Refuse a file with a second recording, or with data that FFmpeg did not reach."""
        magic = next((magic for magic, name in _MAGIC.items() if name == self._container and len(magic) >= 4), None)
        size = self._file.seek(0, 2)
        if not self.end_byte or size <= self.end_byte:
            return
        self._file.seek(self.end_byte)
        rest = self._file.read(min(size - self.end_byte, _MAX_SCAN_BYTES)) or b""
        if self._container in _JOINABLE and magic is not None and magic in rest:
            raise Unusable(SECOND_RECORDING)
        if self._container in _RAW and find_content_end(rest, 0, len(rest)) > _MAX_RAW_REST_BYTES:
            raise Unusable(f"damaged: nothing can be read after byte {self.end_byte} of {size}")


def read_mov_durations(file: Any) -> tuple[float, float]:
    """Return the durations in seconds of an MP4 file with and without its edit list; (0, 0) if it cannot be opened."""
    durations = []
    for ignore_edit_list in (False, True):
        file.seek(0)
        try:
            source = FfmpegSource(file, "mov", ignore_edit_list)
        except Unusable:
            return 0.0, 0.0
        durations.append(source.declared_s or 0.0)
        source.close()
    return durations[0], durations[1]


def _convert_samples(frame: Any) -> np.ndarray:
    """Return the samples (n, channels) float32 of a frame, full scale 1."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        values = values.astype(np.float32) - np.float32(128.0)
        return np.asarray(values / np.float32(128.0))
    if values.dtype.kind == "i":
        return np.asarray(values.astype(np.float32) * np.float32(2.0 ** (1 - 8 * values.dtype.itemsize)))
    return np.asarray(values, dtype=np.float32)
