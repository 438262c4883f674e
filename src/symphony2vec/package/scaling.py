"""Scaling of a representation for the input of a network, and its inverse.

Every scaling is affine by frequency bin, then clipped to a range: y = clip((x - offset) / scale, low, high). It is
saved with the model, so that new sounds are scaled as the training clips were.

B clips, F bins, T frames. Arrays are (B, F, T) float32, in the units of `symphony2vec.features.stage`: dB below the
clip's maximum (mel), coefficients (MFCC), strengths in [0, 1] (chroma).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symphony2vec.errors import UserError

BATCH_CLIPS = 256
CROP = 32  # bins and frames of ALI's square input
CLIP_DEVIATIONS = 4.0  # MFCC are clipped to this many standard deviations for networks with a bounded output


@dataclass(frozen=True)
class Scaling:
    """offset and scale (F,) of each bin, and the range to which the result is clipped."""

    offset: np.ndarray
    scale: np.ndarray
    low: float = -math.inf
    high: float = math.inf

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return values (..., F, T) in the representation's unit as network input (..., F, T) float32.

        Examples:
            >>> Scaling(np.array([-80.0]), np.array([80.0]), 0.0, 1.0).apply(np.array([[-80.0, -40.0, 10.0]])).tolist()
            [[0.0, 0.5, 1.0]]
        """
        scaled: np.ndarray = (np.asarray(values, dtype=np.float32) - self.offset[:, None]) / self.scale[:, None]
        if math.isfinite(self.low):
            np.clip(scaled, self.low, self.high, out=scaled)
        return scaled

    def undo(self, scaled: np.ndarray) -> np.ndarray:
        """Return network output (..., F, T) as values (..., F, T) float32 in the representation's unit."""
        values: np.ndarray = np.asarray(scaled, dtype=np.float32) * self.scale[:, None] + self.offset[:, None]
        return values

    def as_plain(self) -> dict[str, Any]:
        """Return plain values for JSON; an infinite range is omitted."""
        plain: dict[str, Any] = {"offset": self.offset.tolist(), "scale": self.scale.tolist()}
        return plain | ({"low": self.low, "high": self.high} if math.isfinite(self.low) else {})

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Scaling:
        """Return the scaling that `as_plain` described."""
        offset, scale = (np.array(plain[name], dtype=np.float32) for name in ("offset", "scale"))
        return cls(offset, scale, plain.get("low", -math.inf), plain.get("high", math.inf))


def standard(array: np.ndarray, rows: np.ndarray) -> Scaling:
    """Return the scaling to mean 0 and standard deviation 1 of every bin, over all frames of some clips.

    Args:
        array: (B, F, T).
        rows: the clips that determine the statistics: the training clips.
    """
    return Scaling(*moments(array, rows))


def unit(representation: str, bins: int, dynamic_range_db: float) -> Scaling:
    """Return the scaling of mel or chroma to [0, 1], the range of a sigmoid; it depends on no data.

    Examples:
        >>> unit("mel", 2, 80.0).offset.tolist()
        [-80.0, -80.0]
    """
    offset = {"mel": -dynamic_range_db, "chroma": 0.0}[representation]
    scale = {"mel": dynamic_range_db, "chroma": 1.0}[representation]
    return Scaling(np.full(bins, offset, np.float32), np.full(bins, scale, np.float32), 0.0, 1.0)


def symmetric(representation: str, array: np.ndarray, rows: np.ndarray, dynamic_range_db: float) -> Scaling:
    """Return the scaling to [-1, 1], the range of a tanh: mel and chroma by their range, MFCC by `CLIP_DEVIATIONS`.

    Args:
        representation: mel, mfcc or chroma.
        array: (B, F, T).
        rows: the clips that determine the standard deviations of MFCC: the training clips.
        dynamic_range_db: of mel.
    """
    if representation == "mfcc":
        mean, deviation = moments(array, rows)
        return Scaling(mean, CLIP_DEVIATIONS * deviation, -1.0, 1.0)
    positive = unit(representation, array.shape[1], dynamic_range_db)
    return Scaling(positive.offset + positive.scale / 2.0, positive.scale / 2.0, -1.0, 1.0)


def middle_crop(array: np.ndarray, bands: str) -> np.ndarray:
    """Return the crop (B, 32, 32) of the middle frames of clips (B, F, T), for networks that see one crop per clip.

    Args:
        array: (B, F, T).
        bands: low takes the lowest 32 bins, high the highest, random (sampled in training only) the middle ones.

    Raises:
        UserError: the spectrogram is smaller than the crop.

    Examples:
        >>> middle_crop(np.zeros((2, 64, 431)), "low").shape
        (2, 32, 32)
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
    """Return the lowest bin of the crop; see `middle_crop`.

    Examples:
        >>> first_band(64, "high")
        32
    """
    return {"low": 0, "high": bins - CROP, "random": (bins - CROP) // 2}[bands]


def moments(array: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (F,) of an array (B, F, T) over some rows and all frames.

    Rows are read in batches, in float64. A constant bin gets a standard deviation of 1.

    Examples:
        >>> [values.tolist() for values in moments(np.array([[[1.0, 3.0]]]), np.array([0]))]
        [[2.0], [1.0]]
    """
    total, squares, count = np.zeros(array.shape[1]), np.zeros(array.shape[1]), 0
    centre = np.asarray(array[rows[0]], dtype=np.float64).mean(axis=1)  # keeps the squares small
    for part in np.array_split(rows, -(-len(rows) // BATCH_CLIPS)):
        values = np.asarray(array[part], dtype=np.float64) - centre[:, None]
        total += values.sum(axis=(0, 2))
        squares += (values**2).sum(axis=(0, 2))
        count += values.shape[0] * values.shape[2]
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    deviation[deviation < 1e-6] = 1.0
    return (mean + centre).astype(np.float32), deviation.astype(np.float32)


def batches(array: np.ndarray, rows: np.ndarray, scaling: Scaling, at_once: int) -> Iterator[np.ndarray]:
    """Yield rows of an array (B, F, T), scaled and flattened to (b, F T) float32, in batches of about `at_once`."""
    for part in np.array_split(rows, max(1, -(-len(rows) // at_once))):
        values = scaling.apply(array[part])
        yield values.reshape(len(values), -1)
