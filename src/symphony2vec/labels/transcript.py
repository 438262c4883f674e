"""The notes of a movement on the time axis of its FLAC, with the instruments that the score names.

The first note of a score begins at 0 s, and so does its sound; but the stage `audio` trims what lies audio.silence_db
below the movement's peak from the beginning, by whole hops (`audio.loudness.ends`), without recording how much. The
trimmed duration is measured: the opening is rendered again and aligned with the FLAC. Apart from gain and 16-bit
quantisation both are the same wave, so their correlation is 1 at the right lag and well below 1 at any other.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from symphony2vec import synthesis
from symphony2vec.audio.loudness import HOP_SAMPLES
from symphony2vec.corpus import catalogue
from symphony2vec.errors import Unusable
from symphony2vec.project import atomic_file

OPENINGS_S = (4.0, 64.0)  # rendered again; the first suffices unless more than half of it was trimmed
MIN_CORRELATION = 0.9


@dataclass(frozen=True)
class Transcript:
    """N notes as arrays (N,), sorted by onset: onset and end in seconds, MIDI pitch and program, number of the part."""

    onset_s: np.ndarray
    end_s: np.ndarray
    pitch: np.ndarray
    program: np.ndarray
    part: np.ndarray


@dataclass(frozen=True)
class TranscriptionTask:
    """A score, the FLAC rendered from it and how it was rendered, and the file to write its notes to."""

    path: Path
    sha256: str
    sound: Path
    target: Path
    performance: synthesis.Performance
    start: float | None = None  # first and last bar, counted from 1
    end: float | None = None


def write(task: TranscriptionTask) -> int:
    """Write the notes of a score to the target of its task; return the number of notes.

    Raises:
        Unusable: the score has changed or cannot be read, or the FLAC does not begin as the score does.
    """
    transcript = transcribe(task)
    with atomic_file(task.target) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **vars(transcript))
    return len(transcript.onset_s)


def read(path: Path) -> Transcript:
    """Read a file that `write` has written."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Transcript(**arrays)
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise Unusable(f"{path} cannot be read ({error}); remove it, and `dvc repro labels` writes it again") from None


def transcribe(task: TranscriptionTask) -> Transcript:
    """Return the notes of a score on the time axis of its FLAC; raises the errors of `write`."""
    try:
        if catalogue.checksum(task.path) != task.sha256:
            raise Unusable("the file has changed since it was catalogued; run `symphony2vec corpus` again")
    except OSError as error:
        raise Unusable(f"cannot be opened: {error.strerror or error}") from None
    interpretation = task.performance.interpretation
    notes = synthesis.read_notes(task.path, replace(interpretation, orchestration="score"), task.start, task.end)
    rendered = notes
    if interpretation.orchestration == "strings":
        rendered = [replace(note, program=synthesis.STRINGS) for note in notes]
    trimmed_s = measure_trimmed_s(rendered, task.sound, task.performance)
    return Transcript(
        # Rounded, so that floating-point error does not move an onset on the border of two clips into the earlier one
        np.round([note.onset_s - trimmed_s for note in notes], 4),
        np.round([note.end_s - trimmed_s for note in notes], 4),
        np.array([note.pitch for note in notes], np.uint8),
        np.array([note.program for note in notes], np.uint8),
        np.array([note.part for note in notes], np.uint16),
    )


def measure_trimmed_s(notes: Sequence[synthesis.Note], sound: Path, performance: synthesis.Performance) -> float:
    """Return how many seconds of the sound of the notes were trimmed before the first sample of the FLAC.

    Raises:
        Unusable: the FLAC is not the sound of these notes, or cannot be read.
    """
    try:
        with soundfile.SoundFile(sound) as file:
            rate_hz = file.samplerate
            wave = file.read(int(OPENINGS_S[-1] / 2.0 * rate_hz), dtype="float32")
    except (soundfile.LibsndfileError, OSError) as error:
        raise Unusable(f"its sound cannot be read: {error}") from None
    for duration_s in OPENINGS_S:
        opening = _render_opening(notes, duration_s, rate_hz, performance)
        lag, correlation = _find_lag(opening, wave[: len(opening) // 2])
        if correlation >= MIN_CORRELATION:
            return float(lag / rate_hz)
    raise Unusable("its sound in out/audio does not begin as the score does; run `dvc repro -f audio`")


def _render_opening(
    notes: Sequence[synthesis.Note], duration_s: float, rate_hz: int, performance: synthesis.Performance
) -> np.ndarray:
    """Render the first seconds of the notes, untrimmed: (duration_s * rate_hz,) float32."""
    samples = int(duration_s * rate_hz)
    opening = [note for note in notes if note.onset_s < duration_s]
    stereo, renderer_rate_hz = synthesis.perform(opening, performance)
    mono = soxr.resample(stereo.mean(axis=1), renderer_rate_hz, rate_hz)[:samples]
    return np.pad(mono, (0, samples - len(mono)))


def _find_lag(opening: np.ndarray, wave: np.ndarray) -> tuple[int, float]:
    """Return the lag of `wave` in `opening`, in samples (whole hops), with the highest correlation, and that."""
    best_lag, best_correlation = 0, 0.0
    for lag in range(0, len(opening) - len(wave) + 1, HOP_SAMPLES):
        segment = opening[lag : lag + len(wave)]
        norms = float(np.linalg.norm(segment)) * float(np.linalg.norm(wave))
        correlation = float(segment @ wave) / norms if norms else 0.0
        if correlation > best_correlation:
            best_lag, best_correlation = lag, correlation
    return best_lag, best_correlation
