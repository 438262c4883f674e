"""Open one recording of a file as a source that yields its samples block by block, whichever library decodes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile

from symphony2vec.decoding import ffmpeg
from symphony2vec.decoding.parts import Part
from symphony2vec.decoding.ranges import FileBytes, RangeReader
from symphony2vec.errors import Unusable

_LENGTHS = re.compile(r"^\s*(?:data|SSND|BODY|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
# Containers that `parts` examines. The others are old uncompressed formats, in which a long rest is refused here.
_EXAMINED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC", "OGG", "MP3", "CAF")
_SAMPLE_BYTES = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1,
}  # fmt: skip
_PACKED = ("SDS",)  # stores more bytes than the samples have: seven bits in each
_MAX_REST_BYTES = 1 << 16
_MAGIC_BYTES, _NIST_HEADER_BYTES = 8, 1024
_MAX_DECLARED_FRAMES = 0xFFFF_F000 >> 3  # a placeholder of all ones, divided by the bytes of a frame
_UNKNOWN_FRAMES = 1 << 40  # libsndfile's values for an unknown length lie above


class Source(Protocol):
    """An open recording.

    Attributes:
        samplerate: sample rate in Hz.
        channels: number of channels.
        declared_s: duration in seconds according to the header; None if it gives none.
        note: what is unusual about it, once everything is decoded; "" otherwise.
    """

    samplerate: int
    channels: int
    declared_s: float | None
    note: str

    def read_blocks(self, frames: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (rate in Hz, block (n, channels) float32) with n of about `frames`."""

    def close(self) -> None:
        """Free the decoder's resources."""


class LibsndfileSource:
    """An open recording, decoded by libsndfile; see `Source`."""

    note = ""

    def __init__(self, sound: Any, trust_duration: bool) -> None:
        """Take over an open `soundfile.SoundFile`, which is closed if it is refused.

        Raises:
            Unusable: it is empty, or its header declares more than the file contains.
        """
        self._sound = sound
        self.samplerate, self.channels = int(sound.samplerate), int(sound.channels)
        has_duration = trust_duration and sound.frames < _UNKNOWN_FRAMES
        self.declared_s: float | None = sound.frames / sound.samplerate if has_duration else None
        if sound.frames == 0:
            self._refuse("contains no samples: the file is empty, or truncated near its start")
        lengths = _LENGTHS.search(sound.extra_info)
        if lengths and int(lengths[1]) < 0xFFFFFFF0 and int(lengths[1]) > int(lengths[2]):
            share = int(lengths[2]) / int(lengths[1])
            self._refuse(f"truncated: {share:.0%} of the audio declared in the header is present")

    def _refuse(self, reason: str) -> None:
        self.close()
        raise Unusable(reason)

    def read_blocks(self, frames: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (rate in Hz, block (n, channels) float32) with n of `frames` except for the last block."""
        while len(block := self._sound.read(frames, dtype="float32", always_2d=True)):
            yield self.samplerate, block

    def close(self) -> None:
        """Free libsndfile's resources."""
        self._sound.close()


def open_part(file: BinaryIO, data: FileBytes, part: Part) -> Source:
    """Open one recording of a file with libsndfile, or with FFmpeg if libsndfile does not read it.

    Args:
        file: the open file.
        data: its bytes.
        part: the recording; see `symphony2vec.decoding.parts`.

    Raises:
        Unusable: neither library reads it, or it is empty or truncated.
        soundfile.LibsndfileError: libsndfile does not read it, and its container is unknown to FFmpeg.
    """
    file.seek(0)
    view: Any = RangeReader(file, part.ranges) if part.ranges else file
    if part.container:
        return ffmpeg.FfmpegSource(view, part.container, part.ignore_edit_list, part.trust_duration)
    if part.sample_format is not None:
        raw = part.sample_format
        sound = soundfile.SoundFile(view, "r", raw.samplerate, raw.channels, raw.subtype, raw.endian, "RAW")
        return LibsndfileSource(sound, trust_duration=True)
    try:
        sound = soundfile.SoundFile(view if part.ranges else file.fileno(), closefd=False)
    except soundfile.LibsndfileError:
        container = ffmpeg.detect_container(data[part.ranges[0][0] :] if part.ranges else data)
        if not container:
            raise
        view.seek(0)
        return ffmpeg.FfmpegSource(view, container, part.ignore_edit_list, part.trust_duration)
    source = LibsndfileSource(sound, part.trust_duration)
    _check_old_format(sound, data)
    return source


def _check_old_format(sound: Any, data: FileBytes) -> None:
    """Refuse a file of an old format with less or more audio than its header declares, or with a second recording."""
    if sound.format in _EXAMINED or sound.subtype not in _SAMPLE_BYTES:
        return
    declared = _read_declared_frames(sound, data)
    declared_bytes = (sound.frames if declared is None else declared) * sound.channels * _SAMPLE_BYTES[sound.subtype]
    reason = ""
    if "truncated" in sound.extra_info:
        reason = "truncated: less audio is present than declared in the header"
    elif declared is not None and declared > sound.frames:
        reason = f"truncated: {sound.frames / declared:.0%} of the audio declared in the header is present"
    elif len(data) - declared_bytes > _MAX_REST_BYTES and sound.format not in _PACKED:
        reason = f"header declares {declared_bytes} bytes of audio, file has {len(data)}: save it anew, or split it"
    elif len(set(data[:_MAGIC_BYTES])) > 2 and data.find(data[:_MAGIC_BYTES], _MAGIC_BYTES) >= 0:
        reason = ffmpeg.SECOND_RECORDING
    if reason:
        sound.close()
        raise Unusable(reason)


def _read_declared_frames(sound: Any, data: FileBytes) -> int | None:
    """Return the frames that the header of an old format declares and libsndfile ignores; None if it declares none."""
    match, frame_bytes = None, 1
    if sound.format in ("AVR", "MPC2K"):
        match = re.search(r"^\s*Frames\s*:\s*(\d+)", sound.extra_info, re.MULTILINE)
    elif sound.format == "NIST":
        match = re.search(r"^sample_count -i (\d+)", data[:_NIST_HEADER_BYTES].decode("latin-1"), re.MULTILINE)
    elif sound.format == "MAT5":
        sizes = list(re.finditer(r"Size : (\d+)", sound.extra_info))
        match, frame_bytes = (sizes[-1] if sizes else None), sound.channels * _SAMPLE_BYTES[sound.subtype]
    frames = int(match[1]) // frame_bytes if match else 0
    return frames if 0 < frames < _MAX_DECLARED_FRAMES else None
