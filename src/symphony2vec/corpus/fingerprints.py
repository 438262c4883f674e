"""An acoustic fingerprint that tells whether two recordings contain the same sound in spite of distortions.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, section 4: the spectrum of a window
of 0.37 s is summed in 33 bands from 300 to 2000 Hz, and each of 32 bits says whether the difference between two
neighbouring bands has grown since the previous window. Loudness, equalisation, sample rate and lossy coding change few
bits; another performance changes about half of them.

N samples at `RATE_HZ`; T frames, one every `FRAME_S` seconds. A fingerprint is (T,) uint32, one word per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft

RATE_HZ = 5512
WINDOW = 2048  # samples
HOP = 256  # 64 in the paper; four times fewer words are found as reliably, see MOST_ERRORS
FRAME_S = HOP / RATE_HZ
BANDS = 33
BAND_HZ = (300.0, 2000.0)
FEWEST_FRAMES = 64  # 3.0 s, the paper's granularity
# Measured on clips of the starter corpus: copies as MP3 (quality 0.9), quieter and with another start, 0.05 to 0.2
# (median 0.09); other music with the same instruments from 0.34. The paper has 0.35 for blocks of 256 frames.
MOST_ERRORS = 0.25
COARSE_ERRORS = 0.4  # of 8 frames around an equal key; by chance 0.5 with a standard deviation of 0.03
NEAR_ERRORS = 0.32  # of the 3 s around an equal key, before the whole overlap is compared
KEYS = (0xFFFFF000, 0x000FFFFF)  # 20 of the 32 bits each: the words of lossy copies rarely agree in all
COMMONEST = 50  # a key with more occurrences says little; only its first ones are compared
CHUNK = 1 << 16  # frames or candidates at a time


def compute_fingerprint(wave: np.ndarray) -> np.ndarray:
    """Return the fingerprint (T,) uint32 of a mono waveform (N,) at `RATE_HZ`; empty for less than 0.42 s.

    Examples:
        >>> compute_fingerprint(np.zeros(RATE_HZ, np.float32)).shape
        (13,)
    """
    frames = 1 + (len(wave) - WINDOW) // HOP if len(wave) >= WINDOW else 0
    if frames < 2:
        return np.zeros(0, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(wave, np.float32), WINDOW)[::HOP]
    taper = np.hanning(WINDOW).astype(np.float32)
    edges = np.geomspace(*BAND_HZ, BANDS + 1) * WINDOW / RATE_HZ
    bins = np.round(edges).astype(int)
    energy = np.empty((frames, BANDS), np.float32)
    step = 512  # windows transformed at a time
    for start in range(0, frames, step):
        spectrum = scipy.fft.rfft(windows[start : start + step] * taper, axis=1)[:, : bins[-1]]
        power = spectrum.real**2 + spectrum.imag**2
        energy[start : start + step] = np.add.reduceat(power, bins[:-1], axis=1)
    slope = np.diff(energy, axis=1)
    bits = np.diff(slope, axis=0) > 0
    return np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)


@dataclass(frozen=True)
class Match:
    """Two fingerprints that contain the same sound.

    Attributes:
        first: The smaller of their two positions in the list.
        second: The larger position.
        offset: The frame of the first at which the second begins; may be negative.
        frames: How many frames they have in common.
        errors: The share of bits that differ there (0.5 for unrelated sounds).
    """

    first: int
    second: int
    offset: int
    frames: int
    errors: float


def find_matches(fingerprints: Sequence[np.ndarray], most_errors: float = MOST_ERRORS) -> list[Match]:
    """Return all pairs that share at least 3 s of sound, each with the offset that has the fewest errors.

    Keys that occur in both give the candidate offsets, at which the whole overlap is compared bit by bit. Frames of
    digital silence (no bit set) are ignored.

    Args:
        fingerprints: Any number of (T,) uint32.
        most_errors: The share of bits that may differ.

    Returns:
        The matches, sorted by `first` and `second`.
    """
    lengths = np.array([len(words) for words in fingerprints], np.int64)
    if not lengths.sum():
        return []
    words = np.concatenate(fingerprints).astype(np.uint32)
    starts = np.cumsum(lengths) - lengths
    owners = np.repeat(np.arange(len(lengths)), lengths)
    best: dict[tuple[int, int], Match] = {}
    for first, second, offset in _find_candidates(words, owners, starts, lengths):
        begin = max(offset, 0)
        frames = min(lengths[first] - begin, lengths[second] - begin + offset)
        a = words[starts[first] + begin :][:frames]
        b = words[starts[second] + begin - offset :][:frames]
        sounding = (a != 0) & (b != 0)
        count = int(sounding.sum())
        if count < FEWEST_FRAMES:
            continue
        errors = float(np.bitwise_count(a ^ b)[sounding].sum()) / (32 * count)
        previous = best.get((first, second))
        if errors <= most_errors and (previous is None or errors < previous.errors):
            best[first, second] = Match(first, second, offset, count, round(errors, 4))
    return [best[pair] for pair in sorted(best)]


def _find_candidates(
    words: np.ndarray, owners: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> list[tuple[int, int, int]]:
    """Return (first, second, offset) of all positions with an equal key and few errors in the 3 s around it."""
    candidates: set[tuple[int, int, int]] = set()
    for key in KEYS:
        masked = words & np.uint32(key)
        order = np.argsort(masked, kind="stable")
        order = order[words[order] != 0]
        run = masked[order]
        for distance in range(1, COMMONEST):
            same = np.flatnonzero(run[:-distance] == run[distance:])
            if not len(same):
                break
            a, b = order[same], order[same + distance]  # a precedes b, because the sort is stable
            distinct = owners[a] != owners[b]
            a, b = a[distinct], b[distinct]
            for chunk in range(0, len(a), CHUNK):
                span = slice(chunk, chunk + CHUNK)
                candidates |= _filter_similar(words, owners, starts, lengths, a[span], b[span])
    return sorted(candidates)


def _filter_similar(
    words: np.ndarray, owners: np.ndarray, starts: np.ndarray, lengths: np.ndarray, a: np.ndarray, b: np.ndarray
) -> set[tuple[int, int, int]]:
    """Return (first, second, offset) of those pairs of positions (n,) in `words` with few errors in 3 s around."""
    first, second = owners[a], owners[b]
    position_a, position_b = a - starts[first], b - starts[second]
    before = np.minimum(np.minimum(position_a, position_b), FEWEST_FRAMES // 2)
    after = np.minimum(lengths[first] - position_a, lengths[second] - position_b)
    before = np.maximum(before, np.minimum(np.minimum(position_a, position_b), FEWEST_FRAMES - after))
    enough = before + after >= FEWEST_FRAMES
    a, b, before = a[enough], b[enough], before[enough]
    for step, most_errors in ((8, COARSE_ERRORS), (1, NEAR_ERRORS)):  # every eighth frame rejects most pairs
        span = np.arange(0, FEWEST_FRAMES, step)
        errors = np.bitwise_count(words[(a - before)[:, None] + span] ^ words[(b - before)[:, None] + span])
        is_similar = errors.sum(axis=1) <= most_errors * 32 * len(span)
        a, b, before = a[is_similar], b[is_similar], before[is_similar]
    first, second = owners[a], owners[b]
    offsets = (a - starts[first]) - (b - starts[second])
    return set(zip(first.tolist(), second.tolist(), offsets.tolist(), strict=True))
