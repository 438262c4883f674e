"""How the values of a representation become what a network takes, and how they come back.

Every scaling is affine by frequency bin, then cut to a range: y = clip((x - offset) / scale, low, high). It is saved
with the model, so that a sound embedded next year is scaled as the training clips were.

B clips, F bins, T frames. Arrays are (B, F, T) float32, in the units of `symphony2vec.features.stage`: dB below the
clip's maximum (mel), coefficients (MFCC), strengths in [0, 1] (chroma)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symphony2vec.errors import UserError

CLIPS_AT_ONCE = 256
CROP = 32  # bins and frames of the square that ALI hears
WIDEST = 4.0  # in deviations: what lies beyond is cut where a bounded network must reach every value


@dataclass(frozen=True)
class Scaling:
    """offset and scale (F,) of each bin, and the range to which the result is cut."""

    offset: np.ndarray
    scale: np.ndarray
    low: float = -math.inf
    high: float = math.inf

    def apply(self, values: np.ndarray) -> np.ndarray:
        """(..., F, T) in the representation's unit -> (..., F, T) float32 as the network takes it."""

        scaled: np.ndarray = (np.asarray(values, dtype=np.float32) - self.offset[:, None]) / self.scale[:, None]
        if math.isfinite(self.low):
            np.clip(scaled, self.low, self.high, out=scaled)
        return scaled

    def undo(self, scaled: np.ndarray) -> np.ndarray:
        """(..., F, T) as the network gives it -> (..., F, T) float32 in the representation's unit."""

        values: np.ndarray = np.asarray(scaled, dtype=np.float32) * self.scale[:, None] + self.offset[:, None]
        return values

    def as_plain(self) -> dict[str, Any]:
        """Plain values for JSON; an open range is left out."""
        plain: dict[str, Any] = {"offset": self.offset.tolist(), "scale": self.scale.tolist()}
        return plain | ({"low": self.low, "high": self.high} if math.isfinite(self.low) else {})

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Scaling:
        """The scaling that `as_plain` wrote down."""

        offset, scale = (np.array(plain[name], dtype=np.float32) for name in ("offset", "scale"))
        return cls(offset, scale, plain.get("low", -math.inf), plain.get("high", math.inf))


def standard(array: np.ndarray, rows: np.ndarray) -> Scaling:
    """Mean 0 and deviation 1 of every bin over the given rows (the training clips) and all frames."""
    return Scaling(*moments(array, rows))


def unit(representation: str, bins: int, dynamic_range_db: float) -> Scaling:
    """Mel and chroma in [0, 1], without any statistics: what a sigmoid can reach."""

    offset = {"mel": -dynamic_range_db, "chroma": 0.0}[representation]
    scale = {"mel": dynamic_range_db, "chroma": 1.0}[representation]
    return Scaling(np.full(bins, offset, np.float32), np.full(bins, scale, np.float32), 0.0, 1.0)


def symmetric(representation: str, array: np.ndarray, rows: np.ndarray, dynamic_range_db: float) -> Scaling:
    """Values in [-1, 1], which a tanh can reach: mel and chroma by their range, MFCC by `WIDEST` deviations.

    The deviations are those of the given rows (the training clips).
    """
    if representation == "mfcc":
        mean, deviation = moments(array, rows)
        return Scaling(mean, WIDEST * deviation, -1.0, 1.0)
    whole = unit(representation, array.shape[1], dynamic_range_db)
    return Scaling(whole.offset + whole.scale / 2.0, whole.scale / 2.0, -1.0, 1.0)


def middle_crop(array: np.ndarray, bands: str) -> np.ndarray:
    """The 32x32 crop that stands for a clip where one must: (B, F, T) -> (B, 32, 32), the middle frames.

    `bands` low takes the lower 32 bins, high the upper ones, random (which only training draws) the middle ones.
    """
    if min(array.shape[1:]) < CROP:
        raise UserError(
            f"the crop takes {CROP} bins and {CROP} frames of the mel spectrogram, which has {array.shape[1]} and "
            f"{array.shape[2]}: raise features.mel_bands or clips.duration_s"
        )
    first_bin = first_band(array.shape[1], bands)
    first = (array.shape[2] - CROP) // 2
    return array[:, first_bin : first_bin + CROP, first : first + CROP]


def first_band(bins: int, bands: str) -> int:
    """The lowest bin of the crop: see `middle_crop`."""
    return {"low": 0, "high": bins - CROP, "random": (bins - CROP) // 2}[bands]


def moments(array: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (F,) of an array (B, F, T) over the given rows and all frames.

    The rows are read a few at a time, in float64. A bin that never changes gets a deviation of 1.
    """

    total, squares, count = np.zeros(array.shape[1]), np.zeros(array.shape[1]), 0
    centre = np.asarray(array[rows[0]], dtype=np.float64).mean(axis=1)  # keeps the squares small
    for part in np.array_split(rows, -(-len(rows) // CLIPS_AT_ONCE)):
        values = np.asarray(array[part], dtype=np.float64) - centre[:, None]
        total += values.sum(axis=(0, 2))
        squares += (values**2).sum(axis=(0, 2))
        count += values.shape[0] * values.shape[2]
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    deviation[deviation < 1e-6] = 1.0
    return (mean + centre).astype(np.float32), deviation.astype(np.float32)


def batches(array: np.ndarray, rows: np.ndarray, scaling: Scaling, at_once: int) -> Iterator[np.ndarray]:
    """Rows of an array (B, F, T), scaled and flattened to (b, F T) float32, in equal batches."""

    for part in np.array_split(rows, max(1, -(-len(rows) // at_once))):
        values = scaling.apply(array[part])
        yield values.reshape(len(values), -1)
