"""Normalise sounds to one loudness, and trim the silence at their ends.

Waveforms are (N,) float32, full scale 1. Loudness is integrated loudness in LUFS (ITU-R BS.1770-4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyloudnorm

from symphony2vec.errors import Unusable

BLOCK_S = 0.4  # one block of BS.1770; loudness of shorter sounds is not defined
MIN_PEAK = 1e-5  # -100 dBFS: silence below
MAX_PEAK = 1e6  # +120 dBFS: 16 or 24-bit samples written as floating point without scaling lie below
HOP_SAMPLES = 512
MAX_GAIN_DB = 30.0  # with more, the noise of the recording may dominate
SEGMENT_S = 600  # loudness is measured in segments, which bounds the memory for long recordings


@dataclass(frozen=True)
class LoudnessTarget:
    """The loudness to normalise to, the highest peak, and what counts as silence at the ends (dB below the maximum)."""

    loudness_lufs: float
    peak_dbfs: float
    silence_db: float


@dataclass(frozen=True)
class Normalization:
    """The samples `begin` to `end` of a wave without silence, their loudness, and the gain to reach a target."""

    begin: int
    end: int
    loudness_lufs: float
    gain_db: float

    @property
    def gain(self) -> float:
        """The linear factor of the samples."""
        return float(10.0 ** (self.gain_db / 20.0))


def normalize_loudness(wave: np.ndarray, rate_hz: int, target: LoudnessTarget) -> tuple[np.ndarray, dict[str, Any]]:
    """Trim silence at both ends and scale the wave to the target loudness.

    Where the gain would lift the peak above its maximum, the gain is reduced; the wave is never clipped.

    Args:
        wave: (N,) float32.
        rate_hz: sample rate.
        target: loudness, highest peak and silence threshold.

    Returns:
        The waveform (N',) float32, and loudness_lufs (of the input) and gain_db.

    Raises:
        Unusable: the wave is silent, holds NaN, or is shorter than 0.4 s after trimming.

    Examples:
        >>> wave = (0.5 * np.sin(np.arange(22050) / 8)).astype(np.float32)
        >>> normalized, levels = normalize_loudness(wave, 22050, LoudnessTarget(-23.0, -1.0, 60.0))
        >>> round(integrated_loudness(normalized, 22050), 1)
        -23.0
    """
    if not np.isfinite(wave).all():
        raise Unusable(f"{np.mean(~np.isfinite(wave)):.0%} of its samples are not numbers (NaN or infinite)")
    measurement = measure_normalization(wave, rate_hz, target)
    trimmed_wave = wave[measurement.begin : measurement.end]
    normalized = (trimmed_wave * np.float32(measurement.gain)).astype(np.float32, copy=False)
    levels = {"loudness_lufs": round(measurement.loudness_lufs, 2), "gain_db": round(measurement.gain_db, 2)}
    return normalized, levels


def measure_normalization(
    wave: np.ndarray, rate_hz: int, target: LoudnessTarget, allow_short: bool = False
) -> Normalization:
    """Measure where a wave is not silent, and the gain by which `normalize_loudness` scales it.

    Args:
        wave: (N,) float32, finite.
        rate_hz: sample rate.
        target: loudness, highest peak and silence threshold.
        allow_short: measure a wave shorter than 0.4 s as if it were repeated up to that length.

    Raises:
        Unusable: the wave is silent, or too short.
    """
    peak = max(float(wave.max(initial=0.0)), -float(wave.min(initial=0.0)))
    if peak > MAX_PEAK:
        raise Unusable(f"its samples reach {peak:.1e} times full scale")
    if peak < MIN_PEAK:
        raise Unusable("silent" if len(wave) > 1 else f"contains {len(wave)} sample{'' if len(wave) == 1 else 's'}")
    begin, end = find_sound_bounds(wave, target.silence_db)
    sound, min_samples = wave[begin:end], int(np.ceil(BLOCK_S * rate_hz))
    if len(sound) < min_samples:
        if not allow_short:
            raise Unusable(f"too short: {len(sound) / rate_hz:.3f} s of sound; at least {BLOCK_S} s are needed")
        sound = np.resize(sound, min_samples)
    loudness_lufs = integrated_loudness(sound, rate_hz)
    if not np.isfinite(loudness_lufs):
        raise Unusable("silent: its loudness is below -70 LUFS")
    gain_db = min(target.loudness_lufs - loudness_lufs, target.peak_dbfs - 20.0 * float(np.log10(peak)))
    return Normalization(begin, end, loudness_lufs, gain_db)


def describe_gain(gain_db: float) -> str:
    """Return a note on a gain so high that it lifts noise to the level of music; "" for usual gains."""
    return f"very quiet: amplified by {gain_db:.0f} dB" if gain_db > MAX_GAIN_DB else ""


def trim_silence(wave: np.ndarray, silence_db: float) -> np.ndarray:
    """Return the wave (N,) without the silence at its ends; see `find_sound_bounds`.

    Examples:
        >>> wave = np.concatenate([np.zeros(8192), np.ones(8192), np.zeros(8192)])
        >>> len(trim_silence(wave, 60.0))
        9728
    """
    begin, end = find_sound_bounds(wave, silence_db)
    return wave[begin:end]


def find_sound_bounds(wave: np.ndarray, silence_db: float) -> tuple[int, int]:
    """Return the first and last frame of a wave (N,) above the silence threshold, as a range of samples.

    The threshold is `silence_db` below the frame of highest energy. Frames are those of `librosa.effects.trim`.
    """
    hops = len(wave) // HOP_SAMPLES
    full, rest = wave[: hops * HOP_SAMPLES].reshape(hops, HOP_SAMPLES), wave[hops * HOP_SAMPLES :]
    energy = np.append(np.einsum("ij,ij->i", full, full, dtype=np.float64), np.square(rest, dtype=np.float64).sum())
    frames = np.convolve(energy, np.ones(4))[1 : hops + 2]  # of four hops, centred on their third
    loud = np.flatnonzero(frames > frames.max() * 10.0 ** (-silence_db / 10.0))
    return int(loud[0]) * HOP_SAMPLES, min(len(wave), (int(loud[-1]) + 1) * HOP_SAMPLES)


def integrated_loudness(wave: np.ndarray, rate_hz: int) -> float:
    """Return the integrated loudness in LUFS (ITU-R BS.1770-4) of a wave of 0.4 s or more.

    Args:
        wave: (N,) floating point, full scale 1.
        rate_hz: sample rate.

    Returns:
        LUFS; -inf if the whole wave is below -70 LUFS.

    Examples:
        >>> round(integrated_loudness(np.sin(2 * np.pi * 997 * np.arange(48000) / 48000), 48000))
        -3
    """
    filters = list(pyloudnorm.Meter(rate_hz)._filters.values())
    blocks_lufs: list[np.ndarray] = []
    for start in range(0, len(wave), SEGMENT_S * rate_hz):
        # Blocks of 0.4 s begin every 0.1 s: the last one that begins in this segment ends 0.3 s after it.
        segment = wave[start : start + SEGMENT_S * rate_hz + int(0.3 * rate_hz)]
        if len(segment) >= BLOCK_S * rate_hz:
            weighted = segment.astype(np.float64)
            for weighting in filters:
                weighted = weighting.apply_filter(weighted)
            blocks_lufs.append(_measure_blocks(np.square(weighted, out=weighted), rate_hz))
    return _apply_gate(np.concatenate(blocks_lufs))


def _measure_blocks(squares: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the loudness of each block (BS.1770-4, equation 4) from the squares (N,) of a weighted wave.

    -inf for a silent block. Equal to pyloudnorm's values to the last bit, which squares every sample four times and
    measures all blocks twice.
    """
    step = 1.0 - 0.75
    count = int(np.round((len(squares) / rate_hz - BLOCK_S) / (BLOCK_S * step)) + 1)
    bounds = [
        (int(BLOCK_S * (block * step) * rate_hz), int(BLOCK_S * (block * step + 1) * rate_hz)) for block in range(count)
    ]
    power = np.array([squares[begin:end].sum() for begin, end in bounds]) * (1.0 / (BLOCK_S * rate_hz))
    with np.errstate(divide="ignore"):
        return np.asarray(-0.691 + 10.0 * np.log10(power))


def _apply_gate(blocks_lufs: np.ndarray) -> float:
    """Return the gated loudness of blocks (BS.1770-4, equations 5 to 7): above -70 LUFS and the mean less 10 dB."""
    power = 10.0 ** (blocks_lufs[blocks_lufs >= -70.0] / 10.0)
    power = power[power > 0.1 * power.mean()] if len(power) else power
    return 10.0 * float(np.log10(power.mean())) if len(power) else float("-inf")
