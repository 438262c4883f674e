"""Pitch classes and the key: the Krumhansl-Schmuckler algorithm with the profiles of Krumhansl and Kessler.

Pitch classes count from C = 0 to B = 11. Keys count from C major = 0 to B major = 11, then from C minor = 12.

C. L. Krumhansl and E. J. Kessler, Tracing the dynamic changes in perceived tonal organization in a spatial
representation of musical keys, Psychological Review 89 (1982), 334-368; the algorithm: C. L. Krumhansl, Cognitive
Foundations of Musical Pitch (1990), chapter 4.
"""

from __future__ import annotations

import numpy as np

# How well each pitch class, from the tonic upwards, was found to fit the key.
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
# Of two names of one key, the one with fewer accidentals; of six sharps and six flats, the one written more often.
TONICS = {
    "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
}
MODES = tuple(PROFILES)
KEYS = tuple(f"{tonic} {mode}" for mode in MODES for tonic in TONICS[mode])


def correlations(shares: np.ndarray) -> np.ndarray:
    """How well pitch classes (12,) fit each of the 24 keys: Pearson's r (24,); NaN where all shares are equal."""

    profiles = np.stack([np.roll(PROFILES[mode], tonic) for mode in MODES for tonic in range(12)])
    centred, around = profiles - profiles.mean(axis=1, keepdims=True), shares - shares.mean()
    with np.errstate(invalid="ignore"):
        found: np.ndarray = centred @ around / (np.linalg.norm(centred, axis=1) * np.linalg.norm(around))
    return found


def key(shares: np.ndarray) -> int | None:
    """The place in `KEYS` of the key that fits pitch classes (12,) best; None where all shares are equal."""

    if np.ptp(shares) < 1e-9:
        return None
    return int(np.argmax(correlations(shares)))
