"""The example sound of a package, synthesized and so free of rights: decaying harmonic chords over soft noise."""

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
    """Return the waveform (N,) float32, the same on every call.

    Examples:
        >>> sound(8000, 0.5).shape
        (4000,)
    """
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    chord_index, chord_time_s = (time_s // CHORD_S).astype(int) % len(CHORDS_HZ), time_s % CHORD_S
    wave = 0.002 * np.random.default_rng(0).standard_normal(len(time_s))
    for pitches_hz in zip(*CHORDS_HZ, strict=True):
        pitch_hz = np.array(pitches_hz)[chord_index]
        for harmonic in range(1, 7):
            envelope = np.exp(-(0.8 + 0.4 * harmonic) * chord_time_s) * np.minimum(chord_time_s / 0.02, 1.0)
            wave += 0.15 / harmonic * envelope * np.sin(2.0 * np.pi * harmonic * pitch_hz * chord_time_s)
    return np.asarray(wave / np.abs(wave).max() * 0.7, dtype=np.float32)


def request(rate_hz: int) -> pd.DataFrame:
    """Return one request to the MLflow model: a FLAC file, base64-encoded, in the column audio."""
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(rate_hz, REQUEST_S), rate_hz, format="FLAC", subtype="PCM_16")
    return pd.DataFrame([{"audio": base64.b64encode(buffer.getvalue()).decode("ascii")}])
