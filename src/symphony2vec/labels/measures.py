"""The labels of one clip: of its sound (N,) float32, and of the notes that sound in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symphony2vec.labels import harmony

if TYPE_CHECKING:
    from symphony2vec.labels.transcript import Transcript

PITCH_CLASSES = tuple(f"pc_{number}" for number in range(12))
# General MIDI (level 1) groups its programs, here from 0. It counts harp (46) and timpani (47) with the strings: a harp
# has them, timpani do not. Programs of no orchestra (effects, synthesizers) belong to none.
FAMILIES: dict[str, tuple[range, ...]] = {
    "strings": (range(24, 47), range(48, 52)),
    "woodwind": (range(64, 80),),
    "brass": (range(56, 64),),
    "percussion": (range(8, 16), range(47, 48), range(112, 120)),
    "keys": (range(8), range(16, 24)),
    "voices": (range(52, 55),),
}


def of_sound(wave: np.ndarray, rate_hz: int) -> dict[str, float]:
    """loudness_db and centroid_hz of a wave (N,); neither where it is silent.

    The centroid is that of the power spectrum of the whole clip: the mean over its moments, weighted by their energy.
    """

    mean_square = float(np.mean(np.square(wave, dtype=np.float64)))
    if mean_square == 0.0:
        return {}
    power = np.abs(np.fft.rfft(wave)) ** 2
    centroid_hz = np.fft.rfftfreq(len(wave), 1.0 / rate_hz) @ power / power.sum()
    return {"loudness_db": round(10.0 * float(np.log10(mean_square)), 3), "centroid_hz": round(float(centroid_hz), 2)}


def of_notes(played: Transcript, start_s: float, duration_s: float, minimum_notes: int) -> dict[str, Any]:
    """All labels that notes give to the clip from `start_s`.

    Shares are of the time that the notes sound within the clip, every part counted: two parts in unison count twice.
    A clip in which no note sounds has no shares, one with fewer than `minimum_notes` no key. An instrument is a part
    of the score: first and second violins are two, flutes that share a part are one.
    """

    end_s = start_s + duration_s
    begin = (played.onset_s >= start_s) & (played.onset_s < end_s)
    sounding_s = np.minimum(played.end_s, end_s) - np.maximum(played.onset_s, start_s)
    heard = sounding_s > 0.0
    sounding_s, pitch, program = sounding_s[heard], played.pitch[heard], played.program[heard]
    found: dict[str, Any] = {
        "notes_per_s": round(int(begin.sum()) / duration_s, 4),
        "instruments": len(np.unique(played.part[heard])),
    }
    if not len(sounding_s):
        return found
    shares = np.bincount(pitch % 12, sounding_s, minlength=12) / sounding_s.sum()
    by_program = np.bincount(program, sounding_s, minlength=128) / sounding_s.sum()
    found |= {name: round(float(share), 6) for name, share in zip(PITCH_CLASSES, shares, strict=True)}
    for family, programs in FAMILIES.items():
        found[family] = round(float(sum(by_program[one.start : one.stop].sum() for one in programs)), 6)
    best = harmony.key(shares) if len(sounding_s) >= minimum_notes else None
    if best is not None:
        found |= {"key": harmony.KEYS[best], "mode": harmony.MODES[best // 12]}
    return found
