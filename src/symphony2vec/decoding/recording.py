"""Decode recordings to mono waveforms at a given sample rate, block by block.

Axes: N samples, n samples of a block. libsndfile decodes the formats it supports, FFmpeg the others. The duration is
what they deliver up to the end of the file, whatever its header declares (see `parts`). A file that cannot be used
raises `Unusable` with the reason: missing, unreadable, no audio, empty, truncated, not finite, too long.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from symphony2vec.decoding import parts, sources
from symphony2vec.decoding.mixing import Downmixer
from symphony2vec.decoding.ranges import FileBytes
from symphony2vec.errors import Unusable, UserError

BLOCK_FRAMES = 1 << 18
COMPLETE_SHARE = 0.99  # of the declared duration: some MP3 encoders round it
MAX_DURATION_S = 4 * 3600.0  # of a recording that is decoded, and of a score that is rendered


def decode(path: Path, rate_hz: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Decode a recording to mono at `rate_hz`: the mean of its channels, resampled by soxr (HQ).

    If the channels cancel each other, the loudest of them is used instead of the mean.

    Args:
        path: a sound file.
        rate_hz: sample rate of the result.

    Returns:
        The waveform (N,) float32, full scale 1, and its facts: source_rate_hz, source_channels, and a note on what is
        unusual about the file ("" in most cases).

    Raises:
        Unusable: the file is missing, unreadable, no audio, empty, truncated, not finite, or longer than four hours.

    Examples:
        >>> import tempfile
        >>> import soundfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     soundfile.write(Path(folder) / "a.wav", np.full((44100, 2), 0.1), 44100)
        ...     wave, facts = decode(Path(folder) / "a.wav", 22050)
        >>> wave.shape, facts
        ((22050,), {'source_rate_hz': 44100, 'source_channels': 2, 'note': ''})
    """
    with open_recording(path, MAX_DURATION_S) as recording:
        blocks = list(recording.resample_blocks(rate_hz))
        if recording.switch_to_single_channel():
            blocks = list(recording.resample_blocks(rate_hz))
    return np.concatenate(blocks), recording.facts


@contextmanager
def decode_to_disk(path: Path, rate_hz: int, max_duration_s: float) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Decode as `decode`, with the waveform memory-mapped from a temporary file; for long recordings.

    Raises:
        Unusable: as `decode`, with the limit `max_duration_s`.
        UserError: there is no room for the temporary file.
    """
    with open_recording(path, max_duration_s) as recording:
        with memory_map(recording.resample_blocks(rate_hz)) as wave:
            if not recording.switch_to_single_channel():
                yield wave, recording.facts
                return
        with memory_map(recording.resample_blocks(rate_hz)) as wave:
            yield wave, recording.facts


@contextmanager
def open_recording(path: Path, max_duration_s: float) -> Iterator[Recording]:
    """Open a recording; errors on opening and reading raise `Unusable` with the reason."""
    try:
        with path.open("rb", buffering=0) as file:
            if not file.read(1):
                raise Unusable("the file is empty")
            data = FileBytes(file)
            yield Recording(file, data, parts.examine_file(file, data), max_duration_s)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".").removeprefix("Error : ")
        raise Unusable(f"not readable as audio, or damaged: {reason}") from None
    except OSError as error:
        raise Unusable(f"cannot be opened: {error.strerror or error}") from None


class Recording:
    """The audio of an open file; if it contains several recordings, they are read one after the other.

    Attributes:
        samplerate: sample rate in Hz of the first recording.
        channels: number of channels of the first recording.
        declared_s: duration in seconds that the header of the first recording declares; None if it does not.
        is_plain: whether libsndfile reads the file as it is.
    """

    def __init__(self, file: BinaryIO, data: FileBytes, layout: parts.FileLayout, max_duration_s: float) -> None:
        self._file, self._data, self._parts, self._max_duration_s = file, data, layout.parts, max_duration_s
        self._notes = list(layout.notes)
        self._downmixer = Downmixer()
        first = sources.open_part(file, data, layout.parts[0])
        self.is_plain = layout.parts == [parts.Part()] and isinstance(first, sources.LibsndfileSource)
        self.samplerate, self.channels, self.declared_s = first.samplerate, first.channels, first.declared_s
        first.close()
        if self.declared_s is not None:
            self._check_duration(self.declared_s)

    @property
    def facts(self) -> dict[str, Any]:
        """Rate and channels of the first recording, and a note on what is unusual ("" in most cases)."""
        return {
            "source_rate_hz": self.samplerate,
            "source_channels": self.channels,
            "note": "; ".join(self._notes),
        }

    def switch_to_single_channel(self) -> bool:
        """Select the loudest channel if the channels cancelled in what was decoded; return whether to decode again."""
        channel = None if self._downmixer.channel is not None else self._downmixer.replacement_channel
        if channel is None:
            return False
        self._notes.append(self._downmixer.describe_cancellation(self.channels))
        self._downmixer = Downmixer(channel)
        return True

    def read_mono_blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (rate in Hz, block (n,) float32) of one channel; the rate may change between recordings."""
        total_s = 0.0
        for part in self._parts:
            source = sources.open_part(self._file, self._data, part)
            part_s = 0.0
            try:
                for rate_hz, block in source.read_blocks(BLOCK_FRAMES):
                    part_s += len(block) / rate_hz
                    self._check_duration(total_s + part_s)
                    yield rate_hz, self._downmixer.downmix_block(block, rate_hz)
            finally:
                source.close()
            if source.declared_s is not None and part_s < COMPLETE_SHARE * source.declared_s:
                raise Unusable(f"truncated: {part_s:.1f} of {source.declared_s:.1f} s can be decoded")
            total_s += part_s
            if source.note and source.note not in self._notes:
                self._notes.append(source.note)
        if not total_s:
            raise Unusable("contains no samples: the file is empty, or truncated near its start")

    def resample_blocks(self, rate_hz: int) -> Iterator[np.ndarray]:
        """Yield blocks (n,) float32 of one channel at `rate_hz`."""
        resampler, source_rate_hz = None, 0
        empty = np.zeros(0, np.float32)
        for block_rate_hz, mono in self.read_mono_blocks():
            if resampler is None or block_rate_hz != source_rate_hz:
                if resampler is not None:
                    yield resampler.resample_chunk(empty, last=True)
                source_rate_hz = block_rate_hz
                resampler = soxr.ResampleStream(source_rate_hz, rate_hz, 1, dtype="float32")
            yield resampler.resample_chunk(mono)
        if resampler is not None:
            yield resampler.resample_chunk(empty, last=True)

    def _check_duration(self, duration_s: float) -> None:
        """Refuse a duration above the limit."""
        if duration_s <= self._max_duration_s:
            return
        if self._max_duration_s < 3600.0:
            raise Unusable(f"longer than the limit of {self._max_duration_s:.0f} s")
        raise Unusable(
            f"lasts {duration_s / 3600:.1f} hours; the limit is {self._max_duration_s / 3600:.0f} hours: split it into "
            "movements"
        )


@contextmanager
def memory_map(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Write blocks to a temporary file and yield them as one memory-mapped waveform (N,) float32.

    Raises:
        UserError: the temporary file cannot be written.
    """
    try:
        with tempfile.TemporaryFile(prefix="symphony2vec-") as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype=np.float32).data)
            file.flush()
            yield np.memmap(file, np.float32, mode="r") if file.tell() else np.zeros(0, np.float32)
    except OSError as error:
        raise UserError(
            f"no room for decoded audio among the temporary files ({error.strerror or error}); free some space, or set "
            "TMPDIR to another folder"
        ) from None
