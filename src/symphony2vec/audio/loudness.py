"""Every sound is brought to one loudness, without the silence at its ends.

Waveforms are (N,) float32. Loudness is integrated loudness after ITU-R BS.1770 (LUFS).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyloudnorm

from symphony2vec.errors import Unusable

SHORTEST_S = 0.4  # one block of BS.1770: below it loudness is not defined
SILENT = 1e-5  # -100 dBFS
LOUDEST = 1e6  # +120 dBFS: samples of 16 or 24 bits written as floating point without their scale lie below it
HOP_SAMPLES = 512
MUCH_GAIN_DB = 30.0  # more than that, and the noise of the recording may be all that is heard
METERED_S = 600  # loudness is metered in pieces, which bounds the memory that an hour of sound needs


@dataclass(frozen=True)
class Level:
    """Where a movement's level is brought to, and what counts as silence at its ends."""

    loudness_lufs: float
    peak_dbfs: float
    silence_db: float


@dataclass(frozen=True)
class Span:
    """The samples of a wave that are more than silence, their loudness, and the gain that brings them to a level."""

    begin: int
    end: int
    loudness_lufs: float
    gain_db: float

    @property
    def gain(self) -> float:
        """The factor of the samples."""
        return float(10.0 ** (self.gain_db / 20.0))


def level(wave: np.ndarray, rate_hz: int, to: Level) -> tuple[np.ndarray, dict[str, Any]]:
    """Cut silence at both ends and bring the wave to one loudness, its peak below a ceiling.

    Where the wanted gain would lift the peak above the ceiling, the gain is lowered: the wave is never clipped.

    Returns:
        The waveform (N',) float32, and loudness_lufs (before) and gain_db.

    Raises:
        Unusable: the wave is silent, holds NaN, or what is left is shorter than 0.4 s.
    """

    if not np.isfinite(wave).all():
        raise Unusable(f"{np.mean(~np.isfinite(wave)):.0%} of its samples are not numbers (NaN or infinite)")
    found = measured(wave, rate_hz, to)
    louder = (wave[found.begin : found.end] * np.float32(found.gain)).astype(np.float32, copy=False)
    return louder, {"loudness_lufs": round(found.loudness_lufs, 2), "gain_db": round(found.gain_db, 2)}


def measured(wave: np.ndarray, rate_hz: int, to: Level, short: bool = False) -> Span:
    """Where a wave (N,) of finite samples is more than silence, and the gain that `level` gives it.

    With `short` a wave below 0.4 s is metered as if it were repeated until that length; otherwise it is refused.

    Raises:
        Unusable: the wave is silent or too short.
    """

    peak = max(float(wave.max(initial=0.0)), -float(wave.min(initial=0.0)))
    if peak > LOUDEST:
        raise Unusable(f"its samples reach {peak:.1e} times full scale")
    if peak < SILENT:
        raise Unusable("silent" if len(wave) > 1 else f"holds {len(wave)} sample{'' if len(wave) == 1 else 's'}")
    begin, end = ends(wave, to.silence_db)
    loud, needed = wave[begin:end], int(np.ceil(SHORTEST_S * rate_hz))
    if len(loud) < needed and not short:
        raise Unusable(f"too short: {len(loud) / rate_hz:.3f} s of sound, at least {SHORTEST_S} s are needed")
    loudness = loudness_lufs(np.resize(loud, needed) if len(loud) < needed else loud, rate_hz)
    if not np.isfinite(loudness):
        raise Unusable("silent: its loudness lies below -70 LUFS")
    gain_db = min(to.loudness_lufs - loudness, to.peak_dbfs - 20.0 * float(np.log10(peak)))
    return Span(begin, end, loudness, gain_db)


def gain_note(gain_db: float) -> str:
    """What is said of a gain that lifts noise to the level of music; "" of a usual one."""
    return f"very soft: raised by {gain_db:.0f} dB" if gain_db > MUCH_GAIN_DB else ""


def trimmed(wave: np.ndarray, silence_db: float) -> np.ndarray:
    """The wave (N,) without the silence at its ends: see `ends`."""
    begin, end = ends(wave, silence_db)
    return wave[begin:end]


def ends(wave: np.ndarray, silence_db: float) -> tuple[int, int]:
    """The samples of a wave (N,) between what lies `silence_db` below its loudest frame; frames as in librosa."""

    full = len(wave) // HOP_SAMPLES
    hops, rest = wave[: full * HOP_SAMPLES].reshape(full, HOP_SAMPLES), wave[full * HOP_SAMPLES :]
    energy = np.append(np.einsum("ij,ij->i", hops, hops, dtype=np.float64), np.square(rest, dtype=np.float64).sum())
    frames = np.convolve(energy, np.ones(4))[1 : full + 2]  # of four hops, centred on their third
    loud = np.flatnonzero(frames > frames.max() * 10.0 ** (-silence_db / 10.0))
    return int(loud[0]) * HOP_SAMPLES, min(len(wave), (int(loud[-1]) + 1) * HOP_SAMPLES)


def loudness_lufs(wave: np.ndarray, rate_hz: int) -> float:
    """Integrated loudness after ITU-R BS.1770 of a wave (N,) of 0.4 s or more; -inf where all lies below -70 LUFS."""

    filters = list(pyloudnorm.Meter(rate_hz)._filters.values())
    blocks: list[np.ndarray] = []
    for start in range(0, len(wave), METERED_S * rate_hz):
        # Blocks of 0.4 s begin every 0.1 s: the last that begins in this piece ends 0.3 s after it.
        piece = wave[start : start + METERED_S * rate_hz + int(0.3 * rate_hz)]
        if len(piece) >= SHORTEST_S * rate_hz:
            weighted = piece.astype(np.float64)
            for one in filters:
                weighted = one.apply_filter(weighted)
            blocks.append(_blocks_lufs(np.square(weighted, out=weighted), rate_hz))
    return _gated(np.concatenate(blocks))


def _blocks_lufs(squares: np.ndarray, rate_hz: int) -> np.ndarray:
    """Equation 4 of BS.1770-4 for each block of the squares (N,) of a weighted wave; -inf of a silent one.

    To the last bit what pyloudnorm finds, which squares every sample four times and meters all blocks twice.
    """

    step = 1.0 - 0.75
    count = int(np.round((len(squares) / rate_hz - SHORTEST_S) / (SHORTEST_S * step)) + 1)
    bounds = [
        (int(SHORTEST_S * (block * step) * rate_hz), int(SHORTEST_S * (block * step + 1) * rate_hz))
        for block in range(count)
    ]
    power = np.array([squares[begin:end].sum() for begin, end in bounds]) * (1.0 / (SHORTEST_S * rate_hz))
    with np.errstate(divide="ignore"):
        found: np.ndarray = -0.691 + 10.0 * np.log10(power)
    return found


def _gated(blocks_lufs: np.ndarray) -> float:
    """Equations 5 to 7 of BS.1770-4: the mean power of the blocks above -70 LUFS and their own mean less 10 dB."""

    power = 10.0 ** (blocks_lufs[blocks_lufs >= -70.0] / 10.0)
    power = power[power > 0.1 * power.mean()] if len(power) else power
    return 10.0 * float(np.log10(power.mean())) if len(power) else float("-inf")
