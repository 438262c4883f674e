"""Humdrum kern becomes parts, as partitura reads it.

Notes marked invisible (`yy`) are played: encoders mark so what a source abbreviates, as a part that doubles another.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import partitura
from partitura.score import ConstantLoudnessDirection, Measure, TimeSignature
from partitura.score import Tempo as TempoMark

from symphony2vec.errors import Unusable
from symphony2vec.synthesis.part import Dynamic, Metre, Part, Tempo


def parts_of(path: Path) -> tuple[list[Part], bool]:
    """Read the parts of a Humdrum file; returns them and whether any holds notes without a pitch.

    Raises:
        Unusable: partitura cannot read the file.
    """

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # partitura warns of every oddity of the notation
            score = partitura.load_kern(str(path))
            parts = [_part(part) for part in score.parts if part.first_point is not None and len(part.notes_tied)]
            percussion = any(next(iter(p.iter_all(partitura.score.UnpitchedNote)), None) for p in score.parts)
    except Exception as fault:  # a parser of foreign files fails in any way it likes
        lines = str(fault).strip().splitlines()
        raise Unusable(
            f"not a readable score: {type(fault).__name__}{': ' + lines[0][:200] if lines else ''}"
        ) from fault
    return parts, percussion


def _part(part: Any) -> Part:
    def at(mark: Any) -> float:
        return float(part.quarter_map(mark.start.t))

    table = part.note_array()
    table = table[table["duration_quarter"] > 0]
    onsets_q = table["onset_quarter"].astype(float)
    starts = sorted({measure.start.t for measure in part.iter_all(Measure)} | {part.first_point.t})
    lines = [*starts, part.last_point.t] if part.last_point.t > starts[-1] else starts
    return Part(
        str(part.id),
        part.part_name or "",
        part.part_abbreviation or "",
        "",
        np.asarray(part.quarter_map(lines), float),
        onsets_q,
        onsets_q + table["duration_quarter"].astype(float),
        table["pitch"].astype(int),
        np.searchsorted(np.array(starts), table["onset_div"], side="right") - 1,
        tuple(Metre(at(sign), sign.beats, sign.beat_type) for sign in part.iter_all(TimeSignature)),
        tuple(
            Tempo(at(mark), 60e6 / mark.microseconds_per_quarter)
            for mark in part.iter_all(TempoMark)
            if 0.0 < mark.bpm < float("inf")
        ),
        tuple(Dynamic(at(mark), str(mark.text or "").strip()) for mark in part.iter_all(ConstantLoudnessDirection)),
    )
