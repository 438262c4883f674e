"""What a vector knows of a label: a linear probe, fitted on training clips and looked at once on test clips.

A number is answered by ridge regression, a class by the logistic regression of `symphony2vec.evaluation.probe`, both on
vectors standardised by the training clips; the strength is the one that serves the validation clips best. Measures:

    r2           1 - squared error / squared error of the training clips' mean: 1 is perfect, 0 knows nothing, and a
                 probe that misleads lies below 0. The baseline is 0
    correlation  of the 12 pitch classes of a clip as told with those that sound; the baseline tells the mean profile
    accuracy     share of clips; its baseline is the commonest class of the training clips

Each is a sum of scores over a sum of weights (the clips, or for r2 their squared distance from the training mean), so
that whole works can be drawn again without a new fit.

N clips, B test clips, D dimensions, K numbers of one label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from symphony2vec.errors import UserError
from symphony2vec.evaluation.meaning.targets import Label, known, seen, why_not
from symphony2vec.evaluation.probe import regression
from symphony2vec.params import Meaning, Probe

SUMS = ("clips", "score", "baseline", "weight")


@dataclass(frozen=True)
class Regression:
    """A fitted ridge regression in the units of the vectors: weights (D, K), offset (K,), and the penalty chosen.

    The column of `weights` is the direction in which the label grows fastest for a step of given length.
    """

    weights: np.ndarray
    offset: np.ndarray
    penalty: float

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, K)."""
        told: np.ndarray = vectors @ self.weights + self.offset
        return told


@dataclass(frozen=True)
class Found:
    """What one probe, or one search, found of a fold's test clips by one measure.

    table: one row a test work, with its clips and the sums of score, baseline and weight; empty where `reason` says
        why nothing could be measured.
    strength: the chosen penalty of the ridge, or C of the logistic regression.
    left_out: test clips of which the label is not known, or that are no queries.
    unseen: test clips of a class that no training clip has; they count as wrong.
    """

    label: str
    measure: str
    table: pd.DataFrame
    left_out: int = 0
    unseen: int = 0
    strength: float | None = None
    reason: str = ""


class Decomposed:
    """Standardised training vectors, decomposed once for every label and penalty."""

    def __init__(self, vectors: np.ndarray, training: np.ndarray) -> None:
        self._training = training
        scaler = StandardScaler().fit(vectors[training].astype(np.float64))
        self._mean, self._scale = scaler.mean_, scaler.scale_
        scaled = scaler.transform(vectors[training].astype(np.float64))
        self._left, self._sizes, self._right = np.linalg.svd(scaled, full_matrices=False)

    def regression(self, values: np.ndarray, penalty: float) -> Regression:
        """The ridge regression of values (N, K); the penalty is per training clip, whatever their number."""
        own = values[self._training]
        mean = own.mean(axis=0)
        shrunk = self._sizes / (self._sizes**2 + penalty * len(own))
        scaled = self._right.T @ (shrunk[:, None] * (self._left.T @ (own - mean)))
        weights = scaled / self._scale[:, None]
        return Regression(weights, mean - self._mean @ weights, penalty)


def ridge(
    vectors: np.ndarray,
    values: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray,
    penalties: Sequence[float],
    decomposed: Decomposed | None = None,
) -> Regression:
    """The ridge regression whose penalty has the least squared error on the validation clips; of equals the greatest.

    Args:
        vectors: (N, D).
        values: (N, K).
        training, validation: rows of each side.
        penalties: to choose from, per training clip.
        decomposed: that of these training vectors, where it was made before.
    """

    parts = decomposed or Decomposed(vectors, training)
    tried = [parts.regression(values, penalty) for penalty in sorted(penalties, reverse=True)]
    held_out, true = vectors[validation].astype(np.float64), values[validation]
    return min(tried, key=lambda one: float(((one.predict(held_out) - true) ** 2).sum()))


def asked(
    vectors: np.ndarray,
    clips: pd.DataFrame,
    told: pd.DataFrame,
    labels: Sequence[Label],
    settings: Meaning,
    fitting: Probe,
) -> Iterator[Found]:
    """Ask vectors (N, D) about every label.

    Args:
        vectors: frozen.
        clips: composer, work and split, in the order of the vectors.
        told: the labels of the same clips.
        labels: which of them to ask about.
        settings: penalties, strengths, and the fewest clips.
        fitting: iterations of the logistic regression.

    Raises:
        UserError: a vector is not finite.
    """

    if not np.isfinite(vectors).all():
        raise UserError("some vectors are not finite numbers: the model that made them has diverged")
    sides = clips["split"].to_numpy(dtype=str)
    parts: dict[bytes, Decomposed] = {}
    for label in labels:
        values = label.values(told)
        there = known(values)
        unknown = int((~there & (sides == "test")).sum())
        reason = why_not(values, sides, settings.minimum_clips)
        if reason:
            yield Found(label.name, measures(label)[0], by_work(clips[:0], *np.zeros((3, 0))), unknown, reason=reason)
        elif label.is_class:
            yield _classes(vectors, clips, label, values, fitting.model_copy(update={"strengths": settings.strengths}))
        else:
            training = np.flatnonzero(there & (sides == "train"))
            validation = np.flatnonzero(there & (sides == "validation"))
            if training.tobytes() not in parts:
                parts[training.tobytes()] = Decomposed(vectors, training)
            fitted = ridge(vectors, values, training, validation, settings.penalties, parts[training.tobytes()])
            yield from _numbers(vectors, clips, label, values, fitted)


def measures(label: Label) -> tuple[str, ...]:
    """The measures of a label, the one that counts first."""
    if label.is_class:
        return ("accuracy",)
    return ("r2", "correlation") if len(label.columns) > 1 else ("r2",)


def by_work(clips: pd.DataFrame, score: np.ndarray, baseline: np.ndarray, weight: np.ndarray) -> pd.DataFrame:
    """One row a work: its clips, and the sums of what was found of each of them."""
    table = clips.assign(work=work_of(clips), clips=1, score=score, baseline=baseline, weight=weight)
    return table.groupby("work")[list(SUMS)].sum().reset_index()


def work_of(clips: pd.DataFrame) -> pd.Series[str]:
    """The work of each clip with its composer: two may have written a Sonata 1."""
    named: pd.Series[str] = clips["composer"].astype(str) + " / " + clips["work"].astype(str)
    return named


def _numbers(
    vectors: np.ndarray, clips: pd.DataFrame, label: Label, values: np.ndarray, fitted: Regression
) -> Iterator[Found]:
    """Judge a ridge regression on the test clips."""

    sides, there = clips["split"].to_numpy(dtype=str), known(values)
    test = np.flatnonzero(there & (sides == "test"))
    mean, true = values[there & (sides == "train")].mean(axis=0), values[test]
    answered = fitted.predict(vectors[test].astype(np.float64))
    total, error = ((true - mean) ** 2).sum(axis=1), ((true - answered) ** 2).sum(axis=1)
    scores = {"r2": (total - error, np.zeros(len(test)), total)}
    if "correlation" in measures(label):
        flat = np.broadcast_to(mean, true.shape)
        scores["correlation"] = (correlation(answered, true), correlation(flat, true), np.ones(len(test)))
    unknown = int((~there & (sides == "test")).sum())
    for measure, found in scores.items():
        yield Found(label.name, measure, by_work(clips.iloc[test], *found), unknown, strength=fitted.penalty)


def _classes(vectors: np.ndarray, clips: pd.DataFrame, label: Label, values: np.ndarray, fitting: Probe) -> Found:
    """Fit and judge a logistic regression. What it cannot name decides nothing in the fit and counts as wrong."""

    sides, there = clips["split"].to_numpy(dtype=str), known(values)
    able = seen(values, sides == "train")
    outcome = regression.fit(vectors, clips.assign(composer=values, split=np.where(able, sides, "")), fitting)
    test = np.flatnonzero(there & (sides == "test"))
    named = np.array(outcome.composers)[outcome.probabilities[test].argmax(axis=1)]
    names, counts = np.unique(values[there & (sides == "train")], return_counts=True)
    common = values[test] == names[counts.argmax()]
    table = by_work(clips.iloc[test], (named == values[test]).astype(float), common.astype(float), np.ones(len(test)))
    unknown, unseen = int((~there & (sides == "test")).sum()), int((~able[test]).sum())
    return Found(label.name, "accuracy", table, unknown, unseen, outcome.strength)


def correlation(told: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The correlation (B,) of each row of (B, K) with the same row of another; 0 where a row does not vary."""

    a, b = (one - one.mean(axis=1, keepdims=True) for one in (told, true))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    found: np.ndarray = np.divide((a * b).sum(axis=1), size, out=np.zeros(len(size)), where=size > 1e-12)
    return found
