"""Level, spectral centroid and spectral flux of mel spectrograms.

B clips, F bins, T frames; spectrograms (B, F, T) in dB below their maximum.
"""

from __future__ import annotations

import librosa
import numpy as np

from symphony2vec.params import Features


def level_db(mel_db: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the level (B,) in dB: the mean power over frames and bands, weighted by the width of the bands.

    Examples:
        >>> import numpy as np
        >>> level_db(np.full((1, 64, 10), -30.0), 22050).round(6)
        array([-30.])
    """
    _, widths = _bands(mel_db.shape[1], rate_hz)
    levels: np.ndarray = 10.0 * np.log10(_mean_power(mel_db) @ widths / widths.sum())
    return levels


def centroid_hz(mel_db: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the centroid (B,) of the power in Hz."""
    centres, widths = _bands(mel_db.shape[1], rate_hz)
    power = _mean_power(mel_db) * widths
    centroids: np.ndarray = power @ centres / power.sum(axis=1)
    return centroids


def rise_db_per_s(mel_db: np.ndarray, features: Features, rate_hz: int) -> np.ndarray:
    """Return the mean spectral flux (B,) in dB per second: rises of the bands from frame to frame, falls as 0."""
    rises = np.diff(np.asarray(mel_db, dtype=np.float64), axis=2).clip(min=0.0)
    flux: np.ndarray = rises.mean(axis=(1, 2)) * rate_hz / features.hop_samples
    return flux


def _mean_power(mel_db: np.ndarray) -> np.ndarray:
    power: np.ndarray = (10.0 ** (np.asarray(mel_db, dtype=np.float64) / 10.0)).mean(axis=2)
    return power


def _bands(bins: int, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and half the width (F,) of the mel bands in Hz; a band holds its power divided by its width."""
    edges = librosa.mel_frequencies(bins + 2, fmin=0.0, fmax=rate_hz / 2.0)
    return edges[1:-1], (edges[2:] - edges[:-2]) / 2.0
