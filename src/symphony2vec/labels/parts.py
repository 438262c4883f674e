"""Which part of the score each of its notes belongs to: `synthesis.notes` does not say.

Both ways lead from the same notes on the same bar lines, here in quarter notes (q), there in seconds, and the way from
one to the other never goes back in time. So the notes in order of one are the notes in order of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec.errors import Unusable
from symphony2vec.synthesis import Grid, Note, program_of
from symphony2vec.synthesis.notation import parts_of

if TYPE_CHECKING:
    import numpy as np


def parts_by_note(path: Path, notes: Sequence[Note]) -> np.ndarray:
    """The number of the part of each note (N,), from 0; `notes` are all of the score, as `synthesis.notes` gives them.

    Of notes alike in onset, end, pitch and instrument it is not told which part has which.

    Raises:
        Unusable: the notes are not those of this score, played with its own instruments.
    """
    import warnings

    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as synthesis.notes
        onset_q, end_q, pitch, program, part = _written(parts_of(path))
    if len(onset_q) != len(notes):
        raise Unusable("its parts cannot be told apart")
    instant = np.empty(len(notes), int)  # onsets apart in q can fall together in seconds, never the other way round
    instant[np.argsort(onset_q)] = np.unique([note.onset_s for note in notes], return_inverse=True)[1]
    order = np.lexsort((part, end_q, pitch, program, instant))
    same = [(note.program, note.pitch) for note in notes] == list(zip(program[order], pitch[order], strict=True))
    if not same:
        raise Unusable("its parts cannot be told apart")
    found: np.ndarray = part[order]
    return found


def _written(parts: Sequence[Any]) -> tuple[np.ndarray, ...]:
    """Onset and end on the common bar lines (q), pitch, program and part of every note that is played: each (N,)."""
    import numpy as np

    grid = Grid.of(list(parts))
    columns = []
    for number, part in enumerate(parts):
        table = part.note_array()
        table = table[table["duration_quarter"] > 0]
        onsets_q = table["onset_quarter"].astype(float)
        ends_q = onsets_q + table["duration_quarter"].astype(float)
        alike = (np.full(len(table), program_of(part)), np.full(len(table), number))
        columns.append((grid.common(number, onsets_q), grid.common(number, ends_q), table["pitch"], *alike))
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))
