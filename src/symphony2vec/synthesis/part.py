"""One part of a score, as every reader of a notation gives it. Time is in quarter notes (q) from the first bar line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Metre:
    """A time signature: `beats` notated units of one `unit`-th of a whole note."""

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
    """A written level, by its sign: p, mf, ff."""

    start_q: float
    sign: str


@dataclass(frozen=True)
class Part:
    """The N sounding notes and B bars of one part.

    `bars_q` (B + 1,) holds the bar lines in file order, so that an empty bar has two equal ones; `onsets_q`, `ends_q`
    and `pitches` (MIDI, sounding) are (N,), and `bars` (N,) is the bar that each note begins in, counted from 0.
    Metres, tempi and dynamics are sorted by their time.
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

    def between(self, first: int, last: int) -> Part:
        """The bars `first` to `last`, counted from 0; what was in force before them is so at their beginning."""

        start_q, end_q = float(self.bars_q[first]), float(self.bars_q[last + 1])
        inside = (self.bars >= first) & (self.bars <= last)
        return replace(
            self,
            bars_q=self.bars_q[first : last + 2],
            onsets_q=self.onsets_q[inside],
            ends_q=np.minimum(self.ends_q[inside], end_q),
            pitches=self.pitches[inside],
            bars=self.bars[inside] - first,
            metres=_in_force(self.metres, start_q, end_q),
            tempi=_in_force(self.tempi, start_q, end_q),
            dynamics=_in_force(self.dynamics, start_q, end_q),
        )


def _in_force(marks: Sequence[Any], start_q: float, end_q: float) -> tuple[Any, ...]:
    before = [mark for mark in marks if mark.start_q <= start_q]
    opening = [replace(before[-1], start_q=start_q)] if before else []
    return (*opening, *(mark for mark in marks if start_q < mark.start_q < end_q))
