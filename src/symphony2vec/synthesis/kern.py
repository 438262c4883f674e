"""Read Humdrum kern with partitura.

Notes marked invisible (`yy`) are played: encoders use the mark for what a source abbreviates, such as a part that
doubles another.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import partitura
from partitura.score import ConstantLoudnessDirection, Measure, TimeSignature
from partitura.score import Tempo as TempoMark

from symphony2vec.synthesis.part import Dynamic, Metre, Part, Tempo, unreadable


def read_parts(path: Path) -> tuple[list[Part], bool]:
    """Read the pitched parts of a Humdrum file, and whether any part has notes without a pitch.

    Raises:
        Unusable: partitura cannot read the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # partitura warns of every oddity of the notation
            score = partitura.load_kern(str(path))
            parts = [_convert(part) for part in score.parts if part.first_point is not None and len(part.notes_tied)]
            percussion = any(next(iter(p.iter_all(partitura.score.UnpitchedNote)), None) for p in score.parts)
    except Exception as error:  # the parser raises errors of any type
        raise unreadable(error) from error
    return parts, percussion


def _convert(part: Any) -> Part:
    """Convert a part of partitura."""

    def time_q(mark: Any) -> float:
        return float(part.quarter_map(mark.start.t))

    notes = part.note_array()
    notes = notes[notes["duration_quarter"] > 0]
    onsets_q = notes["onset_quarter"].astype(float)
    starts = sorted({measure.start.t for measure in part.iter_all(Measure)} | {part.first_point.t})
    bar_lines = [*starts, part.last_point.t] if part.last_point.t > starts[-1] else starts
    return Part(
        id=str(part.id),
        name=part.part_name or "",
        abbreviation=part.part_abbreviation or "",
        instrument_sound="",
        bars_q=np.asarray(part.quarter_map(bar_lines), float),
        onsets_q=onsets_q,
        ends_q=onsets_q + notes["duration_quarter"].astype(float),
        pitches=notes["pitch"].astype(int),
        bars=np.searchsorted(np.array(starts), notes["onset_div"], side="right") - 1,
        metres=tuple(Metre(time_q(mark), mark.beats, mark.beat_type) for mark in part.iter_all(TimeSignature)),
        tempi=tuple(
            Tempo(time_q(mark), 60e6 / mark.microseconds_per_quarter)
            for mark in part.iter_all(TempoMark)
            if 0.0 < mark.bpm < float("inf")
        ),
        dynamics=tuple(
            Dynamic(time_q(mark), str(mark.text or "").strip()) for mark in part.iter_all(ConstantLoudnessDirection)
        ),
    )
