"""Open recordings that give their samples block by block, whatever decodes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from symphony2vec.audio import ffmpeg
from symphony2vec.audio.parts import Part
from symphony2vec.audio.ranges import FileBytes, Ranges
from symphony2vec.errors import Unusable

if TYPE_CHECKING:
    import numpy as np

_LENGTHS = re.compile(r"^\s*(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
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
_REST_BYTES = 1 << 16
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
    import soundfile

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
    if sound.format in _EXAMINED or sound.subtype not in _BYTES:
        return
    held = sound.frames * sound.channels * _BYTES[sound.subtype]
    if "truncated" in sound.extra_info:
        sound.close()
        raise Unusable("cut off: less than its header promises is there")
    if len(data) - held > _REST_BYTES:
        sound.close()
        raise Unusable(f"its header gives {held} bytes of sound, {len(data)} are there: write it anew, or split it")


def _view(file: BinaryIO, part: Part) -> Any:
    file.seek(0)
    return Ranges(file, part.ranges) if part.ranges else file
