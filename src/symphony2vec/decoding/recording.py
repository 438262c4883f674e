"""A recording becomes a mono waveform at the project's rate, block by block.

N samples. libsndfile decodes what it reads, FFmpeg the rest; the length is what they give until the end of the file,
whatever its header says (see `parts`). What cannot be used raises `Unusable` with the reason: missing, unreadable, no
audio, empty, cut off, not finite, too long.
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

from symphony2vec import synthesis
from symphony2vec.decoding import parts, sources
from symphony2vec.decoding.mixing import Mixer
from symphony2vec.decoding.ranges import FileBytes
from symphony2vec.errors import Unusable, UserError

BLOCK_FRAMES = 1 << 18
COMPLETE = 0.99  # of the length in the header: some MP3 encoders round it
LONGEST_S = synthesis.MAX_DURATION_S


def decode(path: Path, rate_hz: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Decode a recording to mono at `rate_hz`: the mean of its channels, resampled by soxr (HQ), block by block.

    Channels that cancel each other are not mixed: the loudest of them is taken.

    Returns:
        The waveform (N,) float32, and facts: source_rate_hz, source_channels, and a note on what is odd ("" mostly).

    Raises:
        Unusable: the file is missing, unreadable, no audio, empty, cut off, holds NaN, or lasts longer than four hours.
    """

    with opened(path, LONGEST_S) as recording:
        blocks = list(recording.resampled(rate_hz))
        if recording.channel_to_take() is not None:
            blocks = list(recording.resampled(rate_hz))
    return np.concatenate(blocks), recording.facts


@contextmanager
def waveform_on_disk(path: Path, rate_hz: int, longest_s: float) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """The waveform and facts of `decode`, the waveform memory-mapped from a temporary file; for long recordings.

    Raises:
        Unusable: as `decode`, with the limit `longest_s`.
        UserError: there is no room for the temporary file.
    """
    with opened(path, longest_s) as recording:
        with on_disk(recording.resampled(rate_hz)) as wave:
            if recording.channel_to_take() is None:
                yield wave, recording.facts
                return
        with on_disk(recording.resampled(rate_hz)) as wave:
            yield wave, recording.facts


@contextmanager
def opened(path: Path, longest_s: float) -> Iterator[Recording]:
    """An open recording; faults of opening and of reading raise `Unusable` with their reason."""

    try:
        with path.open("rb", buffering=0) as file:
            if not file.read(1):
                raise Unusable("the file is empty")
            data = FileBytes(file)
            yield Recording(file, data, parts.examine(file, data), longest_s)
    except soundfile.LibsndfileError as fault:
        reason = fault.error_string.strip().rstrip(".").removeprefix("Error : ")
        raise Unusable(f"not readable as audio, or damaged: {reason}") from None
    except OSError as fault:
        raise Unusable(f"cannot be opened: {fault.strerror or fault}") from None


class Recording:
    """The recordings of one open file, one after the other.

    samplerate (Hz), channels, promised_s: of the first, and the length that its header promises, where it does.
    is_plain: whether libsndfile reads it as it is.
    """

    def __init__(self, file: BinaryIO, data: FileBytes, contents: parts.Contents, longest_s: float) -> None:
        self._file, self._data, self._parts, self._longest_s = file, data, contents.parts, longest_s
        self._notes = list(contents.notes)
        self._mixer = Mixer()
        first = sources.open_part(file, data, contents.parts[0])
        self.is_plain = contents.parts == [parts.Part()] and isinstance(first, sources.LibsndfileSource)
        self.samplerate, self.channels, self.promised_s = first.samplerate, first.channels, first.promised_s
        first.close()
        if self.promised_s is not None:
            self._refuse_long(self.promised_s)

    @property
    def facts(self) -> dict[str, Any]:
        """source_rate_hz and source_channels of the first recording, and a note on what is odd ("" mostly)."""
        return {
            "source_rate_hz": self.samplerate,
            "source_channels": self.channels,
            "note": "; ".join(self._notes),
        }

    def channel_to_take(self) -> int | None:
        """The channel that is to be decoded instead of the mean, once all was decoded; None where the mean will do."""
        channel = None if self._mixer.channel is not None else self._mixer.better_channel
        if channel is not None:
            self._notes.append(self._mixer.note(self.channels))
            self._mixer = Mixer(channel)
        return channel

    def mono_blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """One channel in blocks (n,) float32, each with its own rate in Hz."""
        lasts_s = 0.0
        for part in self._parts:
            source = sources.open_part(self._file, self._data, part)
            part_s = 0.0
            try:
                for rate_hz, block in source.blocks(BLOCK_FRAMES):
                    part_s += len(block) / rate_hz
                    self._refuse_long(lasts_s + part_s)
                    yield rate_hz, self._mixer.mono(block, rate_hz)
            finally:
                source.close()
            if source.promised_s is not None and part_s < COMPLETE * source.promised_s:
                raise Unusable(f"cut off: {part_s:.1f} of {source.promised_s:.1f} s can be decoded")
            lasts_s += part_s
            if source.note and source.note not in self._notes:
                self._notes.append(source.note)
        if not lasts_s:
            raise Unusable("holds no samples: it is empty, or cut off near its start")

    def resampled(self, rate_hz: int) -> Iterator[np.ndarray]:
        """Blocks (n,) float32 of one channel at `rate_hz`."""

        resampler, own_rate_hz = None, 0
        nothing = np.zeros(0, np.float32)
        for block_rate_hz, mono in self.mono_blocks():
            if resampler is None or block_rate_hz != own_rate_hz:
                if resampler is not None:
                    yield resampler.resample_chunk(nothing, last=True)
                own_rate_hz = block_rate_hz
                resampler = soxr.ResampleStream(own_rate_hz, rate_hz, 1, dtype="float32")
            yield resampler.resample_chunk(mono)
        if resampler is not None:
            yield resampler.resample_chunk(nothing, last=True)

    def _refuse_long(self, lasts_s: float) -> None:
        if lasts_s <= self._longest_s:
            return
        if self._longest_s < 3600.0:
            raise Unusable(f"the sound lasts more than {self._longest_s:.0f} s, the limit")
        raise Unusable(
            f"lasts {lasts_s / 3600:.1f} hours; the limit is {self._longest_s / 3600:.0f}: cut it into movements"
        )


@contextmanager
def on_disk(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """All blocks as one waveform (N,) float32, memory-mapped from a temporary file that is gone afterwards.

    Raises:
        UserError: the file cannot be written: that is no fault of the sound.
    """

    try:
        with tempfile.TemporaryFile(prefix="symphony2vec-") as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype=np.float32).data)
            file.flush()
            yield np.memmap(file, np.float32, mode="r") if file.tell() else np.zeros(0, np.float32)
    except OSError as fault:
        raise UserError(
            f"no room for a decoded sound among the temporary files ({fault.strerror or fault}); free some, or set "
            "TMPDIR to another folder"
        ) from None
