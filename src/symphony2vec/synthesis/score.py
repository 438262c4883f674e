"""Convert the parts of a score to notes in seconds. Times in the score are in quarter notes (q).

Repeats are not unfolded, because they would give near-duplicate clips. Grace notes have no length of their own and are
not played. Transposing instruments play their sounding pitches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from symphony2vec.decoding.recording import MAX_DURATION_S
from symphony2vec.errors import Unusable
from symphony2vec.synthesis.instruments import STRINGS, select_program
from symphony2vec.synthesis.movements import select_bars
from symphony2vec.synthesis.notation import read_score
from symphony2vec.synthesis.part import Part

# MIDI velocities of dynamic marks, as in notation programs
VELOCITIES = {
    "pppp": 10, "ppp": 16, "pp": 33, "p": 49, "mp": 64, "mf": 80, "f": 96, "ff": 112, "fff": 126, "ffff": 127,
}  # fmt: skip
MUSICAL_BEATS = {6: 3, 9: 3, 12: 3}  # of a compound metre: notated units per beat


@dataclass(frozen=True)
class Interpretation:
    """How scores are played; the fields are those of the section `audio` of params.yaml.

    `tempo_scale` multiplies every tempo: it is that of a performance (`symphony2vec.synthesis.performance`).
    """

    orchestration: str = "strings"
    dynamics: str = "fixed"
    velocity: int = 80
    tempo: str = "fixed"
    beats_per_minute: float = 100.0
    tempo_scale: float = 1.0


@dataclass(frozen=True)
class Note:
    """One sounding note: onset and end in seconds, MIDI pitch, velocity and program; the number of its part."""

    onset_s: float
    end_s: float
    pitch: int
    velocity: int
    program: int
    part: int = 0


def read_notes(
    path: Path, interpretation: Interpretation, start: float | None = None, end: float | None = None
) -> list[Note]:
    """Read the notes of a score (MusicXML, plain or compressed; Humdrum kern) in seconds.

    Args:
        path: the score.
        interpretation: how it is played.
        start: first bar to play, counted from 1 in file order; by default the first of the score.
        end: last bar to play; by default the last of the score.

    Returns:
        The notes, sorted by onset; the first one begins at 0 s.

    Raises:
        Unusable: the file is not a readable score, has no such bars, contains no note that sounds, or would last
            longer than four hours.
    """
    parts, _ = read_score(path)
    if start is not None or end is not None:
        parts = select_bars(parts, start, end)
    notes = _tabulate_notes(parts, interpretation)
    if not len(notes):
        raise Unusable("the score contains no pitched note that sounds; grace, cue and hidden notes are not played")
    out_of_range = sorted({*notes["pitch"].tolist()} - set(range(128)))
    if out_of_range:
        raise Unusable(f"a note has the MIDI pitch {out_of_range[0]}; expected 0 to 127")
    first_s, last_s = notes["onset_s"].min(), notes["end_s"].max()
    if not last_s - first_s <= MAX_DURATION_S:
        raise Unusable(f"the score would last {(last_s - first_s) / 3600:.3g} hours; the limit is 4")
    notes["onset_s"] -= first_s
    notes["end_s"] -= first_s
    order = np.lexsort([notes[name] for name in ("end_s", "pitch", "program", "onset_s")])  # the last key is primary
    return [Note(*row) for row in notes[order].tolist()]


@dataclass(frozen=True)
class BarGrid:
    """The bar lines of every part, and common ones for all parts.

    In encoded scores some bars are too short or too long in one part (a missing rest, a tuplet without its ratio), and
    from there on the parts would drift apart. Each common bar has the length that most parts give it, and every part is
    stretched bar by bar onto the common bar lines.
    """

    bars_q: tuple[np.ndarray, ...]
    common_q: np.ndarray

    @classmethod
    def from_parts(cls, parts: Sequence[Part]) -> BarGrid:
        """Build the grid of several parts.

        Raises:
            Unusable: the parts differ in their number of bars and in their length.
        """
        bars = [np.unique(part.bars_q) for part in parts]
        if len({len(lines) for lines in bars}) > 1:
            lengths_q = [lines[-1] - lines[0] for lines in bars]
            if max(lengths_q) - min(lengths_q) > 1e-6:
                listing = " and ".join(str(count) for count in sorted({len(lines) - 1 for lines in bars}))
                raise Unusable(f"its parts have different numbers of bars ({listing})")
            return cls(tuple(bars), bars[0])
        common = np.array([_most_common_length(lengths) for lengths in np.stack([np.diff(lines) for lines in bars]).T])
        return cls(tuple(bars), np.concatenate([[bars[0][0]], bars[0][0] + np.cumsum(common)]))

    def align(self, part: int, times_q: np.ndarray) -> np.ndarray:
        """Map times of one part to the common bar lines."""
        bars_q = self.bars_q[part]
        aligned: np.ndarray = self.common_q[0] + (times_q - bars_q[0])
        if len(bars_q) == len(self.common_q):
            aligned = np.interp(times_q, bars_q, self.common_q) + np.maximum(times_q - bars_q[-1], 0.0)
        return aligned


def _tabulate_notes(parts: Sequence[Part], interpretation: Interpretation) -> np.ndarray:
    """Return the notes of all parts as a structured array (N,) with the fields of `Note`."""
    grid = BarGrid.from_parts(parts)
    to_seconds = _make_clock(parts, grid, interpretation)
    dtype = [(field.name, float if field.type == "float" else int) for field in fields(Note)]
    tables = []
    for number, part in enumerate(parts):
        notes = np.empty(len(part.pitches), dtype)
        notes["onset_s"] = to_seconds(grid.align(number, part.onsets_q))
        notes["end_s"] = to_seconds(grid.align(number, part.ends_q))
        notes["pitch"], notes["velocity"] = part.pitches, _compute_velocities(part, interpretation)
        notes["program"] = STRINGS if interpretation.orchestration == "strings" else select_program(part)
        notes["part"] = number
        tables.append(notes)
    return np.concatenate(tables)


def _make_clock(
    parts: Sequence[Part], grid: BarGrid, interpretation: Interpretation
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from quarter notes on the common grid to seconds: (N,) -> (N,)."""

    def align(number: int, time_q: float) -> float:
        return float(grid.align(number, np.array([time_q]))[0])

    seconds_per_q = {float(grid.common_q[0]): 60.0 / interpretation.beats_per_minute}
    if interpretation.tempo == "fixed":
        for metre in parts[0].metres:
            beat_q = 4.0 / metre.unit * MUSICAL_BEATS.get(metre.beats, 1)
            seconds_per_q[align(0, metre.start_q)] = 60.0 / interpretation.beats_per_minute / beat_q
    else:
        for number, part in enumerate(parts):
            for tempo in part.tempi:
                microseconds_per_q = round(60e6 / tempo.quarters_per_minute)  # an integer, as in MIDI
                seconds_per_q[align(number, tempo.start_q)] = microseconds_per_q / 1e6
    starts_q = np.array(sorted(seconds_per_q))
    pace = np.array([seconds_per_q[start] for start in starts_q]) / interpretation.tempo_scale
    starts_s = np.concatenate([[0.0], np.cumsum(np.diff(starts_q) * pace[:-1])])

    def to_seconds(times_q: np.ndarray) -> np.ndarray:
        segment = np.clip(np.searchsorted(starts_q, times_q, side="right") - 1, 0, None)
        seconds: np.ndarray = starts_s[segment] + (times_q - starts_q[segment]) * pace[segment]
        return seconds

    return to_seconds


def _compute_velocities(part: Part, interpretation: Interpretation) -> np.ndarray:
    """Return the velocity of each note (N,): fixed, or that of the last dynamic mark of its part."""
    marks = {}
    if interpretation.dynamics == "score":
        marks = {mark.start_q: VELOCITIES[mark.sign] for mark in part.dynamics if mark.sign in VELOCITIES}
    starts_q = np.array([-np.inf, *sorted(marks)])
    levels = np.array([interpretation.velocity, *(marks[start] for start in sorted(marks))])
    velocities: np.ndarray = levels[np.searchsorted(starts_q, part.onsets_q, side="right") - 1]
    return velocities


def _most_common_length(lengths_q: np.ndarray) -> float:
    """Return the length that most parts give a bar, on a tie the shorter one."""
    counts = Counter(round(float(length), 4) for length in lengths_q)
    return min(counts, key=lambda length: (-counts[length], length))
