"""Scores of a probe or a classifier: accuracy and macro-F1 with bootstrap intervals over works, and its predictions.

K composers, G works with test clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.probe.regression import ProbeResult
from symphony2vec.params import Probe

FEW_WORKS = 3  # with fewer test works of a composer the interval says little about that composer
# The scores that MLflow gets.
METRICS = (
    "test_accuracy test_accuracy_low test_accuracy_high test_macro_f1 test_macro_f1_low test_macro_f1_high "
    "train_accuracy validation_accuracy majority_accuracy strength temperature test_log_loss test_log_loss_calibrated"
).split()


def score(result: ProbeResult, clips: pd.DataFrame, settings: Probe) -> dict[str, Any]:
    """Return every number that is reported of one probe, as plain values for JSON.

    Args:
        result: the probe, or a classifier's probabilities.
        clips: columns composer, work and split, one row a row of the probabilities.
        settings: bootstrap resamples, confidence and seed.
    """
    true = _codes(clips, result)
    predicted = result.probabilities.argmax(axis=1)
    rows = {split: np.flatnonzero(clips["split"] == split) for split in ("train", "validation", "test")}
    test = rows["test"]
    work = (clips["composer"].astype(str) + " / " + clips["work"].astype(str)).to_numpy(dtype=str)[test]
    works, work_codes = np.unique(work, return_inverse=True)
    counts = statistics.confusion_by_work(true[test], predicted[test], work_codes, len(result.composers))
    composer_of_work = [name.split(" / ")[0] for name in works]
    majority = int(np.bincount(true[rows["train"]]).argmax())
    scores: dict[str, Any] = {
        f"{split}_accuracy": float((true[indices] == predicted[indices]).mean()) for split, indices in rows.items()
    }
    scores["test_macro_f1"] = float(statistics.macro_f1(counts.sum(axis=0)))
    resampled = statistics.bootstrap_scores(counts, settings.bootstrap_resamples, settings.seed)
    for name, values in resampled.items():
        low, high = statistics.interval(values, settings.confidence)
        scores |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return scores | {
        "majority_accuracy": float((true[test] == majority).mean()),
        "majority_composer": result.composers[majority],
        "strength": result.strength,
        "converged": result.converged,
        "confidence": settings.confidence,
        "composers": result.composers,
        "confusion": counts.sum(axis=0).tolist(),
        "clips": {split: len(indices) for split, indices in rows.items()},
        "test_works": len(works),
        "few_test_works": sorted({name for name in composer_of_work if composer_of_work.count(name) < FEW_WORKS}),
        **result.calibration,
    }


def predictions(result: ProbeResult, clips: pd.DataFrame) -> pd.DataFrame:
    """Return the test clips with the predicted composer and the probability of every composer."""
    test = (clips["split"] == "test").to_numpy()
    table = clips.loc[test, ["clip", "composer", "work", "group"]].reset_index(drop=True)
    probabilities = result.probabilities[test]
    table["predicted"] = [result.composers[code] for code in probabilities.argmax(axis=1)]
    by_composer = pd.DataFrame(probabilities.round(6), columns=[f"p({name})" for name in result.composers])
    return pd.concat([table, by_composer], axis=1)


def correct_by_work(result: ProbeResult, clips: pd.DataFrame) -> pd.DataFrame:
    """Return one row a test work: work (with its composer), clips, and right: how many of them were predicted."""
    test = (clips["split"] == "test").to_numpy()
    test_clips = clips[test]
    predicted = result.probabilities[test].argmax(axis=1)
    table = test_clips.assign(
        work=test_clips["composer"].astype(str) + " / " + test_clips["work"].astype(str),
        right=predicted == _codes(test_clips, result),
    )
    return table.groupby("work")["right"].agg(clips="count", right="sum").reset_index()


def _codes(clips: pd.DataFrame, result: ProbeResult) -> np.ndarray:
    code_of = {name: code for code, name in enumerate(result.composers)}
    return np.array([code_of[name] for name in clips["composer"].astype(str)])
