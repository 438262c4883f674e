"""The notes of a movement in seconds of its FLAC, with the instruments that the score names.

The first note of a score begins at 0 s, and so does its sound; but `audio` cuts what lies audio.silence_db below the
movement's peak off the beginning, by whole hops (`audio.loudness.find_sound_bounds`), and keeps no record of it. How
much was cut is measured: the opening is played again, and the FLAC lies where it equals it. Both are the same wave but
for their gain and the FLAC's 16 bits, so that their correlation is 1 at the right place, and well below it at any
other.
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

OPENINGS_S = (4.0, 64.0)  # played again: the shorter one finds what was cut unless that is more than its half
SAME = 0.9  # least correlation with the FLAC


@dataclass(frozen=True)
class Transcript:
    """N notes as arrays (N,), sorted by onset: onset and end in seconds of the FLAC, MIDI pitch, program,
    and the number of the part."""

    onset_s: np.ndarray
    end_s: np.ndarray
    pitch: np.ndarray
    program: np.ndarray
    part: np.ndarray


@dataclass(frozen=True)
class Score:
    """One score, its FLAC and how that was played, and the file that its notes go to."""

    path: Path
    sha256: str
    sound: Path
    target: Path
    interpretation: synthesis.Interpretation
    soundfont: Path
    start: float | None = None  # first and last bar, counted from 1
    end: float | None = None


def write(score: Score) -> int:
    """Write the notes of one score to its target; returns how many.

    Raises:
        Unusable: the score has changed or cannot be read, or the FLAC does not begin as the score does.
    """

    found = transcribe(score)
    with atomic_file(score.target) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **vars(found))
    return len(found.onset_s)


def read(path: Path) -> Transcript:
    """Read what `write` has written."""

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Transcript(**arrays)
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as fault:
        raise Unusable(f"{path} cannot be read ({fault}); remove it, and `dvc repro labels` writes it again") from None


def transcribe(score: Score) -> Transcript:
    """The notes of one score in the time of its FLAC; raises as `write`."""

    try:
        if catalogue.checksum(score.path) != score.sha256:
            raise Unusable("the file has changed since it was catalogued; run `symphony2vec corpus` again")
    except OSError as fault:
        raise Unusable(f"cannot be opened: {fault.strerror or fault}") from None
    notes = synthesis.notes(score.path, replace(score.interpretation, orchestration="score"), score.start, score.end)
    sounded = notes
    if score.interpretation.orchestration == "strings":
        sounded = [replace(note, program=synthesis.STRINGS) for note in notes]
    cut_s = lead_s(sounded, score.sound, score.soundfont.read_bytes())
    return Transcript(
        # an onset on the border of two clips belongs to the later one, whatever the last bit of its sum says
        np.round([note.onset_s - cut_s for note in notes], 4),
        np.round([note.end_s - cut_s for note in notes], 4),
        np.array([note.pitch for note in notes], np.uint8),
        np.array([note.program for note in notes], np.uint8),
        np.array([note.part for note in notes], np.uint16),
    )


def lead_s(sounded: Sequence[synthesis.Note], sound: Path, soundfont_bytes: bytes) -> float:
    """How much of the sound of notes was cut off before the FLAC's first sample, in seconds.

    Raises:
        Unusable: the FLAC is not the sound of these notes, or cannot be read.
    """

    try:
        with soundfile.SoundFile(sound) as file:
            rate_hz = file.samplerate
            wave = file.read(int(OPENINGS_S[-1] / 2.0 * rate_hz), dtype="float32")
    except (soundfile.LibsndfileError, OSError) as fault:
        raise Unusable(f"its sound cannot be read: {fault}") from None
    for opening_s in OPENINGS_S:
        played = _opening(sounded, opening_s, rate_hz, soundfont_bytes)
        begin, same = _best_match(played, wave[: len(played) // 2])
        if same >= SAME:
            return float(begin / rate_hz)
    raise Unusable("its sound in out/audio does not begin as the score does; run `dvc repro -f audio`")


def _opening(sounded: Sequence[synthesis.Note], opening_s: float, rate_hz: int, soundfont_bytes: bytes) -> np.ndarray:
    """The first seconds of the notes as sound, before anything is cut: (opening_s * rate_hz,) float32."""

    first = [note for note in sounded if note.onset_s < opening_s]
    stereo, rendered_hz = synthesis.render(first, soundfont_bytes)
    mono = soxr.resample(stereo.mean(axis=1), rendered_hz, rate_hz)[: int(opening_s * rate_hz)]
    return np.pad(mono, (0, int(opening_s * rate_hz) - len(mono)))


def _best_match(played: np.ndarray, wave: np.ndarray) -> tuple[int, float]:
    """The whole number of hops, in samples, after which `played` looks most like the whole of `wave`, and how much."""

    best = (0, 0.0)
    for begin in range(0, len(played) - len(wave) + 1, HOP_SAMPLES):
        part = played[begin : begin + len(wave)]
        norms = float(np.linalg.norm(part)) * float(np.linalg.norm(wave))
        same = float(part @ wave) / norms if norms else 0.0
        best = max(best, (begin, same), key=lambda one: one[1])
    return best
