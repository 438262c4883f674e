"""The ten seconds behind every dot: each clip cut from its recording, as a small MP3.

A sound's name is a key made of all that it was made from: recording, its size and time of change, where the clip begins
and ends, how it is encoded. A sound that is there already is not made again.
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

TOGETHER = 64  # clips of one recording that a worker cuts at a time
LONGEST_S = 24 * 3600.0
SHORTEST_S = 0.1  # a shorter end of a recording is padded to this


@dataclass(frozen=True)
class Cut:
    """One clip of a recording and the file it becomes."""

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

    Returns the file's name of every row ("" where there is none), and by row the reason why there is none.
    A relative path is looked for from the current folder, then from that of the collection.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [""] * len(clips)
    silent: dict[int, str] = {}
    waiting: dict[Path, list[Cut]] = defaultdict(list)
    rows: dict[Path, list[int]] = defaultdict(list)
    for path, own in clips.groupby("path", sort=False):
        try:
            recording, stamp = _found(Path(str(path)), collection)
        except Unusable as reason:
            silent |= dict.fromkeys((int(row) for row in own.index), str(reason))
            continue
        for row, start_s, end_s in zip(own.index, own["start_s"], own["end_s"], strict=True):
            target = folder / _name(stamp, float(start_s), float(end_s))
            rows[target].append(int(row))
            if len(rows[target]) == 1 and not target.is_file():
                waiting[recording].append(Cut(float(start_s), float(end_s), target))
    reasons = _cut_all(waiting)
    for target, own_rows in rows.items():
        for row in own_rows:
            if target in reasons:
                silent[row] = reasons[target]
            else:
                names[row] = target.name
    return names, silent


def cut(job: Job) -> dict[Path, str]:
    """Write the sounds of one recording; returns by file the reason of each that could not be made.

    Raises:
        Unusable: nothing of the recording can be read; the message is the reason.
    """
    reasons = {}
    with _seekable(job.recording) as file:
        for one in job.cuts:
            try:
                _write(one.target, _read(file, one), file.samplerate)
            except Unusable as reason:
                reasons[one.target] = str(reason)
    return reasons


class _Decoded:
    """A decoded wave (N,) with what `_read` asks of a `soundfile.SoundFile`."""

    def __init__(self, wave: np.ndarray, samplerate: int) -> None:
        self._wave, self.samplerate, self.frames = wave, samplerate, len(wave)
        self._first = 0

    def seek(self, first: int) -> None:
        """Go to a sample."""
        self._first = first

    def read(self, count: int, dtype: str, always_2d: bool) -> np.ndarray:
        """Samples (count, 1) from there on."""
        return self._wave[self._first : self._first + count, None].astype(dtype)


@contextmanager
def _seekable(recording: Path) -> Iterator[Any]:
    """An open recording in which one can seek; what libsndfile does not read as it is is decoded whole first."""

    with decoding.open_recording(recording, LONGEST_S) as opened:
        is_plain, rate_hz = opened.is_plain, opened.samplerate
    if not is_plain:
        with decoding.decode_to_disk(recording, rate_hz, LONGEST_S) as (wave, _):
            yield _Decoded(wave, rate_hz)
        return
    try:
        with soundfile.SoundFile(recording) as file:
            yield file
    except soundfile.LibsndfileError as fault:
        raise Unusable(f"cannot be read as audio: {_reason(fault)}") from None


def _cut_all(waiting: dict[Path, list[Cut]]) -> dict[Path, str]:
    """Cut what waits, recording by recording; returns by file the reason of each that could not be made."""
    jobs = [
        Job(recording, tuple(cuts[first : first + TOGETHER]))
        for recording, cuts in waiting.items()
        for first in range(0, len(cuts), TOGETHER)
    ]
    reasons: dict[Path, str] = {}
    for index, result in parallel.spread(cut, jobs, "sounds", "recording", backend=parallel.PROCESSES) if jobs else ():
        if isinstance(result, Unusable):
            failed = [one.target for one in jobs[index].cuts if not one.target.is_file()]
            reasons |= dict.fromkeys(failed, str(result))
        else:
            reasons |= result
    return reasons


def _found(path: Path, collection: Path) -> tuple[Path, str]:
    """Where the recording lies, and what tells it from others and from itself at other times."""
    reason = "the recording is missing"
    for place in (path, collection.parent / path):
        try:
            state = place.stat()
        except OSError as fault:
            if not isinstance(fault, FileNotFoundError):
                reason = f"the recording cannot be opened: {fault.strerror}"
            continue
        if place.is_file():
            return place, f"{place.resolve()}\0{state.st_size}\0{state.st_mtime_ns}"
        reason = "the recording is no file"
    raise Unusable(reason)


def _name(stamp: str, start_s: float, end_s: float) -> str:
    made_from = [stamp, start_s, end_s, listening.COMPRESSION, listening.PEAK_DBFS, listening.RATES_HZ]
    text = json.dumps(made_from).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:20] + listening.SUFFIX


def _read(file: Any, one: Cut) -> np.ndarray:
    """The clip as (N,) float32 from an open recording, the mean of its channels."""

    first = round(one.start_s * file.samplerate)
    if first >= file.frames:
        raise Unusable("the recording ends before this clip: it has become shorter since it was embedded")
    file.seek(first)
    wave = file.read(round((one.end_s - one.start_s) * file.samplerate), dtype="float32", always_2d=True)
    if not len(wave):
        raise Unusable("nothing can be decoded where this clip is: the recording is damaged")
    if not np.isfinite(wave).all():
        raise Unusable("the recording holds samples that are not finite")
    mono: np.ndarray = wave.mean(axis=1)
    return mono


def _write(path: Path, wave: np.ndarray, rate_hz: int) -> None:
    """Write (N,) samples as MP3: at a rate that MP3 has, softer where it would clip, and not too short to play."""

    own_hz = max(rate for rate in listening.RATES_HZ if rate <= max(rate_hz, listening.RATES_HZ[0]))
    if own_hz != rate_hz:
        wave = soxr.resample(wave, rate_hz, own_hz)
    loudest = 10.0 ** (listening.PEAK_DBFS / 20.0)
    peak = float(np.abs(wave).max(initial=0.0))
    scaled = wave * (loudest / peak) if peak > loudest else wave
    padded = np.pad(scaled, (0, max(0, round(SHORTEST_S * own_hz) - len(scaled)))).astype(np.float32)
    try:
        listening.write_mp3(path, padded, own_hz)
    except soundfile.LibsndfileError as fault:
        raise UserError(f"cannot write {path.parent}: {_reason(fault)}; is the disk full?") from None


def _reason(fault: Any) -> str:
    """What libsndfile says, without its full stop."""
    return str(fault.error_string).strip().rstrip(".")
