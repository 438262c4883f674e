"""Accuracy and macro-F1 with bootstrap intervals over works, and paired differences between models.

The clips of one work are not independent, nor are its clips in two folds. Whole works are therefore resampled with
replacement, the same ones for all models and folds, and each resample's accuracy is taken of the works in it: a paired
bootstrap. A difference is significant if its interval excludes 0.

Composers are predicted at three levels: of single clips, of movements and of whole works. A prediction of a movement or
a work is that of the highest mean log probability over its clips.

M models, S folds, G works, K composers, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

FEWEST_FOLDS = 3  # with fewer, no difference is called significant
# The columns of a table of works (works.csv, counts.csv) that hold how many clips or movements a work has, and how many
# of these, or whether the work itself, are predicted correctly.
LEVELS = {"clip": ("clips", "right"), "movement": ("movements", "right_movements"), "work": ("", "right_works")}


@dataclass(frozen=True)
class Counts:
    """Correct predictions of clips (or movements, or works) and all, (M, S, G); 0 where a work is not tested."""

    right: np.ndarray
    clips: np.ndarray

    def accuracy(self) -> np.ndarray:
        """Return (M, S)."""
        shares: np.ndarray = self.right.sum(axis=2) / self.clips.sum(axis=2)
        return shares

    def of_folds(self, folds: slice) -> Counts:
        """Return the counts of the same models and works on some of the folds."""
        return Counts(self.right[:, folds], self.clips[:, folds])


def count(tables: Sequence[Sequence[pd.DataFrame]], level: str = "clip") -> Counts:
    """Return the counts of M models with S tables each, of one row a work: work, and the columns of `LEVELS`.

    Examples:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"work": ["a", "b"], "clips": [4, 6], "right": [3, 2], "right_works": [1, 1]})
        >>> count([[table]]).accuracy(), count([[table]], "work").accuracy()
        (array([[0.5]]), array([[1.]]))
    """
    items, correct = LEVELS[level]
    works = sorted({name for folds in tables for table in folds for name in table["work"]})
    column_of = {name: number for number, name in enumerate(works)}
    right, clips = np.zeros((2, len(tables), len(tables[0]), len(works)))
    for model, folds in enumerate(tables):
        for fold, table in enumerate(folds):
            columns = [column_of[name] for name in table["work"]]
            right[model, fold, columns] = table[correct]
            clips[model, fold, columns] = table[items] if items else 1
    return Counts(right, clips)


def sum_values(tables: Sequence[Sequence[pd.DataFrame]]) -> Counts:
    """Return the sums of any number that each clip has in place of correct clips, so that `accuracy` is its mean.

    Args:
        tables: M models with S tables of one row a clip: composer, work, value.
    """
    return count([[_sums(table) for table in folds] for folds in tables])


def _sums(table: pd.DataFrame) -> pd.DataFrame:
    work = table["composer"].astype(str) + " / " + table["work"].astype(str)
    sums = table["value"].groupby(work).agg(right="sum", clips="count")
    return sums.rename_axis("work").reset_index()


def bootstrap_accuracy(counts: Counts, resamples: int, seed: int) -> np.ndarray:
    """Return the mean accuracy over the folds (R, M) of works resampled with replacement.

    A fold without a test work in the resample is left out of the mean; NaN where that is so of all.
    """
    works = counts.right.shape[2]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(works, np.full(works, 1.0 / works), size=resamples).astype(np.float64)
    right = np.einsum("rg,msg->rms", times, counts.right)
    clips = np.einsum("rg,msg->rms", times, counts.clips)
    tested = clips > 0
    shares = np.divide(right, clips, out=np.zeros(right.shape), where=tested)
    folds = tested.sum(axis=2)
    mean: np.ndarray = np.divide(shares.sum(axis=2), folds, out=np.full(folds.shape, np.nan), where=folds > 0)
    return mean


def interval(resampled: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the percentile interval along the first axis."""
    low, high = np.quantile(resampled, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0], axis=0)
    return low, high


def paired_differences(resampled: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval (M, M) of each model's accuracy less each other's, from resampled accuracies (R, M)."""
    return interval(resampled[:, :, None] - resampled[:, None, :], confidence)


def significance(low: float, high: float, folds: int) -> int:
    """Return 1 if a difference is significantly above 0, -1 if below, 0 if its interval holds 0 or folds are few."""
    if folds < FEWEST_FOLDS:
        return 0
    return int(low > 0.0) - int(high < 0.0)


def confusion_by_work(true: np.ndarray, predicted: np.ndarray, work: np.ndarray, composers: int) -> np.ndarray:
    """Return the confusion counts (G, K, K) of each work: [g, i, j] items of composer i in work g predicted as j."""
    counts = np.zeros((int(work.max()) + 1, composers, composers), dtype=np.int64)
    np.add.at(counts, (work, true, predicted), 1)
    return counts


def bootstrap_scores(counts: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Return accuracy and macro-F1 (R,) of whole works resampled with replacement.

    Args:
        counts: (G, K, K), from `confusion_by_work`.
        resamples: R.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(counts), np.full(len(counts), 1.0 / len(counts)), size=resamples)
    resampled = np.einsum("rg,gij->rij", times, counts)
    right = np.trace(resampled, axis1=1, axis2=2)
    return {"accuracy": right / resampled.sum(axis=(1, 2)), "macro_f1": macro_f1(resampled)}


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the composers, of confusion counts (..., K, K).

    A composer without a clip (in a resample, say) is left out of the mean.
    """
    right, true = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1)
    f1 = np.divide(2.0 * right, true + counts.sum(axis=-2), out=np.zeros(right.shape), where=true > 0)
    mean: np.ndarray = f1.sum(axis=-1) / (true > 0).sum(axis=-1)
    return mean
