"""A score becomes notes in seconds. Time runs in quarter notes (q) in the score.

Repeats are not unfolded: they would give near-duplicate clips. Grace notes have no length of their own and are not
played. Transposing instruments sound where they sound, not where they are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from symphony2vec.errors import Unusable
from symphony2vec.synthesis.instruments import STRINGS, program_of
from symphony2vec.synthesis.movements import cut
from symphony2vec.synthesis.notation import parts_of
from symphony2vec.synthesis.part import Part

LONGEST_S = 4 * 3600.0
# MIDI velocities of the written marks, as notation programs play them.
VELOCITIES = {
    "pppp": 10, "ppp": 16, "pp": 33, "p": 49, "mp": 64, "mf": 80, "f": 96, "ff": 112, "fff": 126, "ffff": 127,
}  # fmt: skip
MUSICAL_BEATS = {6: 3, 9: 3, 12: 3}  # notated units in one beat of a compound metre


@dataclass(frozen=True)
class Interpretation:
    """How all scores are played; the fields are those of the section `audio` in params.yaml."""

    orchestration: str = "strings"
    dynamics: str = "fixed"
    velocity: int = 80
    tempo: str = "fixed"
    beats_per_minute: float = 100.0


@dataclass(frozen=True)
class Note:
    """One sounding note: onset and end in seconds, MIDI pitch, velocity and program; the number of its part."""

    onset_s: float
    end_s: float
    pitch: int
    velocity: int
    program: int
    part: int = 0


def notes(
    path: Path, interpretation: Interpretation, start: float | None = None, end: float | None = None
) -> list[Note]:
    """The notes of a score (MusicXML, plain or compressed; Humdrum kern) in seconds, sorted by onset.

    Args:
        path: the score.
        interpretation: how it is played.
        start, end: first and last bar to play, counted from 1 in file order; the whole score without them. The first
            note that is played begins at 0 s.

    Raises:
        Unusable: the file is not a readable score, has no such bars, holds no note that sounds, or would sound longer
            than four hours.
    """

    parts = parts_of(path)
    if start is not None or end is not None:
        parts = cut(parts, start, end)
    rows = _table(parts, interpretation)
    if not len(rows):
        raise Unusable("the score holds no pitched note that sounds; grace notes, cues and hidden notes are not played")
    beyond = sorted({*rows["pitch"].tolist()} - set(range(128)))
    if beyond:
        raise Unusable(f"a note has the MIDI pitch {beyond[0]}; 0 to 127 can be played")
    first_s, last_s = rows["onset_s"].min(), rows["end_s"].max()
    if not last_s - first_s <= LONGEST_S:
        raise Unusable(f"the score would sound for {(last_s - first_s) / 3600:.3g} hours; the limit is 4")
    rows["onset_s"] -= first_s
    rows["end_s"] -= first_s
    order = np.lexsort([rows[name] for name in ("end_s", "pitch", "program", "onset_s")])  # the last is looked at first
    return [Note(*row) for row in rows[order].tolist()]


@dataclass(frozen=True)
class Grid:
    """The bar lines of every part, and those that all parts share.

    Encoded scores hold bars that are too short or too long in one part (a missing rest, a tuplet without its ratio);
    taken as they stand, the parts drift apart from there on. Here each bar has one length for all parts, the one that
    most of them give it, and every part is stretched bar by bar onto these common lines.
    """

    bars_q: tuple[np.ndarray, ...]
    common_q: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Grid:
        """Read the bar lines of the parts."""

        bars = [np.unique(part.bars_q) for part in parts]
        if len({len(lines) for lines in bars}) > 1:
            counts = Counter(len(lines) - 1 for lines in bars)
            ends = [lines[-1] - lines[0] for lines in bars]
            if max(ends) - min(ends) > 1e-6:
                raise Unusable(f"its parts hold different numbers of bars ({_listed(sorted(counts))})")
            return cls(tuple(bars), bars[0])
        lengths = np.stack([np.diff(lines) for lines in bars])
        shared = np.array([_most_common(column) for column in lengths.T])
        return cls(tuple(bars), np.concatenate([[bars[0][0]], bars[0][0] + np.cumsum(shared)]))

    def common(self, part: int, times_q: np.ndarray) -> np.ndarray:
        """Times of one part, moved onto the common bar lines."""

        own = self.bars_q[part]
        moved: np.ndarray = self.common_q[0] + (times_q - own[0])
        if len(own) == len(self.common_q):
            moved = np.interp(times_q, own, self.common_q) + np.maximum(times_q - own[-1], 0.0)
        return moved


def _table(parts: Sequence[Part], interpretation: Interpretation) -> np.ndarray:
    """The notes of all parts as rows (N,) with the fields of `Note`."""

    grid = Grid.of(parts)
    to_seconds = _clock(parts, grid, interpretation)
    columns = [(field.name, float if field.type == "float" else int) for field in fields(Note)]
    tables = []
    for number, part in enumerate(parts):
        rows = np.empty(len(part.pitches), columns)
        rows["onset_s"], rows["end_s"] = (to_seconds(grid.common(number, q)) for q in (part.onsets_q, part.ends_q))
        rows["pitch"], rows["velocity"] = part.pitches, _velocities(part, interpretation)
        rows["program"] = STRINGS if interpretation.orchestration == "strings" else program_of(part)
        rows["part"] = number
        tables.append(rows)
    return np.concatenate(tables)


def _clock(parts: Sequence[Part], grid: Grid, interpretation: Interpretation) -> Callable[[np.ndarray], np.ndarray]:
    """A function from common quarter notes to seconds: (N,) -> (N,)."""

    def common(number: int, start_q: float) -> float:
        return float(grid.common(number, np.array([start_q]))[0])

    seconds_per_q = {float(grid.common_q[0]): 60.0 / interpretation.beats_per_minute}
    if interpretation.tempo == "fixed":
        for metre in parts[0].metres:
            beat_q = 4.0 / metre.unit * MUSICAL_BEATS.get(metre.beats, 1)
            seconds_per_q[common(0, metre.start_q)] = 60.0 / interpretation.beats_per_minute / beat_q
    else:
        for number, part in enumerate(parts):
            for tempo in part.tempi:
                microseconds_per_q = round(60e6 / tempo.quarters_per_minute)  # whole ones, as MIDI writes a tempo
                seconds_per_q[common(number, tempo.start_q)] = microseconds_per_q / 1e6
    starts_q = np.array(sorted(seconds_per_q))
    pace = np.array([seconds_per_q[start] for start in starts_q])
    starts_s = np.concatenate([[0.0], np.cumsum(np.diff(starts_q) * pace[:-1])])

    def to_seconds(times_q: np.ndarray) -> np.ndarray:
        segment = np.clip(np.searchsorted(starts_q, times_q, side="right") - 1, 0, None)
        seconds: np.ndarray = starts_s[segment] + (times_q - starts_q[segment]) * pace[segment]
        return seconds

    return to_seconds


def _velocities(part: Part, interpretation: Interpretation) -> np.ndarray:
    """The velocity of each note (N,): fixed, or the last written mark of its part."""

    marks = {}
    if interpretation.dynamics == "score":
        marks = {mark.start_q: VELOCITIES[mark.sign] for mark in part.dynamics if mark.sign in VELOCITIES}
    starts_q = np.array([-np.inf, *sorted(marks)])
    levels = np.array([interpretation.velocity, *(marks[start] for start in sorted(marks))])
    chosen: np.ndarray = levels[np.searchsorted(starts_q, part.onsets_q, side="right") - 1]
    return chosen


def _most_common(lengths: np.ndarray) -> float:
    """The length that most parts give a bar; between equals, the shorter."""
    counts = Counter(round(float(length), 4) for length in lengths)
    return min(counts, key=lambda length: (-counts[length], length))


def _listed(values: list[Any]) -> str:
    return " and ".join(map(str, values))
