"""What is measured on mel spectrograms as far as they are heard: how full, how bright, how lively.

B clips, F bins, T frames; spectrograms (B, F, T) in dB below their maximum.
"""

from __future__ import annotations

import librosa
import numpy as np

from symphony2vec.params import Features


def level_db(mel_db: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean power of each clip over frames and the width of the bands, in dB: (B, F, T) to (B,)."""

    _, widths = _bands(mel_db.shape[1], rate_hz)
    power = (10.0 ** (np.asarray(mel_db, dtype=np.float64) / 10.0)).mean(axis=2) @ widths / widths.sum()
    levels: np.ndarray = 10.0 * np.log10(power)
    return levels


def centroid_hz(mel_db: np.ndarray, rate_hz: int) -> np.ndarray:
    """Centroid of the power of each clip: (B, F, T) to (B,) in Hz."""

    centres, widths = _bands(mel_db.shape[1], rate_hz)
    power = (10.0 ** (np.asarray(mel_db, dtype=np.float64) / 10.0)).mean(axis=2) * widths
    found: np.ndarray = power @ centres / power.sum(axis=1)
    return found


def rise_db_per_s(mel_db: np.ndarray, features: Features, rate_hz: int) -> np.ndarray:
    """How much the bands rise in a second, what falls not counted: (B, F, T) to (B,)."""

    rises = np.diff(np.asarray(mel_db, dtype=np.float64), axis=2).clip(min=0.0)
    found: np.ndarray = rises.mean(axis=(1, 2)) * rate_hz / features.hop_samples
    return found


def _bands(bins: int, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half the width (F,) of the mel bands, in Hz; a band holds its power divided by its width."""

    edges = librosa.mel_frequencies(bins + 2, fmin=0.0, fmax=rate_hz / 2.0)
    return edges[1:-1], (edges[2:] - edges[:-2]) / 2.0
