"""One part of a score, whatever the notation of its file. Times are in quarter notes (q) from the first bar line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symphony2vec.errors import Unusable


@dataclass(frozen=True)
class Metre:
    """A time signature: `beats` notes of 1 / `unit` of a whole note."""

    start_q: float
    beats: int
    unit: int


@dataclass(frozen=True)
class Tempo:
    """A written tempo in quarter notes per minute."""

    start_q: float
    quarters_per_minute: float


@dataclass(frozen=True)
class Dynamic:
    """A written dynamic mark, such as p, mf or ff."""

    start_q: float
    sign: str


@dataclass(frozen=True)
class Part:
    """The N sounding notes and B bars of one part.

    `bars_q` (B + 1,) are the bar lines in file order; both lines of an empty bar are equal. `onsets_q`, `ends_q` and
    `pitches` (MIDI, sounding) are (N,), and `bars` (N,) is the bar in which each note begins, counted from 0. Metres,
    tempi and dynamics are sorted by time.
    """

    id: str
    name: str
    abbreviation: str
    instrument_sound: str
    bars_q: np.ndarray
    onsets_q: np.ndarray
    ends_q: np.ndarray
    pitches: np.ndarray
    bars: np.ndarray
    metres: tuple[Metre, ...] = ()
    tempi: tuple[Tempo, ...] = ()
    dynamics: tuple[Dynamic, ...] = ()

    def select_bars(self, first: int, last: int) -> Part:
        """Return the bars `first` to `last`, counted from 0, with the marks that are in force at their beginning."""
        start_q, end_q = float(self.bars_q[first]), float(self.bars_q[last + 1])
        inside = (self.bars >= first) & (self.bars <= last)
        return replace(
            self,
            bars_q=self.bars_q[first : last + 2],
            onsets_q=self.onsets_q[inside],
            ends_q=np.minimum(self.ends_q[inside], end_q),
            pitches=self.pitches[inside],
            bars=self.bars[inside] - first,
            metres=_marks_in_force(self.metres, start_q, end_q),
            tempi=_marks_in_force(self.tempi, start_q, end_q),
            dynamics=_marks_in_force(self.dynamics, start_q, end_q),
        )


def unreadable(error: Exception) -> Unusable:
    """Return the error for a file that a parser cannot read, with the first line of the parser's message."""
    lines = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip().splitlines()
    return Unusable(f"not a readable score: {type(error).__name__}{': ' + lines[0][:200] if lines else ''}")


def _marks_in_force(marks: Sequence[Any], start_q: float, end_q: float) -> tuple[Any, ...]:
    before = [mark for mark in marks if mark.start_q <= start_q]
    opening = [replace(before[-1], start_q=start_q)] if before else []
    return (*opening, *(mark for mark in marks if start_q < mark.start_q < end_q))
