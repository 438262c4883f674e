"""A sound that belongs to nobody, for the example of a package: chords of decaying harmonics over a soft noise."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import soundfile

CHORDS_HZ = ((220.0, 277.2, 329.6), (246.9, 293.7, 370.0), (196.0, 246.9, 293.7), (220.0, 261.6, 329.6))
CHORD_S = 1.6
REQUEST_S = 0.5


def sound(rate_hz: int, duration_s: float) -> np.ndarray:
    """The waveform (N,) float32, the same at every call."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    chord, since_s = (time_s // CHORD_S).astype(int) % len(CHORDS_HZ), time_s % CHORD_S
    wave = 0.002 * np.random.default_rng(0).standard_normal(len(time_s))
    for voice in range(3):
        pitch_hz = np.array([own[voice] for own in CHORDS_HZ])[chord]
        for harmonic in range(1, 7):
            decay = np.exp(-(0.8 + 0.4 * harmonic) * since_s) * np.minimum(since_s / 0.02, 1.0)
            wave += 0.15 / harmonic * decay * np.sin(2.0 * np.pi * harmonic * pitch_hz * since_s)
    return np.asarray(wave / np.abs(wave).max() * 0.7, dtype=np.float32)


def request(rate_hz: int) -> pd.DataFrame:
    """One request as the served model takes it: the bytes of a FLAC, base64-encoded, in the column audio."""

    written = io.BytesIO()
    soundfile.write(written, sound(rate_hz, REQUEST_S), rate_hz, format="FLAC", subtype="PCM_16")
    return pd.DataFrame([{"audio": base64.b64encode(written.getvalue()).decode("ascii")}])
