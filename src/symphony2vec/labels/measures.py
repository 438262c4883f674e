"""The labels of one clip: those of its samples (N,) float32, and those of the notes that sound in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symphony2vec.labels import harmony

if TYPE_CHECKING:
    from symphony2vec.labels.transcript import Transcript

PITCH_CLASSES = tuple(f"pc_{number}" for number in range(12))
# The groups of General MIDI (level 1), with programs numbered from 0. It lists harp (46) and timpani (47) under
# strings; here timpani are percussion. Programs that no orchestra has (effects, synthesizers) belong to no family.
FAMILIES: dict[str, tuple[range, ...]] = {
    "strings": (range(24, 47), range(48, 52)),
    "woodwind": (range(64, 80),),
    "brass": (range(56, 64),),
    "percussion": (range(8, 16), range(47, 48), range(112, 120)),
    "keys": (range(8), range(16, 24)),
    "voices": (range(52, 55),),
}


def measure_sound(wave: np.ndarray, rate_hz: int) -> dict[str, float]:
    """Return loudness_db (RMS level relative to full scale) and centroid_hz of a wave (N,); empty for silence.

    The centroid is that of the power spectrum of the whole clip: the mean over time, weighted by energy.

    Examples:
        >>> measure_sound(np.array([1.0, -1.0, 1.0, -1.0]), rate_hz=8000)
        {'loudness_db': 0.0, 'centroid_hz': 4000.0}
    """
    mean_square = float(np.mean(np.square(wave, dtype=np.float64)))
    if mean_square == 0.0:
        return {}
    power = np.abs(np.fft.rfft(wave)) ** 2
    centroid_hz = np.fft.rfftfreq(len(wave), 1.0 / rate_hz) @ power / power.sum()
    return {"loudness_db": round(10.0 * float(np.log10(mean_square)), 3), "centroid_hz": round(float(centroid_hz), 2)}


def measure_notes(transcript: Transcript, start_s: float, duration_s: float, minimum_notes: int) -> dict[str, Any]:
    """Return the labels that the notes give to a clip.

    Shares refer to the time that the notes sound within the clip, summed over all parts: two parts in unison count
    twice. An instrument is a part of the score: first and second violins are two, flutes that share a part are one.

    Args:
        transcript: the notes of the movement.
        start_s: start of the clip.
        duration_s: duration of the clip.
        minimum_notes: fewest notes from which a key is estimated.

    Returns:
        notes_per_s, instruments, the shares of pitch classes and families, key and mode. Without a sounding note there
        are no shares, with too few notes no key and mode.
    """
    end_s = start_s + duration_s
    onsets = (transcript.onset_s >= start_s) & (transcript.onset_s < end_s)
    sounding_s = np.minimum(transcript.end_s, end_s) - np.maximum(transcript.onset_s, start_s)
    audible = sounding_s > 0.0
    sounding_s, pitch, program = sounding_s[audible], transcript.pitch[audible], transcript.program[audible]
    labels: dict[str, Any] = {
        "notes_per_s": round(int(onsets.sum()) / duration_s, 4),
        "instruments": len(np.unique(transcript.part[audible])),
    }
    if not len(sounding_s):
        return labels
    shares = np.bincount(pitch % 12, sounding_s, minlength=12) / sounding_s.sum()
    program_shares = np.bincount(program, sounding_s, minlength=128) / sounding_s.sum()
    labels |= {name: round(float(share), 6) for name, share in zip(PITCH_CLASSES, shares, strict=True)}
    for family, ranges in FAMILIES.items():
        labels[family] = round(float(sum(program_shares[group.start : group.stop].sum() for group in ranges)), 6)
    key = harmony.estimate_key(shares) if len(sounding_s) >= minimum_notes else None
    if key is not None:
        labels |= {"key": harmony.KEYS[key], "mode": harmony.MODES[key // 12]}
    return labels
