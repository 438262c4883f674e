"""From channels to one: their mean, or one of them where they cancel each other.

The mean of C channels that have nothing in common is C times weaker than the channels are; real stereo lies above that,
as its channels share most of their sound. A mean that lies far below it shows a channel with inverted polarity (a
cable, a badly aligned tape): the music is gone from it and the noise of the channels is left.
"""

from __future__ import annotations

import numpy as np

from symphony2vec.errors import Unusable

# Below the mean of unrelated channels. Two channels of equal level come so low at a correlation of -0.94.
CANCELLED_DB = 12.0
# Over a whole recording less is enough: its channels have a correlation of -0.75, which no pair of microphones gives.
CANCELLED_WHOLE_DB = 6.0
QUIET_DB = 40.0  # blocks so far below the loudest of a recording do not tell: in noise anything happens
LEAST_SHARE = 0.05  # of the sounding time

BLOCK_FRAMES = 1 << 18


def mix(wave: np.ndarray, rate_hz: float) -> tuple[np.ndarray, str]:
    """One channel (N,) of a wave (N, C) in memory, as of a recording; and a note where it is not the mean.

    Raises:
        Unusable: a sample is not finite.
    """

    mixer = Mixer()
    for first in range(0, len(wave), BLOCK_FRAMES):
        mixer.mono(np.ascontiguousarray(wave[first : first + BLOCK_FRAMES]), rate_hz)
    channel = mixer.better_channel
    mono: np.ndarray = wave.mean(axis=1) if channel is None else np.ascontiguousarray(wave[:, channel])
    return mono, mixer.note(wave.shape[1])


class Mixer:
    """Makes one channel of blocks, and watches whether the channels cancel each other.

    With `channel` (0 is the first) that one is taken where there are as many; else the mean.
    """

    def __init__(self, channel: int | None = None) -> None:
        self.channel = channel
        self._seconds: list[float] = []
        self._powers: list[float] = []
        self._is_cancelled: list[bool] = []
        self._energies: dict[int, float] = {}  # of the channels, where they cancel
        self._whole: dict[int, float] = {}
        self._mixed = self._unrelated = 0.0  # energies of the mean, and what it would be of unrelated channels

    def mono(self, block: np.ndarray, rate_hz: float) -> np.ndarray:
        """One channel (n,) float32 of a block (n, C).

        Raises:
            Unusable: a sample is not finite.
        """

        channels = block.shape[1]
        if self.channel is not None and self.channel < channels:
            mono = np.ascontiguousarray(block[:, self.channel])
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # refused below
                # numpy's mean over two columns takes forty times as long as their sum
                mono = (block[:, 0] + block[:, 1]) * np.float32(0.5) if channels == 2 else block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise Unusable("some of its samples are not numbers (NaN or infinite)")
        if channels > 1 and self.channel is None:
            self._watch(block, mono, rate_hz)
        return mono

    def _watch(self, block: np.ndarray, mono: np.ndarray, rate_hz: float) -> None:
        samples, channels = block.shape
        flat = block.reshape(-1)
        with np.errstate(over="ignore"):
            total, mixed = float(np.dot(flat, flat)), float(np.dot(mono, mono))
        is_cancelled = mixed * channels**2 < total * 10.0 ** (-CANCELLED_DB / 10.0)
        self._seconds.append(samples / rate_hz)
        self._powers.append(total / channels / samples)
        self._is_cancelled.append(is_cancelled)
        self._mixed += mixed
        self._unrelated += total / channels**2
        for number, energy in enumerate(np.einsum("ij,ij->j", block, block, dtype=np.float64)):
            self._whole[number] = self._whole.get(number, 0.0) + float(energy)
            if is_cancelled:
                self._energies[number] = self._energies.get(number, 0.0) + float(energy)

    def note(self, channels: int) -> str:
        """What is said of channels that cancel each other; "" where they do not."""
        channel = self.better_channel
        if channel is None:
            return ""
        share = f" in {self.cancelled_share:.0%} of it" if self.cancelled_share >= LEAST_SHARE else ""
        return f"the channels cancel each other{share}; channel {channel + 1} of {channels} is taken"

    @property
    def cancelled_share(self) -> float:
        """The share of the sounding time in which the channels cancel each other."""
        floor = max(self._powers, default=0.0) * 10.0 ** (-QUIET_DB / 10.0)
        sounding = [
            (seconds, is_cancelled)
            for seconds, power, is_cancelled in zip(self._seconds, self._powers, self._is_cancelled, strict=True)
            if power > floor
        ]
        whole_s = sum(seconds for seconds, _ in sounding)
        return sum(seconds for seconds, is_cancelled in sounding if is_cancelled) / whole_s if whole_s else 0.0

    @property
    def better_channel(self) -> int | None:
        """The channel to take instead of the mean: the loudest where they cancel; None where they do not."""
        if self.cancelled_share >= LEAST_SHARE:
            energies = self._energies
        elif self._mixed < self._unrelated * 10.0 ** (-CANCELLED_WHOLE_DB / 10.0):
            energies = self._whole
        else:
            return None
        return max(energies, key=lambda number: (energies[number], -number))
