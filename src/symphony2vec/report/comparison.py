"""Accuracies over several drawn splits, with intervals over works, and which model beats which.

The clips of one work are not independent, nor is what is said of the same work in two draws. So whole works are drawn
with replacement, the same for all models and all draws, and each draw's accuracy is taken of what was drawn: a paired
bootstrap. A difference whose interval holds 0 is no difference.

M models, S drawn splits, G works, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FEW_DRAWS = 3  # with fewer no model is said to beat another


@dataclass(frozen=True)
class Counts:
    """Clips named rightly and clips at all, (M, S, G) each; a work that is not tested in a draw has none there."""

    right: np.ndarray
    clips: np.ndarray

    def accuracy(self) -> np.ndarray:
        """(M, S)."""
        shares: np.ndarray = self.right.sum(axis=2) / self.clips.sum(axis=2)
        return shares

    def on(self, draws: slice) -> Counts:
        """The same models on some of the drawn splits; no work is left out."""
        return Counts(self.right[:, draws], self.clips[:, draws])


def counts(tables: Sequence[Sequence[pd.DataFrame]]) -> Counts:
    """From M models with S tables each, of one row a work: work, clips, right."""
    import numpy as np

    works = sorted({name for own in tables for table in own for name in table["work"]})
    place = {name: number for number, name in enumerate(works)}
    right, clips = np.zeros((2, len(tables), len(tables[0]), len(works)))
    for model, own in enumerate(tables):
        for draw, table in enumerate(own):
            columns = [place[name] for name in table["work"]]
            right[model, draw, columns], clips[model, draw, columns] = table["right"], table["clips"]
    return Counts(right, clips)


def values(tables: Sequence[Sequence[pd.DataFrame]]) -> Counts:
    """Of any number that each clip has, with its sum as what is right: M models with S tables of one row a clip.

    Columns: composer, work, value. The `accuracy` of what comes back is the mean over clips.
    """
    return counts([[_sums(table) for table in own] for own in tables])


def _sums(table: pd.DataFrame) -> pd.DataFrame:
    work = table["composer"].astype(str) + " / " + table["work"].astype(str)
    sums = table["value"].groupby(work).agg(right="sum", clips="count")
    return sums.rename_axis("work").reset_index()


def resampled(found: Counts, draws: int, seed: int) -> np.ndarray:
    """Mean accuracy over the drawn splits (R, M), of works drawn with replacement.

    A split of which no test work was drawn is left out of the mean; NaN where that is so of all.
    """
    import numpy as np

    works = found.right.shape[2]
    times = np.random.default_rng(seed).multinomial(works, np.full(works, 1.0 / works), size=draws).astype(np.float64)
    right = np.einsum("rg,msg->rms", times, found.right)
    clips = np.einsum("rg,msg->rms", times, found.clips)
    there = clips > 0
    shares = np.divide(right, clips, out=np.zeros(right.shape), where=there)
    known = there.sum(axis=2)
    mean: np.ndarray = np.divide(shares.sum(axis=2), known, out=np.full(known.shape, np.nan), where=known > 0)
    return mean


def interval(drawn: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the percentile interval along the first axis."""
    import numpy as np

    low, high = np.quantile(drawn, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0], axis=0)
    return low, high


def differences(drawn: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The interval (M, M) of how far each model lies above each other, of resampled accuracies (R, M)."""
    return interval(drawn[:, :, None] - drawn[:, None, :], confidence)


def side(low: float, high: float, draws: int) -> int:
    """On which side of 0 the interval of a difference lies: 1 above, -1 below; 0 where it holds 0, or draws are few."""
    if draws < FEW_DRAWS:
        return 0
    return int(low > 0.0) - int(high < 0.0)
