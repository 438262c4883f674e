"""The labels that a vector is asked about: which they are, their values, and whether a corpus can answer at all.

N clips, K numbers of one label (12 for the pitch classes, else 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from symphony2vec.clips.splits import SPLITS
from symphony2vec.errors import UserError
from symphony2vec.labels.measures import FAMILIES, PITCH_CLASSES

MEASURES = {"r2": "R²", "correlation": "correlation", "accuracy": "accuracy"}  # as people read them


@dataclass(frozen=True)
class Label:
    """One thing that is known of every clip: its columns in labels.csv, and the group in which it is shown."""

    name: str
    group: str
    title: str
    columns: tuple[str, ...]
    is_class: bool = False
    is_log: bool = False

    def values(self, table: pd.DataFrame) -> np.ndarray:
        """Numbers (N, K), NaN where unknown, or names (N,), empty where unknown.

        Raises:
            UserError: the table lacks a column.
        """

        for name in self.columns:
            if name not in table:
                raise UserError(f"the labels lack the column '{name}'; `dvc repro labels` writes them again")
        if self.is_class:
            return table[self.columns[0]].fillna("").to_numpy(dtype=str)
        numbers = table[list(self.columns)].to_numpy(dtype=np.float64)
        return np.log2(numbers, out=np.full_like(numbers, np.nan), where=numbers > 0) if self.is_log else numbers


KEY = Label("key", "harmony", "key (24)", ("key",), is_class=True)
LABELS = (
    Label("loudness_db", "sound", "loudness", ("loudness_db",)),
    Label("centroid_hz", "sound", "spectral centroid (log)", ("centroid_hz",), is_log=True),
    Label("notes_per_s", "texture", "notes per second", ("notes_per_s",)),
    Label("instruments", "texture", "instruments sounding", ("instruments",)),
    *(Label(name, "families", f"share of {name}", (name,)) for name in FAMILIES),
    Label("pitch_classes", "harmony", "pitch-class profile", PITCH_CLASSES),
    Label("mode", "harmony", "major or minor", ("mode",), is_class=True),
    KEY,
)


def known(values: np.ndarray) -> np.ndarray:
    """For which clips a label is known (N,): every number of it, or its name."""

    found: np.ndarray = values != "" if values.ndim == 1 else np.isfinite(values).all(axis=1)
    return found


def seen(values: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Which clips (N,) have a known value that a probe can say: any number, or a class of the training clips.

    Args:
        values: of one label, from `Label.values`.
        training: (N,), True for a training clip.
    """

    there = known(values)
    return there & np.isin(values, values[training & there]) if values.ndim == 1 else there


def why_not(values: np.ndarray, sides: np.ndarray, minimum: int) -> str:
    """Why a label cannot be measured on these clips; empty where it can.

    On every side at least `minimum` clips must have it, and as many training and test clips a value other than their
    side's commonest: of a corpus played by strings alone nobody can say whether a vector knows the brass.

    Args:
        values: of the label, from `Label.values`.
        sides: (N,) the side of each clip.
        minimum: clips.
    """

    able = seen(values, sides == "train")
    for side in SPLITS:
        own = values[able & (sides == side)]
        if len(own) < minimum:
            return f"known of {len(own) or 'no'} {side} clips"
        varied = len(own) - int(np.unique(own, axis=0, return_counts=True)[1].max())
        if side != "validation" and varied < minimum:
            return f"{varied or 'none'} of {len(own)} {side} clips differ from the rest"
    return ""
