"""Linear probes: what a vector encodes of a label, fitted on training clips and tested once on test clips.

Numbers are predicted by ridge regression, classes by the logistic regression of `symphony2vec.evaluation.probe`, both
from vectors standardised on the training clips; validation clips choose the regularisation strength. Measures:

    r2           1 - squared error / squared error of the training mean; its baseline is 0
    correlation  between the 12 predicted and true pitch classes of a clip; the baseline predicts the mean profile
    accuracy     share of clips; the baseline predicts the most common class of the training clips

Each measure is a sum of scores over a sum of weights (the number of clips, or for r2 the squared distance from the
training mean), so that whole works can be resampled without fitting again.

N clips, B test clips, D dimensions, K numbers of one label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from symphony2vec.errors import UserError
from symphony2vec.evaluation.meaning.targets import Label, explain_unmeasurable, is_known, is_predictable
from symphony2vec.evaluation.probe import regression
from symphony2vec.params import Meaning, Probe

SUMS = ("clips", "score", "baseline", "weight")


@dataclass(frozen=True)
class RidgeModel:
    """A fitted ridge regression in the units of the vectors.

    Attributes:
        weights: (D, K); a column is the direction in which the prediction grows fastest.
        offset: (K,).
        penalty: the penalty that validation chose.
    """

    weights: np.ndarray
    offset: np.ndarray
    penalty: float

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Return the predictions (N, K) for vectors (N, D)."""
        predictions: np.ndarray = vectors @ self.weights + self.offset
        return predictions


@dataclass(frozen=True)
class Measurement:
    """One measure of one probe or retrieval task on the test clips of a fold.

    Attributes:
        label, measure: names.
        table: one row a test work: clips, and the sums of score, baseline and weight; empty if `reason` is given.
        left_out: number of test clips whose label is unknown, or that are no queries.
        unseen: number of test clips of a class without a training clip; they count as wrong.
        strength: the chosen penalty of the ridge, or C of the logistic regression.
        reason: why nothing could be measured.
    """

    label: str
    measure: str
    table: pd.DataFrame
    left_out: int = 0
    unseen: int = 0
    strength: float | None = None
    reason: str = ""


class TrainingSvd:
    """Standardised training vectors and their singular value decomposition, shared by all labels and penalties."""

    def __init__(self, vectors: np.ndarray, training: np.ndarray) -> None:
        self._training = training
        scaler = StandardScaler().fit(vectors[training].astype(np.float64))
        self._mean, self._scale = scaler.mean_, scaler.scale_
        scaled = scaler.transform(vectors[training].astype(np.float64))
        self._u, self._s, self._vt = np.linalg.svd(scaled, full_matrices=False)

    def fit(self, values: np.ndarray, penalty: float) -> RidgeModel:
        """Return the ridge regression of values (N, K) with a penalty per training clip."""
        targets = values[self._training]
        mean = targets.mean(axis=0)
        shrunk = self._s / (self._s**2 + penalty * len(targets))
        scaled_weights = self._vt.T @ (shrunk[:, None] * (self._u.T @ (targets - mean)))
        weights = scaled_weights / self._scale[:, None]
        return RidgeModel(weights, mean - self._mean @ weights, penalty)


def fit_ridge(
    vectors: np.ndarray,
    values: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray,
    penalties: Sequence[float],
    svd: TrainingSvd | None = None,
) -> RidgeModel:
    """Return the ridge regression whose penalty has the least squared error on validation; of equals the greatest.

    Args:
        vectors: (N, D).
        values: (N, K).
        training: row numbers of the training clips.
        validation: row numbers of the validation clips.
        penalties: to choose from, per training clip.
        svd: of these training vectors, if computed before.
    """
    svd = svd or TrainingSvd(vectors, training)
    models = [svd.fit(values, penalty) for penalty in sorted(penalties, reverse=True)]
    inputs, true = vectors[validation].astype(np.float64), values[validation]
    return min(models, key=lambda model: float(((model.predict(inputs) - true) ** 2).sum()))


def probe_labels(
    vectors: np.ndarray,
    clips: pd.DataFrame,
    table: pd.DataFrame,
    labels: Sequence[Label],
    settings: Meaning,
    probe_settings: Probe,
) -> Iterator[Measurement]:
    """Fit a probe to each label and yield its measures on the test clips.

    Args:
        vectors: (N, D), frozen.
        clips: composer, work and split, in the order of the vectors.
        table: the labels of the same clips.
        labels: those to probe.
        settings: penalties, strengths, and the fewest clips.
        probe_settings: iterations of the logistic regression.

    Raises:
        UserError: a vector is not finite.
    """
    if not np.isfinite(vectors).all():
        raise UserError("some vectors are not finite numbers: the model that made them has diverged")
    logistic_settings = probe_settings.model_copy(update={"inverse_regularisation": settings.inverse_regularisation})
    splits = clips["split"].to_numpy(dtype=str)
    svds: dict[bytes, TrainingSvd] = {}
    for label in labels:
        values = label.values(table)
        mask = is_known(values)
        reason = explain_unmeasurable(values, splits, settings.minimum_clips)
        if reason:
            unknown = int((~mask & (splits == "test")).sum())
            nothing = sum_by_work(clips[:0], *np.zeros((3, 0)))
            yield Measurement(label.name, label.measures[0], nothing, unknown, reason=reason)
        elif label.is_class:
            yield _probe_class(vectors, clips, label, values, logistic_settings)
        else:
            training, validation = (np.flatnonzero(mask & (splits == split)) for split in ("train", "validation"))
            if training.tobytes() not in svds:
                svds[training.tobytes()] = TrainingSvd(vectors, training)
            svd = svds[training.tobytes()]
            model = fit_ridge(vectors, values, training, validation, settings.penalties, svd)
            yield from _test_ridge(vectors, clips, label, values, model)


def sum_by_work(clips: pd.DataFrame, score: np.ndarray, baseline: np.ndarray, weight: np.ndarray) -> pd.DataFrame:
    """Return one row a work: its number of clips, and the sums of their scores, baselines and weights."""
    table = clips.assign(work=work_names(clips), clips=1, score=score, baseline=baseline, weight=weight)
    return table.groupby("work")[list(SUMS)].sum().reset_index()


def work_names(clips: pd.DataFrame) -> pd.Series[str]:
    """Return the work of each clip with its composer: two composers may have written a Sonata 1."""
    names: pd.Series[str] = clips["composer"].astype(str) + " / " + clips["work"].astype(str)
    return names


def _test_ridge(
    vectors: np.ndarray, clips: pd.DataFrame, label: Label, values: np.ndarray, model: RidgeModel
) -> Iterator[Measurement]:
    """Yield the measures of a ridge regression on the test clips."""
    splits, mask = clips["split"].to_numpy(dtype=str), is_known(values)
    test = np.flatnonzero(mask & (splits == "test"))
    mean, true = values[mask & (splits == "train")].mean(axis=0), values[test]
    predicted = model.predict(vectors[test].astype(np.float64))
    total, error = ((true - mean) ** 2).sum(axis=1), ((true - predicted) ** 2).sum(axis=1)
    scores = {"r2": (total - error, np.zeros(len(test)), total)}
    if "correlation" in label.measures:
        constant = np.broadcast_to(mean, true.shape)
        scores["correlation"] = (correlate_rows(predicted, true), correlate_rows(constant, true), np.ones(len(test)))
    unknown = int((~mask & (splits == "test")).sum())
    for measure, sums in scores.items():
        table = sum_by_work(clips.iloc[test], *sums)
        yield Measurement(label.name, measure, table, unknown, strength=model.penalty)


def _probe_class(
    vectors: np.ndarray, clips: pd.DataFrame, label: Label, values: np.ndarray, settings: Probe
) -> Measurement:
    """Fit and test a logistic regression; classes without a training clip are not fitted and count as wrong."""
    splits, mask = clips["split"].to_numpy(dtype=str), is_known(values)
    predictable = is_predictable(values, splits == "train")
    result = regression.fit(vectors, clips.assign(composer=values, split=np.where(predictable, splits, "")), settings)
    test = np.flatnonzero(mask & (splits == "test"))
    predicted = np.array(result.composers)[result.probabilities[test].argmax(axis=1)]
    names, counts = np.unique(values[mask & (splits == "train")], return_counts=True)
    right, baseline = (predicted == values[test]).astype(float), (values[test] == names[counts.argmax()]).astype(float)
    table = sum_by_work(clips.iloc[test], right, baseline, np.ones(len(test)))
    unknown, unseen = int((~mask & (splits == "test")).sum()), int((~predictable[test]).sum())
    return Measurement(label.name, "accuracy", table, unknown, unseen, result.strength)


def correlate_rows(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation (B,) of the rows of two arrays (B, K); 0 where a row is constant.

    Examples:
        >>> import numpy as np
        >>> correlate_rows(np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 4.0, 6.0]])).round(6)
        array([1.])
    """
    a, b = (rows - rows.mean(axis=1, keepdims=True) for rows in (predicted, true))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    rho: np.ndarray = np.divide((a * b).sum(axis=1), scale, out=np.zeros(len(scale)), where=scale > 1e-12)
    return rho
