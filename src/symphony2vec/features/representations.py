"""Mel spectrogram, MFCC and chroma of one clip, from a single short-time Fourier transform.

N samples, F bins from low to high, T frames of `hop_samples`. The values are those of librosa's own calls on the clip.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import librosa
import numpy as np
from librosa.filters import mel

from symphony2vec.features.recipe import Recipe
from symphony2vec.project import REPRESENTATIONS

MFCC_MEL_BANDS = 128
# Defaults of librosa.piptrack, on which librosa.estimate_tuning is based
TUNING_RANGE_HZ = (150.0, 4000.0)
PEAK_THRESHOLD = 0.1  # relative to the maximum of the frame


def represent(wave: np.ndarray, recipe: Recipe, names: Sequence[str] = REPRESENTATIONS) -> dict[str, np.ndarray]:
    """Compute the representations of one clip.

    They equal librosa's `melspectrogram` (in dB relative to its maximum), `mfcc` and `chroma_stft` of the same wave.

    Args:
        wave: samples (N,) float32.
        recipe: sample rate and settings.
        names: which of "mel", "mfcc" and "chroma" to compute.

    Returns:
        (F, T) float32 by name.

    Examples:
        >>> from symphony2vec.params import Features
        >>> settings = Features(fft_samples=512, hop_samples=256, mel_bands=16, dynamic_range_db=80.0,
        ...                     mfcc_coefficients=13, chroma_bins=12)
        >>> recipe = Recipe(rate_hz=8000, duration_s=1.0, settings=settings)
        >>> wave = np.random.default_rng(0).standard_normal(recipe.samples).astype(np.float32)
        >>> represent(wave, recipe, ["mel"])["mel"].shape
        (16, 32)
    """
    settings = recipe.settings
    power = np.abs(librosa.stft(wave, n_fft=settings.fft_samples, hop_length=settings.hop_samples)) ** 2
    filters, mfcc_filters = mel_filters(recipe.rate_hz, settings.fft_samples, settings.mel_bands)
    arrays = {}
    if "mel" in names:
        arrays["mel"] = librosa.power_to_db(filters @ power, ref=np.max, top_db=settings.dynamic_range_db)
    if "mfcc" in names:
        mfcc_mel_db = librosa.power_to_db(mfcc_filters @ power)
        arrays["mfcc"] = librosa.feature.mfcc(S=mfcc_mel_db, n_mfcc=settings.mfcc_coefficients)
    if "chroma" in names:
        arrays["chroma"] = librosa.feature.chroma_stft(
            S=power,
            sr=recipe.rate_hz,
            n_fft=settings.fft_samples,
            n_chroma=settings.chroma_bins,
            tuning=estimate_tuning(power, recipe.rate_hz, settings.chroma_bins),
        )
    return arrays


@functools.cache
def mel_filters(rate_hz: int, fft_samples: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mel filters (bands, 1 + fft_samples // 2) of the mel spectrogram and of the MFCC.

    Cached, because librosa computes them anew at every call.
    """
    filters, mfcc_filters = (mel(sr=rate_hz, n_fft=fft_samples, n_mels=count) for count in (bands, MFCC_MEL_BANDS))
    return filters, mfcc_filters


def estimate_tuning(power: np.ndarray, rate_hz: int, bins_per_octave: int) -> float:
    """Return the deviation from A440 in fractions of a bin, in [-0.5, 0.5); 0 if the spectrum has no peak.

    Equals librosa's `estimate_tuning(S=power)`, which fits a parabola to every value of the spectrum. Only those at
    peaks matter; fitting no others takes a twelfth of the time.

    Args:
        power: power spectrum (F, T).
        rate_hz: sample rate.
        bins_per_octave: size of a bin.
    """
    fft_samples = 2 * (len(power) - 1)
    bins_hz = librosa.fft_frequencies(sr=rate_hz, n_fft=fft_samples)
    in_range = np.flatnonzero((bins_hz >= TUNING_RANGE_HZ[0]) & (bins_hz < min(TUNING_RANGE_HZ[1], rate_hz / 2)))
    if not len(in_range):
        return 0.0
    first, last = in_range[0], in_range[-1]  # both have neighbours: 0 Hz and half the rate lie outside
    frames = np.ascontiguousarray(power.T[:, first - 1 : last + 2])
    below, centre, above = frames[:, :-2], frames[:, 1:-1], frames[:, 2:]
    loud = centre > PEAK_THRESHOLD * power.max(axis=0)[:, None]
    peaks = np.nonzero(loud & (centre > below) & (centre >= above))
    below, centre, above = below[peaks], centre[peaks], above[peaks]
    if not len(centre):
        return 0.0
    slope = (above - below) / np.float32(2.0)
    curvature = (above + below).astype(np.float64) - 2.0 * centre  # double precision, as in librosa's compiled code
    shift = np.zeros_like(centre)
    np.divide(-slope, curvature, out=shift, where=np.abs(slope) < np.abs(curvature), casting="same_kind")
    pitches_hz = ((first + peaks[1] + shift) * float(rate_hz) / fft_samples).astype(np.float32)
    heights = centre + np.float32(0.5) * slope * shift
    return float(librosa.pitch_tuning(pitches_hz[heights >= np.median(heights)], bins_per_octave=bins_per_octave))
