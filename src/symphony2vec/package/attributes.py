"""Musical attributes of a passage, read from its vector by the linear probes of a package.

n vectors of D dimensions; K numbers of an attribute: 12 for the pitch classes, otherwise 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from symphony2vec.labels import harmony


@dataclass(frozen=True)
class Attribute:
    """A ridge regression: weights (D, K), offset (K,).

    Attributes:
        name: of the label it predicts, such as "strings".
        title: for readers, such as "share of strings".
        unit: for readers, "" for a share.
        weights: of the vector.
        offset: of the prediction.
        low: the smallest value that is possible, or in the training clips; predictions are clipped to it.
        high: the highest.
        is_log: the probe predicts the logarithm to base 2.
        r2: coefficient of determination on test clips.
        r2_low: lower end of its interval over works.
        r2_high: upper end.
        key_accuracy: of the pitch classes: the share of test clips whose key is that of the notes, when it is estimated
            from the predicted pitch classes, with the ends of its interval over works. None otherwise.
    """

    name: str
    title: str
    unit: str
    weights: np.ndarray
    offset: np.ndarray
    low: float
    high: float
    is_log: bool
    r2: float
    r2_low: float
    r2_high: float
    key_accuracy: tuple[float, float, float] | None = None

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Return the values (n, K) of vectors (n, D).

        Examples:
            >>> weights, offset = np.array([[0.5]]), np.array([0.2])
            >>> share = Attribute("strings", "share of strings", "", weights, offset, 0.0, 1.0, False,
            ...                   0.8, 0.7, 0.9)
            >>> share.predict(np.array([[1.0], [4.0]])).tolist()
            [[0.7], [1.0]]
        """
        values = np.asarray(vectors, dtype=np.float64) @ self.weights + self.offset
        clipped: np.ndarray = np.clip(np.exp2(values) if self.is_log else values, self.low, self.high)
        return clipped

    def as_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        arrays = {name: np.float32(getattr(self, name)).tolist() for name in ("weights", "offset")}
        return asdict(self) | arrays

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Attribute:
        """Return the attribute that `as_plain` described."""
        arrays = {name: np.array(plain[name], dtype=np.float64) for name in ("weights", "offset")}
        return cls(**{**plain, **arrays})


def estimate_keys(shares: np.ndarray) -> np.ndarray:
    """Return the keys (n, 1) of pitch classes (n, 12) by name, "" for equal shares; see `labels.harmony`.

    Examples:
        >>> estimate_keys(np.array([[0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0.5]])).tolist()
        [['D major']]
    """
    keys = [harmony.estimate_key(row) for row in np.asarray(shares, dtype=np.float64)]
    return np.array([["" if key is None else harmony.KEYS[key]] for key in keys]).reshape(-1, 1)
