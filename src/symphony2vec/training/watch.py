"""A quick look at what vectors know of the composer while their model is still being trained.

The curves show it, and a training with patience is judged by it; the numbers that are reported come from the stage
`probe`. B clips, D dimensions.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

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
