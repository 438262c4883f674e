"""The probe: a multinomial logistic regression on standardised vectors, the paper's measure.

It is fitted on the training clips; its inverse regularisation strength C is the one with the best validation accuracy.
Test clips choose nothing. K composers, D dimensions.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from symphony2vec.errors import UserError
from symphony2vec.package.head import Head, log_loss, softmax
from symphony2vec.params import Probe


@dataclass(frozen=True)
class ProbeResult:
    """A fitted probe, or a classifier's own probabilities.

    Attributes:
        composers: the K classes.
        strength: the C that validation chose; None for a classifier.
        probabilities: (clips, K), of all clips, not calibrated.
        converged: whether the solver converged at that strength.
        head: the fitted probe, calibrated on validation clips; None for a classifier.
        calibration: temperature, and test log loss before and after calibration.
    """

    composers: list[str]
    strength: float | None
    probabilities: np.ndarray
    converged: bool
    head: Head | None = None
    calibration: Mapping[str, float] = field(default_factory=dict)


def fit(vectors: np.ndarray, clips: pd.DataFrame, settings: Probe) -> ProbeResult:
    """Return the probe fitted on the training clips, with the C of the highest validation accuracy.

    Of several C with the same validation accuracy the smallest, the most regularised, is taken.

    Args:
        vectors: (clips, D).
        clips: columns composer and split, in the order of the vectors.
        settings: the values of C to try, and the most iterations.

    Raises:
        UserError: some vectors are not finite.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from symphony2vec.params import Probe
        >>> rng = np.random.default_rng(0)
        >>> clips = pd.DataFrame({"composer": ["Bach", "Haydn"] * 30, "split": ["train"] * 40 + ["validation"] * 10
        ...                       + ["test"] * 10})
        >>> vectors = rng.standard_normal((60, 4)) + 3.0 * (clips["composer"] == "Bach").to_numpy()[:, None]
        >>> settings = Probe(inverse_regularisation=[0.1, 1.0], max_iterations=100, bootstrap_resamples=10,
        ...                  confidence=0.95, seed=0)
        >>> fit(vectors, clips, settings).probabilities.shape
        (60, 2)
    """
    if not np.isfinite(vectors).all():
        raise UserError("some vectors are not finite numbers: the model that made them has diverged")
    composer = clips["composer"].to_numpy(dtype=str)
    training, validation = (np.flatnonzero(clips["split"] == split) for split in ("train", "validation"))
    scaler = StandardScaler().fit(vectors[training])
    scaled = scaler.transform(vectors)
    probe = LogisticRegression(max_iter=settings.max_iterations, warm_start=True)
    best, best_accuracy = None, -1.0
    for strength in sorted(settings.inverse_regularisation):  # each starts from the solution of the previous one
        probe.set_params(C=strength)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            probe.fit(scaled[training], composer[training])
        accuracy = probe.score(scaled[validation], composer[validation])
        if accuracy > best_accuracy:
            converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
            composers = [str(name) for name in probe.classes_]
            best = ProbeResult(composers, float(strength), probe.predict_proba(scaled), converged)
            best_accuracy, head = accuracy, Head.from_sklearn(scaler, probe)
    assert best is not None
    return replace(best, **_calibrate(head, vectors, clips))


def _calibrate(head: Head, vectors: np.ndarray, clips: pd.DataFrame) -> dict[str, Any]:
    """The head at the temperature that suits the validation clips, and what that does to the log loss of test clips."""
    composer = clips["composer"].astype(str).to_numpy()
    validation, test = (np.flatnonzero(clips["split"] == split) for split in ("validation", "test"))
    validation_codes, test_codes = (
        np.array([head.composers.index(name) for name in composer[rows]]) for rows in (validation, test)
    )
    calibrated = head.calibrate(vectors[validation], validation_codes)
    calibration = {
        "temperature": calibrated.temperature,
        "test_log_loss": log_loss(softmax(head.logits(vectors[test])), test_codes),
        "test_log_loss_calibrated": log_loss(calibrated.probabilities(vectors[test]), test_codes),
    }
    return {"head": calibrated, "calibration": calibration}
