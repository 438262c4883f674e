"""Two rows of the study, or of something beside it, on the same folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from symphony2vec.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from symphony2vec.params import Probe


def paired(
    before: pd.DataFrame, after: pd.DataFrame, folds: Sequence[str], row: str, settings: Probe
) -> tuple[float, float, float, float]:
    """Mean test accuracy of each (percent), and the ends of the interval of after less before (points).

    Args:
        before, after: fold, work, clips and right; one line a fold and test work.
        folds: the splits that count.
        row: what the two are called in an error.
        settings: of the bootstrap over works.

    Raises:
        UserError: one of the two lacks a fold.
    """
    from symphony2vec.evaluation import statistics

    lacking = [fold for fold in folds if not all((side["fold"] == fold).any() for side in (before, after))]
    if lacking:
        raise UserError(f"the counts have no row {row} to compare on {lacking[0]}")
    found = statistics.count([[side[side["fold"] == fold] for fold in folds] for side in (before, after)])
    drawn = statistics.bootstrap_accuracy(found, settings.bootstrap_resamples, settings.seed)
    low, high = (100.0 * end[1, 0] for end in statistics.paired_differences(drawn, settings.confidence))
    first, second = 100.0 * found.accuracy().mean(axis=1)
    return float(first), float(second), float(low), float(high)
