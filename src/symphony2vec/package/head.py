"""The probe head of a package: composer probabilities from a vector, calibrated.

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

LEAST_PROBABILITY = 1e-12  # a smaller one counts as this: its logarithm is finite
MAX_TEMPERATURE = 20.0  # the search range is from its inverse to this


@dataclass(frozen=True)
class Head:
    """Logistic regression on standardised vectors. mean, scale (D,), weights (K, D), bias (K,).

    `temperature` divides the logits; it is fitted on validation works to calibrate the probabilities.
    """

    composers: list[str]
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    temperature: float

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """Return the logits (n, K) of vectors (n, D), before the temperature."""
        standardised = (np.asarray(vectors, dtype=np.float64) - self.mean) / self.scale
        return np.asarray(standardised @ self.weights.T + self.bias)

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities (n, K) of vectors (n, D)."""
        return softmax(self.logits(vectors) / self.temperature)

    def as_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: np.asarray(value).tolist() for name, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Head:
        """Return the head that `as_plain` described."""
        arrays = {name: np.array(plain[name], dtype=np.float64) for name in ("mean", "scale", "weights", "bias")}
        return cls(list(plain["composers"]), **arrays, temperature=float(plain["temperature"]))

    @classmethod
    def from_sklearn(cls, scaler: StandardScaler, probe: LogisticRegression) -> Head:
        """Return a fitted scaler and probe as a head, at temperature 1.

        For two composers scikit-learn stores the second one's weights only; the first one's become zeros.
        """
        weights, bias = probe.coef_, probe.intercept_
        if len(weights) == 1:
            weights, bias = np.concatenate([0.0 * weights, weights]), np.array([0.0, bias[0]])
        return cls([str(name) for name in probe.classes_], scaler.mean_, scaler.scale_, weights, bias, 1.0)

    def calibrate(self, vectors: np.ndarray, codes: np.ndarray) -> Head:
        """Return the head with the temperature of the smallest log loss.

        Args:
            vectors: (n, D), not used to fit the weights.
            codes: (n,) the index of the true composer of each.
        """
        logits, bound = self.logits(vectors), float(np.log(MAX_TEMPERATURE))
        optimum = minimize_scalar(
            lambda log_temperature: log_loss(softmax(logits / np.exp(log_temperature)), codes),
            bounds=(-bound, bound),
            method="bounded",
        )
        return replace(self, temperature=float(np.exp(optimum.x)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (n, K) of logits (n, K); each row sums to 1.

    Examples:
        >>> softmax(np.array([[0.0, 0.0]]))
        array([[0.5, 0.5]])
    """
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def pool(probabilities: np.ndarray) -> np.ndarray:
    """Return the probabilities (K,) of a recording or a work from those (n, K) of its clips.

    They are the exponential of the mean log probability, normalised: their order does not depend on the temperature.

    Examples:
        >>> pool(np.array([[0.5, 0.5], [0.9, 0.1], [0.8, 0.2]])).round(2)
        array([0.77, 0.23])
    """
    mean = np.log(np.maximum(probabilities, LEAST_PROBABILITY)).mean(axis=0)
    pooled: np.ndarray = softmax(mean[None])[0]
    return pooled


def log_loss(probabilities: np.ndarray, codes: np.ndarray) -> float:
    """Return the mean negative log probability of the true class.

    Args:
        probabilities: (n, K).
        codes: (n,) the true class of each row.

    Examples:
        >>> log_loss(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))
        -0.0
    """
    likelihoods = probabilities[np.arange(len(codes)), codes]
    return float(-np.log(np.maximum(likelihoods, LEAST_PROBABILITY)).mean())
