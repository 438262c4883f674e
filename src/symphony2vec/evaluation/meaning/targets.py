"""The musical labels that linear probes predict: their names, values and measures, and whether a corpus can test them.

N clips, K numbers of one label (12 for the pitch classes, otherwise 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from symphony2vec.clips.splits import SPLITS
from symphony2vec.errors import UserError
from symphony2vec.labels.measures import FAMILIES, PITCH_CLASSES

MEASURES = {"r2": "R²", "correlation": "correlation", "accuracy": "accuracy"}  # names for readers


@dataclass(frozen=True)
class Label:
    """A property of every clip: its columns in labels.csv, and the group under which figures show it."""

    name: str
    group: str
    title: str
    columns: tuple[str, ...]
    is_class: bool = False
    is_log: bool = False

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures of a probe of this label, the main one first."""
        if self.is_class:
            return ("accuracy",)
        return ("r2", "correlation") if len(self.columns) > 1 else ("r2",)

    def values(self, table: pd.DataFrame) -> np.ndarray:
        """Return the label of every clip: numbers (N, K), NaN where unknown, or names (N,), empty where unknown.

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


def is_known(values: np.ndarray) -> np.ndarray:
    """Return a mask (N,) of the clips whose label is known: every number of it, or its name.

    Examples:
        >>> import numpy as np
        >>> is_known(np.array(["major", "", "minor"])).tolist()
        [True, False, True]
    """
    mask: np.ndarray = values != "" if values.ndim == 1 else np.isfinite(values).all(axis=1)
    return mask


def is_predictable(values: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return a mask (N,) of the clips with a known label that a probe can predict: a number, or a class of training.

    Args:
        values: a label, from `Label.values`.
        training: (N,), True for a training clip.
    """
    mask = is_known(values)
    return mask & np.isin(values, values[training & mask]) if values.ndim == 1 else mask


def explain_unmeasurable(values: np.ndarray, splits: np.ndarray, minimum: int) -> str:
    """Return why a probe of a label cannot be tested on these clips; empty if it can.

    Every split needs at least `minimum` clips with the label, and as many training and test clips with a value other
    than the most common one: a corpus for strings alone cannot test whether a vector encodes the share of brass.

    Args:
        values: the label, from `Label.values`.
        splits: (N,) train, validation or test.
        minimum: number of clips.
    """
    usable = is_predictable(values, splits == "train")
    for split in SPLITS:
        in_split = values[usable & (splits == split)]
        if len(in_split) < minimum:
            return f"known for {len(in_split) or 'no'} {split} clips"
        varied = len(in_split) - int(np.unique(in_split, axis=0, return_counts=True)[1].max())
        if split != "validation" and varied < minimum:
            return f"{varied or 'none'} of {len(in_split)} {split} clips differ from the rest"
    return ""
