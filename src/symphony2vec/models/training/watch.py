"""Validation metrics of the learning curves: accuracy of a quick linear probe, and scores of class probabilities.

Early stopping uses them; reported accuracies come from the stage `probe`. B clips, D dimensions, K composers.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PROBE_ACCURACY = "probe_validation_accuracy"  # column of the curves
PROBE_C = 0.01  # inverse regularisation strength, in the middle of the grid of the stage `probe`


def score_probe(vectors: np.ndarray, codes: np.ndarray, training: int) -> float:
    """Return the accuracy of a logistic regression that is fitted to the first rows, on the remaining rows.

    Args:
        vectors: (B, D), first of training clips, then of validation clips.
        codes: (B,) composers as integers.
        training: number of training clips.

    Returns:
        Accuracy on the validation clips; 0 if a vector is not finite.

    Examples:
        >>> score_probe(np.array([[-1.0], [1.0], [-2.0], [2.0]]), np.array([0, 1, 0, 1]), training=2)
        1.0
    """
    if not np.isfinite(vectors).all():
        return 0.0
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PROBE_C, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe.fit(vectors[:training], codes[:training])
    return float(probe.score(vectors[training:], codes[training:]))


def score_probabilities(probabilities: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    """Return cross-entropy and accuracy of class probabilities on validation clips.

    Args:
        probabilities: (B, K).
        codes: (B,) composers as integers.

    Returns:
        validation_loss and validation_accuracy.

    Examples:
        >>> score_probabilities(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 0]))["validation_accuracy"]
        1.0
    """
    of_true_class = probabilities[np.arange(len(codes)), codes].clip(1e-12)
    accuracy = (probabilities.argmax(axis=1) == codes).mean()
    return {"validation_loss": float(-np.log(of_true_class).mean()), "validation_accuracy": float(accuracy)}
