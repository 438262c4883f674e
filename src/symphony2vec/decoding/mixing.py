"""Reduce the channels of a recording to one: their mean, or the loudest one if they cancel each other.

The power of the mean of C uncorrelated channels is 1/C of the power of a channel; real stereo lies above that because
its channels are correlated. A mean far below that level indicates a channel with inverted polarity (a cable, a badly
aligned tape): in the mean the music cancels and only the noise remains.
"""

from __future__ import annotations

import numpy as np

from symphony2vec.errors import Unusable

# Relative to the mean of uncorrelated channels. Two channels of equal level reach it at a correlation of -0.94.
CANCELLED_DB = 12.0
# Averaged over a whole recording less is sufficient: a correlation of -0.75, which no pair of microphones gives.
CANCELLED_WHOLE_DB = 6.0
QUIET_DB = 40.0  # blocks this far below the loudest are ignored: in noise any correlation occurs
MIN_CANCELLED_SHARE = 0.05  # of the duration of the blocks that are not quiet

BLOCK_FRAMES = 1 << 18


def downmix(wave: np.ndarray, rate_hz: float) -> tuple[np.ndarray, str]:
    """Reduce a waveform in memory to one channel, by the same rule as a recording.

    Args:
        wave: (N, C) floating point, full scale 1.
        rate_hz: sample rate.

    Returns:
        The waveform (N,), and a note if it is a single channel instead of the mean ("" otherwise).

    Raises:
        Unusable: a sample is not finite.

    Examples:
        >>> import numpy as np
        >>> wave = np.sin(np.arange(1000, dtype=np.float32))
        >>> mono, note = downmix(np.stack([wave, -wave], axis=1), 22050)
        >>> bool((mono == wave).all()), note
        (True, 'channels cancel each other in 100% of the recording; using channel 1 of 2')
    """
    downmixer = Downmixer()
    for first in range(0, len(wave), BLOCK_FRAMES):
        downmixer.downmix_block(np.ascontiguousarray(wave[first : first + BLOCK_FRAMES]), rate_hz)
    channel = downmixer.replacement_channel
    mono: np.ndarray = wave.mean(axis=1) if channel is None else np.ascontiguousarray(wave[:, channel])
    return mono, downmixer.describe_cancellation(wave.shape[1])


class Downmixer:
    """Reduces blocks to one channel, and measures meanwhile whether the channels cancel each other.

    Attributes:
        channel: the channel to select (0 is the first) where a block has as many; None for the mean.
    """

    def __init__(self, channel: int | None = None) -> None:
        self.channel = channel
        self._blocks: list[tuple[float, float, bool]] = []  # duration (s), power, whether the channels cancel
        self._energies: dict[int, float] = {}  # by channel
        self._cancelled_energies: dict[int, float] = {}  # by channel, of the blocks in which the channels cancel
        self._mean_energy = self._uncorrelated_energy = 0.0  # of the mean; what it would be of uncorrelated channels

    def downmix_block(self, block: np.ndarray, rate_hz: float) -> np.ndarray:
        """Return one channel (n,) float32 of a block (n, C).

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
            raise Unusable("contains samples that are not numbers (NaN or infinite)")
        if channels > 1 and self.channel is None:
            self._measure(block, mono, rate_hz)
        return mono

    def _measure(self, block: np.ndarray, mono: np.ndarray, rate_hz: float) -> None:
        """Add the energies of a block (n, C) and of its mean (n,)."""
        samples, channels = block.shape
        flat = block.reshape(-1)
        with np.errstate(over="ignore"):
            total_energy, mean_energy = float(np.dot(flat, flat)), float(np.dot(mono, mono))
        is_cancelled = mean_energy * channels**2 < total_energy * 10.0 ** (-CANCELLED_DB / 10.0)
        self._blocks.append((samples / rate_hz, total_energy / channels / samples, is_cancelled))
        self._mean_energy += mean_energy
        self._uncorrelated_energy += total_energy / channels**2
        for channel, energy in enumerate(np.einsum("ij,ij->j", block, block, dtype=np.float64)):
            for energies in (self._energies, self._cancelled_energies) if is_cancelled else (self._energies,):
                energies[channel] = energies.get(channel, 0.0) + float(energy)

    def describe_cancellation(self, channels: int) -> str:
        """Return a note if the channels cancel each other; "" otherwise."""
        channel = self.replacement_channel
        if channel is None:
            return ""
        share = self.cancelled_share
        extent = f" in {share:.0%} of the recording" if share >= MIN_CANCELLED_SHARE else ""
        return f"channels cancel each other{extent}; using channel {channel + 1} of {channels}"

    @property
    def cancelled_share(self) -> float:
        """The share of the duration in which the channels cancel each other, among blocks that are not quiet."""
        min_power = max((power for _, power, _ in self._blocks), default=0.0) * 10.0 ** (-QUIET_DB / 10.0)
        loud = [(duration_s, is_cancelled) for duration_s, power, is_cancelled in self._blocks if power > min_power]
        total_s = sum(duration_s for duration_s, _ in loud)
        return sum(duration_s for duration_s, is_cancelled in loud if is_cancelled) / total_s if total_s else 0.0

    @property
    def replacement_channel(self) -> int | None:
        """The channel to use instead of the mean: the loudest if the channels cancel; None if they do not."""
        if self.cancelled_share >= MIN_CANCELLED_SHARE:
            energies = self._cancelled_energies
        elif self._mean_energy < self._uncorrelated_energy * 10.0 ** (-CANCELLED_WHOLE_DB / 10.0):
            energies = self._energies
        else:
            return None
        return max(energies, key=lambda channel: (energies[channel], -channel))
