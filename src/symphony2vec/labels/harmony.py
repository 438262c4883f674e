"""Key estimation from pitch classes: the Krumhansl-Schmuckler algorithm with the Krumhansl-Kessler profiles.

Pitch classes are numbered from C = 0 to B = 11, keys from C major = 0 to B major = 11, then from C minor = 12.

C. L. Krumhansl and E. J. Kessler, Tracing the dynamic changes in perceived tonal organization in a spatial
representation of musical keys, Psychological Review 89 (1982), 334-368; the algorithm: C. L. Krumhansl, Cognitive
Foundations of Musical Pitch (1990), chapter 4.
"""

from __future__ import annotations

import numpy as np

# Ratings of how well each pitch class, from the tonic upwards, fits the key.
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
# Of two enharmonic names the one with fewer accidentals; of six sharps and six flats the more common one.
TONICS = {
    "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
}
MODES = tuple(PROFILES)
KEYS = tuple(f"{tonic} {mode}" for mode in MODES for tonic in TONICS[mode])


def correlate_keys(shares: np.ndarray) -> np.ndarray:
    """Return Pearson's r (24,) between pitch class shares (12,) and the profile of each key; NaN for equal shares."""
    profiles = np.stack([np.roll(PROFILES[mode], tonic) for mode in MODES for tonic in range(12)])
    profiles, shares = profiles - profiles.mean(axis=1, keepdims=True), shares - shares.mean()
    with np.errstate(invalid="ignore"):
        r: np.ndarray = profiles @ shares / (np.linalg.norm(profiles, axis=1) * np.linalg.norm(shares))
    return r


def estimate_key(shares: np.ndarray) -> int | None:
    """Return the index in `KEYS` of the key that fits pitch class shares (12,) best; None for equal shares.

    Examples:
        >>> c_major_triad = np.array([1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]) / 3
        >>> KEYS[estimate_key(c_major_triad)]
        'C major'
    """
    if np.ptp(shares) < 1e-9:
        return None
    return int(np.argmax(correlate_keys(shares)))
