"""A quick look at what vectors, or a network's own answers, know of the composer while it is still being trained.

The curves show it, and a training with patience is judged by it; the numbers that are reported come from the stage
`probe`. B clips, D dimensions, K composers.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PROBE_ACCURACY = "probe_validation_accuracy"  # the column of the curves
STRENGTH = 0.01  # C of the logistic regression, in the middle of the strengths that the probe tries


def glance(vectors: np.ndarray, codes: np.ndarray, training: int) -> float:
    """A quick look while a model is trained: a probe of one strength, fitted on the first rows, right on the others.

    Args:
        vectors: (B, D), of training clips and then of validation clips.
        codes: (B,) composers.
        training: how many rows are training clips.
    """
    if not np.isfinite(vectors).all():
        return 0.0
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe.fit(vectors[:training], codes[:training])
    return float(probe.score(vectors[training:], codes[training:]))


def answered(probabilities: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    """Cross-entropy and accuracy of a network with labels on validation clips: (B, K) and their composers (B,)."""
    likely = probabilities[np.arange(len(codes)), codes].clip(1e-12)
    right = probabilities.argmax(axis=1) == codes
    return {"validation_loss": float(-np.log(likely).mean()), "validation_accuracy": float(right.mean())}
