"""A recording becomes a mono waveform at the project's rate, block by block.

N samples. What cannot be used raises `Unusable` with the reason: missing, unreadable, no audio, empty, cut off, not
finite, too long.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec import synthesis
from symphony2vec.errors import Unusable, UserError

if TYPE_CHECKING:
    import numpy as np

BLOCK_FRAMES = 1 << 18
OGG_PAGE_BYTES = 65307  # the longest that Ogg allows
COMPLETE = 0.99  # of the length in the header: some MP3 encoders round it
LONGEST_S = synthesis.LONGEST_S


def decode(path: Path, rate_hz: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Decode a recording to mono at `rate_hz`: the mean of its channels, resampled by soxr (HQ), block by block.

    Returns:
        The waveform (N,) float32, and what was found: source_rate_hz, source_channels.

    Raises:
        Unusable: the file is missing, unreadable, no audio, empty, cut off, holds NaN, or lasts longer than four hours.
    """
    import numpy as np

    with opened(path, LONGEST_S) as file:
        blocks = list(resampled(file, rate_hz))
        found = {"source_rate_hz": file.samplerate, "source_channels": file.channels}
    return np.concatenate(blocks), found


@contextmanager
def opened(path: Path, longest_s: float) -> Iterator[Any]:
    """A recording as a `soundfile.SoundFile`; faults of opening and of reading raise `Unusable` with their reason."""
    import soundfile

    try:
        _refuse_cut_ogg(path)
        with path.open("rb") as read, soundfile.SoundFile(read.fileno(), closefd=False) as file:
            _refuse_odd_lengths(file, longest_s)
            yield file
    except soundfile.LibsndfileError as fault:
        reason = fault.error_string.strip().rstrip(".").removeprefix("Error : ")
        raise Unusable(f"not readable as audio, or damaged: {reason}") from None
    except OSError as fault:
        raise Unusable(f"cannot be opened: {fault.strerror or fault}") from None


def resampled(file: Any, rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks (n,) float32 of an opened recording: the mean of its channels at `rate_hz`."""
    import numpy as np
    import soxr

    resampler = soxr.ResampleStream(file.samplerate, rate_hz, 1, dtype="float32")
    read = 0
    for mono in mono_blocks(file):
        read += len(mono)
        yield resampler.resample_chunk(mono)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if read < COMPLETE * file.frames:
        raise Unusable(f"cut off: {read / file.samplerate:.1f} of {file.frames / file.samplerate:.1f} s can be decoded")


@contextmanager
def on_disk(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """All blocks as one waveform (N,) float32, memory-mapped from a temporary file that is gone afterwards.

    Raises:
        UserError: the file cannot be written: that is no fault of the sound.
    """
    import numpy as np

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


def _refuse_cut_ogg(path: Path) -> None:
    """An Ogg file that was cut off decodes without a fault; the mark on its last page alone shows it to be whole."""
    with path.open("rb") as file:
        if file.read(4) == b"":
            raise Unusable("the file is empty")
        file.seek(0)
        if file.read(4) != b"OggS":
            return
        file.seek(max(0, path.stat().st_size - 2 * OGG_PAGE_BYTES))
        end = file.read()
    page = end[end.rfind(b"OggS") :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(lengths) == 0 or len(page) < 27 + len(lengths) + sum(lengths) or not page[5] & 4:
        raise Unusable("cut off: the last page of its Ogg stream is missing")


def _refuse_odd_lengths(file: Any, longest_s: float) -> None:
    if file.frames == 0:
        raise Unusable("holds no samples: it is empty, or cut off near its start")
    if file.frames / file.samplerate > longest_s:
        raise Unusable(
            f"lasts {file.frames / file.samplerate / 3600:.1f} hours; the limit is {longest_s / 3600:.0f}: "
            "cut it into movements"
        )
    promised = re.search(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if promised and int(promised[1]) < 0xFFFFFFF0 and int(promised[1]) > int(promised[2]):
        share = int(promised[2]) / int(promised[1])
        raise Unusable(f"cut off: {share:.0%} of the sound that its header promises is there")


def mono_blocks(file: Any) -> Iterator[np.ndarray]:
    """The mean of the channels of an opened recording, in blocks (n,) float32 at its own rate."""
    import numpy as np

    while True:
        block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        if not len(block):
            return
        # numpy's mean over two columns takes forty times as long as their sum
        mono = (block[:, 0] + block[:, 1]) * np.float32(0.5) if block.shape[1] == 2 else block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise Unusable("some of its samples are not numbers (NaN or infinite)")
        yield mono
