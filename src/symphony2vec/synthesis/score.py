"""A score becomes notes in seconds. Time runs in quarter notes (q) in the score.

Repeats are not unfolded: they would give near-duplicate clips. Grace notes have no length of their own and are not
played. Transposing instruments sound where they sound, not where they are written.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec.errors import Unusable
from symphony2vec.synthesis.instruments import STRINGS, program_of
from symphony2vec.synthesis.notation import parts_of

if TYPE_CHECKING:
    import numpy as np

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


def notes(path: Path, interpretation: Interpretation) -> list[Note]:
    """The notes of a score (MusicXML, plain or compressed; Humdrum kern) in seconds, sorted by onset.

    Raises:
        Unusable: the file is no readable score, holds no pitched note, or would sound longer than four hours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # partitura warns of every oddity of the notation
            found = _notes(parts_of(path), interpretation)
    except Unusable:
        raise
    except Exception as fault:  # a parser of foreign files fails in any way it likes, and in part when it is asked
        line = str(fault).strip().splitlines()
        raise Unusable(f"not a readable score: {type(fault).__name__}{': ' + line[0][:200] if line else ''}") from fault
    if not found:
        raise Unusable("the score holds no pitched note")
    beyond = sorted({note.pitch for note in found} - set(range(128)))
    if beyond:
        raise Unusable(f"a note has the MIDI pitch {beyond[0]}; 0 to 127 can be played")
    first_s = min(note.onset_s for note in found)
    last_s = max(note.end_s for note in found)
    if not last_s - first_s <= LONGEST_S:
        raise Unusable(f"the score would sound for {(last_s - first_s) / 3600:.3g} hours; the limit is 4")
    shifted = [Note(n.onset_s - first_s, n.end_s - first_s, n.pitch, n.velocity, n.program, n.part) for n in found]
    return sorted(shifted, key=lambda n: (n.onset_s, n.program, n.pitch, n.end_s))


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
    def of(cls, parts: list[Any]) -> Grid:
        """Read the bar lines of the parts (partitura's `Part`)."""
        import numpy as np
        from partitura.score import Measure

        bars = []
        for part in parts:
            lines = {m.start.t for m in part.iter_all(Measure)} | {part.first_point.t, part.last_point.t}
            bars.append(np.asarray(part.quarter_map(sorted(lines)), dtype=float))
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
        import numpy as np

        own = self.bars_q[part]
        moved: np.ndarray = self.common_q[0] + (times_q - own[0])
        if len(own) == len(self.common_q):
            moved = np.interp(times_q, own, self.common_q) + np.maximum(times_q - own[-1], 0.0)
        return moved


def _notes(parts: list[Any], interpretation: Interpretation) -> list[Note]:
    grid = Grid.of(parts)
    to_seconds = _clock(parts, grid, interpretation)
    found: list[Note] = []
    for number, part in enumerate(parts):
        program = STRINGS if interpretation.orchestration == "strings" else program_of(part)
        table = part.note_array()
        table = table[table["duration_quarter"] > 0]
        onsets_q = table["onset_quarter"].astype(float)
        ends_q = onsets_q + table["duration_quarter"].astype(float)
        onsets_s, ends_s = (to_seconds(grid.common(number, times)) for times in (onsets_q, ends_q))
        velocities = _velocities(part, onsets_q, interpretation)
        pitches = table["pitch"] + _transpositions(part, table["onset_div"])
        rows = zip(onsets_s, ends_s, pitches, velocities, strict=True)
        found += [Note(float(on), float(end), int(pitch), int(vel), program, number) for on, end, pitch, vel in rows]
    return found


def _clock(parts: list[Any], grid: Grid, interpretation: Interpretation) -> Any:
    """A function from common quarter notes to seconds: (N,) -> (N,)."""
    import numpy as np
    from partitura.score import Tempo, TimeSignature

    lead = parts[0]
    seconds_per_q = {float(grid.common_q[0]): 60.0 / interpretation.beats_per_minute}
    if interpretation.tempo == "fixed":
        for sign in lead.iter_all(TimeSignature):
            beat_q = 4.0 / sign.beat_type * MUSICAL_BEATS.get(sign.beats, 1)
            start_q = float(grid.common(0, np.array([float(lead.quarter_map(sign.start.t))]))[0])
            seconds_per_q[start_q] = 60.0 / interpretation.beats_per_minute / beat_q
    else:
        for number, part in enumerate(parts):
            for mark in part.iter_all(Tempo):
                start_q = float(grid.common(number, np.array([float(part.quarter_map(mark.start.t))]))[0])
                if 0.0 < mark.bpm < float("inf"):
                    seconds_per_q[start_q] = mark.microseconds_per_quarter / 1e6
    starts_q = np.array(sorted(seconds_per_q))
    pace = np.array([seconds_per_q[start] for start in starts_q])
    starts_s = np.concatenate([[0.0], np.cumsum(np.diff(starts_q) * pace[:-1])])

    def to_seconds(times_q: np.ndarray) -> np.ndarray:
        segment = np.clip(np.searchsorted(starts_q, times_q, side="right") - 1, 0, None)
        seconds: np.ndarray = starts_s[segment] + (times_q - starts_q[segment]) * pace[segment]
        return seconds

    return to_seconds


def _transpositions(part: Any, onsets_div: np.ndarray) -> np.ndarray:
    """Semitones from the written to the sounding pitch of each note (N,): a player may change instruments."""
    import numpy as np
    from partitura.score import Transposition

    marks = {sign.start.t: sign.chromatic or 0 for sign in part.iter_all(Transposition)}
    starts_div = np.array(sorted(marks), dtype=int)
    semitones = np.array([0, *(marks[start] for start in sorted(marks))])
    found: np.ndarray = semitones[np.searchsorted(starts_div, onsets_div, side="right")]
    return found


def _velocities(part: Any, onsets_q: np.ndarray, interpretation: Interpretation) -> np.ndarray:
    """The velocity of each note: fixed, or the last written mark of its part."""
    import numpy as np
    from partitura.score import ConstantLoudnessDirection

    marks = {}
    if interpretation.dynamics == "score":
        for mark in part.iter_all(ConstantLoudnessDirection):
            velocity = VELOCITIES.get(str(mark.text or "").strip().lower())
            if velocity:
                marks[float(part.quarter_map(mark.start.t))] = velocity
    starts_q = np.array([-np.inf, *sorted(marks)])
    levels = np.array([interpretation.velocity, *(marks[start] for start in sorted(marks))])
    chosen: np.ndarray = levels[np.searchsorted(starts_q, onsets_q, side="right") - 1]
    return chosen


def _most_common(lengths: np.ndarray) -> float:
    """The length that most parts give a bar; between equals, the shorter."""
    counts = Counter(round(float(length), 4) for length in lengths)
    return min(counts, key=lambda length: (-counts[length], length))


def _listed(values: list[Any]) -> str:
    return " and ".join(map(str, values))
