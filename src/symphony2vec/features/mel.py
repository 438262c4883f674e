"""The mel spectrogram of a clip with numpy and scipy alone, for installations without librosa.

N samples, F mel bands from low to high, T frames. The values are those of librosa's `melspectrogram` in dB below its
maximum, to 1e-5 of the dynamic range. The mel scale is that of Slaney's Auditory Toolbox (1998): linear to 1 kHz,
logarithmic above.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy import fft

LINEAR_HZ = 200.0 / 3.0  # width of one mel below the corner
CORNER_HZ = 1000.0
CORNER_MEL = CORNER_HZ / LINEAR_HZ
LOG_STEP = np.log(6.4) / 27.0  # of the frequency, per mel above the corner
LEAST_POWER = 1e-10
BLOCK_FRAMES = 16


def spectrogram(
    wave: np.ndarray, rate_hz: int, fft_samples: int, hop_samples: int, bands: int, dynamic_range_db: float
) -> np.ndarray:
    """Return the mel spectrogram (F, T) float32 of a clip, in dB below its maximum.

    Args:
        wave: samples (N,) float32.
        rate_hz: sample rate.
        fft_samples: length of the Hann window.
        hop_samples: distance of the frames; the first is centred on the first sample.
        bands: F.
        dynamic_range_db: lower values become this far below the maximum.

    Examples:
        >>> tone = np.sin(2.0 * np.pi * 440.0 * np.arange(8000) / 8000).astype(np.float32)
        >>> values = spectrogram(tone, 8000, 512, 256, 16, 80.0)
        >>> values.shape, float(values.max()), int(values[:, 10].argmax())
        ((16, 32), 0.0, 2)
    """
    power = power_spectrogram(wave, fft_samples, hop_samples) @ filters(rate_hz, fft_samples, bands).T
    values_db = 10.0 * np.log10(np.maximum(LEAST_POWER, power))
    below_maximum = np.maximum(values_db - values_db.max(), -dynamic_range_db)
    return np.ascontiguousarray(below_maximum.T, dtype=np.float32)


def power_spectrogram(wave: np.ndarray, fft_samples: int, hop_samples: int) -> np.ndarray:
    """Return the power spectrogram (T, 1 + fft_samples // 2) float32 of a clip, padded with zeros at both ends."""
    padded = np.pad(wave, fft_samples // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, fft_samples)[::hop_samples]
    power = np.empty((len(frames), 1 + fft_samples // 2), np.float32)
    for start in range(0, len(frames), BLOCK_FRAMES):  # in double precision, whose blocks stay in the cache
        block = slice(start, start + BLOCK_FRAMES)
        spectrum = fft.rfft(frames[block] * hann(fft_samples), axis=1, overwrite_x=True)
        power[block] = np.square(spectrum.real) + np.square(spectrum.imag)
    return power


@functools.cache
def hann(samples: int) -> np.ndarray:
    """Return the periodic Hann window (samples,)."""
    window: np.ndarray = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(samples) / samples)
    return window


@functools.cache
def filters(rate_hz: int, fft_samples: int, bands: int) -> np.ndarray:
    """Return the triangular filters (bands, 1 + fft_samples // 2) float32, each of the same area in Hz."""
    edges_hz = to_hz(np.linspace(0.0, float(to_mel(np.array(rate_hz / 2.0))), bands + 2))
    bins_hz = np.arange(1 + fft_samples // 2) * rate_hz / fft_samples
    low, centre, high = (edges_hz[first : bands + first, None] for first in range(3))
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    weights: np.ndarray = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (high - low)
    return weights.astype(np.float32)


def to_mel(frequency_hz: np.ndarray) -> np.ndarray:
    """Return frequencies on the mel scale.

    Examples:
        >>> to_mel(np.array([0.0, 1000.0, 6400.0])).round(6).tolist()
        [0.0, 15.0, 42.0]
    """
    above = CORNER_MEL + np.log(np.maximum(frequency_hz, CORNER_HZ) / CORNER_HZ) / LOG_STEP
    return np.where(frequency_hz < CORNER_HZ, frequency_hz / LINEAR_HZ, above)


def to_hz(mel: np.ndarray) -> np.ndarray:
    """Return the frequencies of values on the mel scale, the inverse of `to_mel`."""
    above = CORNER_HZ * np.exp(LOG_STEP * (np.maximum(mel, CORNER_MEL) - CORNER_MEL))
    return np.where(mel < CORNER_MEL, LINEAR_HZ * mel, above)
