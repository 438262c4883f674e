"""The probe as a part of a package: it names the composer from a vector, with calibrated probabilities.

D dimensions, K composers, n vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize_scalar

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

HOTTEST = 20.0  # the temperature is sought between its inverse and this


@dataclass(frozen=True)
class Head:
    """The probe: a logistic regression on standardised vectors. mean, scale (D,), weights (K, D), bias (K,).

    `temperature` divides the logits: it was chosen on validation works, so that the probabilities are calibrated.
    """

    composers: list[str]
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    temperature: float

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """(n, D) -> (n, K), before the temperature."""
        standard = (np.asarray(vectors, dtype=np.float64) - self.mean) / self.scale
        found: np.ndarray = standard @ self.weights.T + self.bias
        return found

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(n, D) -> (n, K), calibrated."""
        return softmax(self.logits(vectors) / self.temperature)

    def as_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: np.asarray(value).tolist() for name, value in asdict(self).items()}

    @classmethod
    def of(cls, scaler: StandardScaler, probe: LogisticRegression) -> Head:
        """What scikit-learn fitted, at temperature 1. Of two composers it keeps one row of weights, the second's."""
        weights, bias = probe.coef_, probe.intercept_
        if len(weights) == 1:
            weights, bias = np.concatenate([0.0 * weights, weights]), np.array([0.0, bias[0]])
        return cls([str(name) for name in probe.classes_], scaler.mean_, scaler.scale_, weights, bias, 1.0)

    def calibrated(self, vectors: np.ndarray, codes: np.ndarray) -> Head:
        """At the temperature of the smallest log loss on vectors (n, D) of composers (n,) it was not fitted on."""

        logits, highest = self.logits(vectors), float(np.log(HOTTEST))
        found = minimize_scalar(
            lambda heat: log_loss(softmax(logits / np.exp(heat)), codes), bounds=(-highest, highest), method="bounded"
        )
        return replace(self, temperature=float(np.exp(found.x)))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Head:
        """What `as_plain` gave."""
        arrays = {name: np.array(plain[name], dtype=np.float64) for name in ("mean", "scale", "weights", "bias")}
        return cls(list(plain["composers"]), **arrays, temperature=float(plain["temperature"]))


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, K) -> (n, K), each row summing to 1."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares


def log_loss(probabilities: np.ndarray, codes: np.ndarray) -> float:
    """Mean of -log of the probability (n, K) that the true composer (n,) was given."""
    given = probabilities[np.arange(len(codes)), codes]
    return float(-np.log(np.maximum(given, 1e-12)).mean())
