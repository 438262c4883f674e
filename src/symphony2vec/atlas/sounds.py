"""The sound of every dot: each clip cut from its recording, as a small MP3.

The name of a sound is a digest of everything it depends on: the recording, its size and modification time, the times of
the clip, and the encoding. Existing sounds are not cut again.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import soxr

from symphony2vec import parallel
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable, UserError
from symphony2vec.features import inversion as listening

CLIPS_PER_JOB = 64
LONGEST_S = 24 * 3600.0
SHORTEST_S = 0.1  # a shorter end of a recording is padded to this


@dataclass(frozen=True)
class Cut:
    """One clip of a recording, and the file to write it to."""

    start_s: float
    end_s: float
    target: Path


@dataclass(frozen=True)
class Job:
    """Clips of one recording."""

    recording: Path
    cuts: tuple[Cut, ...]


def make(clips: pd.DataFrame, collection: Path, folder: Path) -> tuple[list[str], dict[int, str]]:
    """Write the sound of every clip into `folder`, on all cores.

    Args:
        clips: rows of the collection.
        collection: its file; a relative path of a recording is looked up from the current folder, then from its folder.
        folder: to write to.

    Returns:
        The file name of every row ("" if it has no sound), and by row the reason why it has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [""] * len(clips)
    silent: dict[int, str] = {}
    missing: dict[Path, list[Cut]] = defaultdict(list)
    rows: dict[Path, list[int]] = defaultdict(list)
    for path, group in clips.groupby("path", sort=False):
        try:
            recording, state = _find_recording(Path(str(path)), collection)
        except Unusable as reason:
            silent |= dict.fromkeys((int(row) for row in group.index), str(reason))
            continue
        for row, start_s, end_s in zip(group.index, group["start_s"], group["end_s"], strict=True):
            target = folder / _file_name(state, float(start_s), float(end_s))
            rows[target].append(int(row))
            if len(rows[target]) == 1 and not target.is_file():
                missing[recording].append(Cut(float(start_s), float(end_s), target))
    reasons = _cut_all(missing)
    for target, target_rows in rows.items():
        for row in target_rows:
            if target in reasons:
                silent[row] = reasons[target]
            else:
                names[row] = target.name
    return names, silent


def cut(job: Job) -> dict[Path, str]:
    """Write the sounds of one recording; return by file the reason of each that could not be written.

    Raises:
        Unusable: the recording cannot be read at all; the message is the reason.
    """
    reasons = {}
    with _seekable(job.recording) as file:
        for clip in job.cuts:
            try:
                _write(clip.target, _read(file, clip), file.samplerate)
            except Unusable as reason:
                reasons[clip.target] = str(reason)
    return reasons


class _DecodedFile:
    """A decoded wave (N,) with the part of the interface of `soundfile.SoundFile` that `_read` uses."""

    def __init__(self, wave: np.ndarray, samplerate: int) -> None:
        self._wave, self.samplerate, self.frames = wave, samplerate, len(wave)
        self._first = 0

    def seek(self, first: int) -> None:
        """Move to a sample."""
        self._first = first

    def read(self, count: int, dtype: str, always_2d: bool) -> np.ndarray:
        """Return the next samples (count, 1)."""
        return self._wave[self._first : self._first + count, None].astype(dtype)


@contextmanager
def _seekable(recording: Path) -> Iterator[Any]:
    """Open a recording for seeking; one that libsndfile cannot read directly is decoded to disk first."""
    with decoding.open_recording(recording, LONGEST_S) as source:
        is_plain, rate_hz = source.is_plain, source.samplerate
    if not is_plain:
        with decoding.decode_to_disk(recording, rate_hz, LONGEST_S) as (wave, _):
            yield _DecodedFile(wave, rate_hz)
        return
    try:
        with soundfile.SoundFile(recording) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise Unusable(f"cannot be read as audio: {_reason(error)}") from None


def _cut_all(missing: dict[Path, list[Cut]]) -> dict[Path, str]:
    """Cut the missing clips; return by file the reason of each that could not be written."""
    jobs = [
        Job(recording, tuple(cuts[first : first + CLIPS_PER_JOB]))
        for recording, cuts in missing.items()
        for first in range(0, len(cuts), CLIPS_PER_JOB)
    ]
    reasons: dict[Path, str] = {}
    for index, result in parallel.spread(cut, jobs, "sounds", "recording", backend=parallel.PROCESSES) if jobs else ():
        if isinstance(result, Unusable):
            failed = [clip.target for clip in jobs[index].cuts if not clip.target.is_file()]
            reasons |= dict.fromkeys(failed, str(result))
        else:
            reasons |= result
    return reasons


def _find_recording(path: Path, collection: Path) -> tuple[Path, str]:
    """Return the location of a recording, and a text that identifies the file and its present state."""
    reason = "the recording is missing"
    for place in (path, collection.parent / path):
        try:
            status = place.stat()
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                reason = f"the recording cannot be opened: {error.strerror}"
            continue
        if place.is_file():
            return place, f"{place.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
        reason = "the recording is not a file"
    raise Unusable(reason)


def _file_name(state: str, start_s: float, end_s: float) -> str:
    dependencies = [state, start_s, end_s, listening.COMPRESSION, listening.PEAK_DBFS, listening.RATES_HZ]
    text = json.dumps(dependencies).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:20] + listening.SUFFIX


def _read(file: Any, clip: Cut) -> np.ndarray:
    """Return the clip as (N,) float32 from an open recording, averaged over its channels."""
    first = round(clip.start_s * file.samplerate)
    if first >= file.frames:
        raise Unusable("the recording ends before this clip: it has been shortened since it was embedded")
    file.seek(first)
    wave = file.read(round((clip.end_s - clip.start_s) * file.samplerate), dtype="float32", always_2d=True)
    if not len(wave):
        raise Unusable("nothing can be decoded at this clip: the recording is damaged")
    if not np.isfinite(wave).all():
        raise Unusable("the recording holds samples that are not finite")
    mono: np.ndarray = wave.mean(axis=1)
    return mono


def _write(path: Path, wave: np.ndarray, rate_hz: int) -> None:
    """Write (N,) samples as MP3: at a rate of that format, attenuated against clipping, padded to a playable length."""
    mp3_hz = max(rate for rate in listening.RATES_HZ if rate <= max(rate_hz, listening.RATES_HZ[0]))
    if mp3_hz != rate_hz:
        wave = soxr.resample(wave, rate_hz, mp3_hz)
    max_peak = 10.0 ** (listening.PEAK_DBFS / 20.0)
    peak = float(np.abs(wave).max(initial=0.0))
    scaled = wave * (max_peak / peak) if peak > max_peak else wave
    padded = np.pad(scaled, (0, max(0, round(SHORTEST_S * mp3_hz) - len(scaled)))).astype(np.float32)
    try:
        listening.write_mp3(path, padded, mp3_hz)
    except soundfile.LibsndfileError as error:
        raise UserError(f"cannot write {path.parent}: {_reason(error)}; is the disk full?") from None


def _reason(error: Any) -> str:
    """Return libsndfile's message without its full stop."""
    return str(error.error_string).strip().rstrip(".")
