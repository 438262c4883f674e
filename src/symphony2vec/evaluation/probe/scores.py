"""Scores of a probe or a classifier at three levels: accuracy and macro-F1 with bootstrap intervals over works.

The composer of a movement (one file) or of a work is the one with the highest mean log probability over its test clips;
the temperature of a probe does not change it.

K composers, G works with test clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.probe.regression import ProbeResult
from symphony2vec.package.head import LEAST_PROBABILITY
from symphony2vec.params import Probe

FEW_WORKS = 3  # with fewer test works of a composer the interval says little about that composer
# The columns that tell the movements or works apart.
GROUPS = {"movement": ["composer", "work", "file"], "work": ["composer", "work"]}
# The names of the scores of each level begin like this: test_accuracy is that of clips.
PREFIXES = {"clip": "test", "movement": "test_movement", "work": "test_work"}
# The scores of each level that dvc.yaml declares as metrics; MLflow gets these and others.
MAIN_METRICS = [
    f"{prefix}_{name}"
    for prefix in PREFIXES.values()
    for name in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1")
]
METRICS = [
    *MAIN_METRICS,
    *(f"{prefix}_macro_f1_{end}" for prefix in PREFIXES.values() for end in ("low", "high")),
    *"train_accuracy validation_accuracy majority_accuracy majority_movement_accuracy majority_work_accuracy".split(),
    *"strength temperature test_log_loss test_log_loss_calibrated".split(),
]


@dataclass(frozen=True)
class Predictions:
    """The test items of one level: codes of their true and predicted composers, and of their work among `works`."""

    true: np.ndarray
    predicted: np.ndarray
    work: np.ndarray
    works: list[str]


def score(result: ProbeResult, clips: pd.DataFrame, settings: Probe) -> dict[str, Any]:
    """Return every number that is reported of one probe, as plain values for JSON.

    Args:
        result: the probe, or a classifier's probabilities.
        clips: columns composer, work, file and split, one row a row of the probabilities.
        settings: bootstrap resamples, confidence and seed.
    """
    true = _codes(clips, result)
    predicted = result.probabilities.argmax(axis=1)
    rows = {split: np.flatnonzero(clips["split"] == split) for split in ("train", "validation", "test")}
    majority = int(np.bincount(true[rows["train"]]).argmax())
    test = {level: predict_test(result, clips, level) for level in statistics.LEVELS}
    works = test["work"].works
    composer_of_work = [name.split(" / ")[0] for name in works]
    scores: dict[str, Any] = {
        f"{split}_accuracy": float((true[rows[split]] == predicted[rows[split]]).mean())
        for split in ("train", "validation")
    }
    for level, items in test.items():
        scores |= _score_level(items, len(result.composers), PREFIXES[level], settings)
        majority_name = PREFIXES[level].replace("test", "majority") + "_accuracy"
        scores[majority_name] = float((items.true == majority).mean())
    return scores | {
        "majority_composer": result.composers[majority],
        "strength": result.strength,
        "converged": result.converged,
        "confidence": settings.confidence,
        "composers": result.composers,
        "confusion": _confusion(test["clip"], len(result.composers)).sum(axis=0).tolist(),
        "clips": {split: len(indices) for split, indices in rows.items()},
        "test_movements": len(test["movement"].true),
        "test_works": len(works),
        "few_test_works": sorted({name for name in composer_of_work if composer_of_work.count(name) < FEW_WORKS}),
        **result.calibration,
    }


def predict_test(result: ProbeResult, clips: pd.DataFrame, level: str) -> Predictions:
    """Return the predicted composers of the test clips, of their movements or of their works.

    Args:
        result: the probe, or a classifier's probabilities.
        clips: columns composer, work, file and split, one row a row of the probabilities.
        level: clip, movement or work.
    """
    is_test = (clips["split"] == "test").to_numpy()
    table, probabilities = clips[is_test], result.probabilities[is_test]
    names = (table["composer"].astype(str) + " / " + table["work"].astype(str)).to_numpy(dtype=str)
    works, work = np.unique(names, return_inverse=True)
    true = _codes(table, result)
    if level == "clip":
        return Predictions(true, probabilities.argmax(axis=1), work, works.tolist())
    group = table.groupby(GROUPS[level]).ngroup().to_numpy()
    _, first = np.unique(group, return_index=True)
    sums = np.zeros((len(first), probabilities.shape[1]))  # the highest sum is that of the highest mean
    np.add.at(sums, group, np.log(np.maximum(probabilities, LEAST_PROBABILITY)))
    return Predictions(true[first], sums.argmax(axis=1), work[first], works.tolist())


def _confusion(items: Predictions, composers: int) -> np.ndarray:
    return statistics.confusion_by_work(items.true, items.predicted, items.work, composers)


def _score_level(items: Predictions, composers: int, prefix: str, settings: Probe) -> dict[str, float]:
    """Return accuracy and macro-F1 of one level with their intervals, under names that begin with the prefix."""
    counts = _confusion(items, composers)
    scores = {
        f"{prefix}_accuracy": float((items.true == items.predicted).mean()),
        f"{prefix}_macro_f1": float(statistics.macro_f1(counts.sum(axis=0))),
    }
    resampled = statistics.bootstrap_scores(counts, settings.bootstrap_resamples, settings.seed)
    for name, values in resampled.items():
        low, high = statistics.interval(values, settings.confidence)
        scores |= {f"{prefix}_{name}_low": float(low), f"{prefix}_{name}_high": float(high)}
    return scores


def predictions(result: ProbeResult, clips: pd.DataFrame) -> pd.DataFrame:
    """Return the test clips with the predicted composer and the probability of every composer."""
    test = (clips["split"] == "test").to_numpy()
    table = clips.loc[test, ["clip", "composer", "work", "group"]].reset_index(drop=True)
    probabilities = result.probabilities[test]
    table["predicted"] = [result.composers[code] for code in probabilities.argmax(axis=1)]
    by_composer = pd.DataFrame(probabilities.round(6), columns=[f"p({name})" for name in result.composers])
    return pd.concat([table, by_composer], axis=1)


def correct_by_work(result: ProbeResult, clips: pd.DataFrame) -> pd.DataFrame:
    """Return one row a test work: work (with its composer), and the columns of `statistics.LEVELS`.

    These are clips, right (how many of them are predicted), movements, right_movements and right_works (0 or 1).
    """
    columns: dict[str, Any] = {}
    for level, (items_column, correct_column) in statistics.LEVELS.items():
        items = predict_test(result, clips, level)
        if items_column:
            columns[items_column] = np.bincount(items.work, minlength=len(items.works))
        correct = items.work[items.true == items.predicted]
        columns[correct_column] = np.bincount(correct, minlength=len(items.works))
    return pd.DataFrame({"work": items.works, **columns})


def _codes(clips: pd.DataFrame, result: ProbeResult) -> np.ndarray:
    code_of = {name: code for code, name in enumerate(result.composers)}
    return np.array([code_of[name] for name in clips["composer"].astype(str)])
