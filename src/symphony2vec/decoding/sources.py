"""Open recordings that give their samples block by block, whatever decodes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile

from symphony2vec.decoding import ffmpeg
from symphony2vec.decoding.parts import Part
from symphony2vec.decoding.ranges import FileBytes, Ranges
from symphony2vec.errors import Unusable

_LENGTHS = re.compile(r"^\s*(?:data|SSND|BODY|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
# Containers whose bytes `parts` has looked at; of the others, old ones of uncompressed sound, a long rest is refused.
_EXAMINED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC", "OGG", "MP3", "CAF")
_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}
_PACKED = ("SDS",)  # more bytes than the samples have: seven bits each
_REST_BYTES = 1 << 16
_MAGIC_BYTES, _NIST_BYTES = 8, 1024  # what the files of one format begin with; the header of a NIST file
_UNCOUNTED = 0xFFFF_F000 >> 3  # all ones, divided by the bytes of a frame
_NO_LENGTH = 1 << 40  # frames: libsndfile's words for "unknown" lie above


class Source(Protocol):
    """An open recording: its rate (Hz), channels, and the length in seconds that its header promises, if it does.

    note: what is odd about it, once all was decoded; "" where nothing is.
    """

    samplerate: int
    channels: int
    promised_s: float | None
    note: str

    def blocks(self, frames: int) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks (n, channels) float32 of about so many frames, each with its rate in Hz."""

    def close(self) -> None:
        """Free what it holds."""


class LibsndfileSource:
    """An open recording, decoded by libsndfile."""

    note = ""

    def __init__(self, sound: Any, is_counted: bool) -> None:
        """Take an open `soundfile.SoundFile`; it is closed where it is refused.

        Raises:
            Unusable: it is empty, or its header promises more than there is.
        """
        self._sound = sound
        self.samplerate, self.channels = int(sound.samplerate), int(sound.channels)
        self.promised_s: float | None = None
        if is_counted and sound.frames < _NO_LENGTH:
            self.promised_s = sound.frames / sound.samplerate
        try:
            self._refuse_odd_lengths()
        except Unusable:
            self.close()
            raise

    def _refuse_odd_lengths(self) -> None:
        if self._sound.frames == 0:
            raise Unusable("holds no samples: it is empty, or cut off near its start")
        lengths = _LENGTHS.search(self._sound.extra_info)
        if lengths and int(lengths[1]) < 0xFFFFFFF0 and int(lengths[1]) > int(lengths[2]):
            share = int(lengths[2]) / int(lengths[1])
            raise Unusable(f"cut off: {share:.0%} of the sound that its header promises is there")

    def blocks(self, frames: int) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks (n, channels) float32 of so many frames, each with its rate in Hz."""
        while True:
            block = self._sound.read(frames, dtype="float32", always_2d=True)
            if not len(block):
                return
            yield self.samplerate, block

    def close(self) -> None:
        """Free what libsndfile holds."""
        self._sound.close()


def open_part(file: BinaryIO, data: FileBytes, part: Part) -> Source:
    """Open one recording of a file: by libsndfile where it reads it, else by FFmpeg.

    Raises:
        Unusable: neither reads it, or it is empty or cut off.
        soundfile.LibsndfileError: libsndfile does not read it, and FFmpeg has no name for it.
    """

    if part.container:
        return ffmpeg.FfmpegSource(_view(file, part), part.container, part.whole_media, part.is_counted)
    if part.coding is not None:
        coding = part.coding
        raw = soundfile.SoundFile(
            _view(file, part), "r", coding.samplerate, coding.channels, coding.subtype, coding.endian, "RAW"
        )
        return LibsndfileSource(raw, is_counted=True)
    file.seek(0)
    try:
        whole = None if part.ranges else file.fileno()
        sound = soundfile.SoundFile(_view(file, part) if whole is None else whole, closefd=False)
    except soundfile.LibsndfileError:
        container = ffmpeg.container(data[part.ranges[0][0] :] if part.ranges else data)
        if not container:
            raise
        return ffmpeg.FfmpegSource(_view(file, part), container, part.whole_media, part.is_counted)
    source = LibsndfileSource(sound, part.is_counted)
    _refuse_rest(sound, data)
    return source


def _refuse_rest(sound: Any, data: FileBytes) -> None:
    """Refuse a file of an old format that holds less or more than its header promises, or a second file."""
    if sound.format in _EXAMINED or sound.subtype not in _BYTES:
        return
    frame_bytes = sound.channels * _BYTES[sound.subtype]
    promised = _promised_frames(sound, data)
    held = (sound.frames if promised is None else promised) * frame_bytes
    reason = ""
    if "truncated" in sound.extra_info:
        reason = "cut off: less than its header promises is there"
    elif promised is not None and promised > sound.frames:
        reason = f"cut off: {sound.frames / promised:.0%} of the sound that its header promises is there"
    elif len(data) - held > _REST_BYTES and sound.format not in _PACKED:
        reason = f"its header gives {held} bytes of sound, {len(data)} are there: write it anew, or split it"
    elif len(set(data[:_MAGIC_BYTES])) > 2 and data.find(data[:_MAGIC_BYTES], _MAGIC_BYTES) >= 0:
        reason = "another recording follows the first in the same file; split it"
    if reason:
        sound.close()
        raise Unusable(reason)


def _promised_frames(sound: Any, data: FileBytes) -> int | None:
    """The frames that the header of an old format counts and libsndfile passes over; None where it counts none."""
    counted, frame_bytes = None, 1
    if sound.format in ("AVR", "MPC2K"):
        counted = re.search(r"^\s*Frames\s*:\s*(\d+)", sound.extra_info, re.MULTILINE)
    elif sound.format == "NIST":
        counted = re.search(r"^sample_count -i (\d+)", data[:_NIST_BYTES].decode("latin-1"), re.MULTILINE)
    elif sound.format == "MAT5":
        sizes = list(re.finditer(r"Size : (\d+)", sound.extra_info))
        counted, frame_bytes = (sizes[-1] if sizes else None), sound.channels * _BYTES[sound.subtype]
    frames = int(counted[1]) // frame_bytes if counted else 0
    return frames if 0 < frames < _UNCOUNTED else None


def _view(file: BinaryIO, part: Part) -> Any:
    file.seek(0)
    return Ranges(file, part.ranges) if part.ranges else file
