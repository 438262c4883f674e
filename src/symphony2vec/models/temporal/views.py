"""Augmented views of clips, the input of the networks during training.

Axes: B clips, F bins, T frames. Spectrograms have mean 0 and standard deviation 1 in every band, so a level of 0.1 is a
tenth of the standard deviation of a band over the training clips. All random draws come from `rng`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

EQUALISER_BANDS = 8


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation; 0 disables a part.

    mask_bins, mask_frames: the largest width of the masks; shift_bins: the largest shift in frequency; level_shift:
    the standard deviation of the shift in level; equalisation: the standard deviation of a random curve over the bins;
    noise_floor: the highest level of a random noise floor, above the quietest value of the clip.
    """

    mask_bins: int = 0
    mask_frames: int = 0
    shift_bins: int = 0
    level_shift: float = 0.0
    equalisation: float = 0.0
    noise_floor: float = 0.0


class PositiveSampler:
    """Sample a positive for each clip: another clip of its movement, or the clip itself.

    Args:
        movements: (clips,) the number of the movement of every clip.
        rows: the clips that may be sampled.
        kind: "movement" or "clip".

    Examples:
        >>> sampler = PositiveSampler(np.array([0, 0, 1]), np.arange(3), kind="clip")
        >>> sampler.sample(np.array([2, 0]), torch.Generator()).tolist()
        [2, 0]
    """

    def __init__(self, movements: np.ndarray, rows: np.ndarray, kind: str) -> None:
        self._groups = movements if kind == "movement" else np.arange(len(movements))
        self._rows = {int(group): rows[self._groups[rows] == group] for group in np.unique(self._groups[rows])}

    def groups(self, rows: np.ndarray) -> np.ndarray:
        """Return the group (B,) of each clip; clips of one group are positives of each other."""
        groups: np.ndarray = self._groups[rows]
        return groups

    def sample(self, rows: np.ndarray, rng: torch.Generator) -> np.ndarray:
        """Return a random clip of the group of each clip (B,), which may be the clip itself."""
        uniform = torch.rand(len(rows), generator=rng, device=rng.device).cpu().numpy()
        candidates = (self._rows[int(group)] for group in self.groups(rows))
        return np.array([clips[int(u * len(clips))] for clips, u in zip(candidates, uniform, strict=True)])


def crop(x: Tensor, frames: int, rng: torch.Generator, time_stretch: float = 0.0) -> Tensor:
    """Return a random crop of every clip: (B, F, T) to (B, F, `frames`).

    Args:
        x: (B, F, T).
        frames: length of the crop, at most T.
        rng: source of the random draws.
        time_stretch: the largest relative change of tempo; longer or shorter crops are resampled linearly to `frames`.

    Examples:
        >>> crop(torch.zeros(3, 64, 431), 128, torch.Generator()).shape
        torch.Size([3, 64, 128])
    """
    count, _, length = x.shape
    device = x.device
    pace = torch.ones(count, device=device)
    if time_stretch:
        pace = 1.0 + time_stretch * (2.0 * torch.rand(count, generator=rng, device=device) - 1.0)
        pace = pace.clamp(max=(length - 1) / frames)
    latest = length - 1 - pace * (frames - 1)
    first = torch.rand(count, generator=rng, device=device) * latest
    if not time_stretch:
        first = first.floor()
    positions = first[:, None] + pace[:, None] * torch.arange(frames, device=device)
    lower = positions.floor().long().clamp(0, length - 1)
    cropped = _gather_frames(x, lower)
    if time_stretch:
        fraction = (positions - lower)[:, None, :]
        upper = (lower + 1).clamp(max=length - 1)
        cropped = cropped * (1.0 - fraction) + _gather_frames(x, upper) * fraction
    return cropped


def augment(x: Tensor, augmentation: Augmentation, rng: torch.Generator) -> Tensor:
    """Return an augmented view (B, F, T) of every clip, each with its own random draws; differentiable.

    Examples:
        >>> augment(torch.ones(2, 64, 128), Augmentation(mask_bins=8, level_shift=0.1), torch.Generator()).shape
        torch.Size([2, 64, 128])
    """
    return time_frequency_mask(shift(x, augmentation, rng), augmentation, rng)


def shift(x: Tensor, augmentation: Augmentation, rng: torch.Generator, same_pitch: int = 0) -> Tensor:
    """Change every clip (B, F, T) as another performance and recording would: pitch, level, timbre and noise.

    The last `same_pitch` clips have the pitch shifts of the first `same_pitch`.
    """
    shifted = shift_level(shift_frequency(x, augmentation.shift_bins, rng, same_pitch), augmentation.level_shift, rng)
    return raise_noise_floor(equalise(shifted, augmentation.equalisation, rng), augmentation.noise_floor, rng)


def shift_frequency(x: Tensor, max_shift: int, rng: torch.Generator, same_pitch: int = 0) -> Tensor:
    """Shift every clip (B, F, T) by up to `max_shift` bins up or down; the bins at the edge are repeated.

    The last `same_pitch` clips have the shifts of the first `same_pitch`.
    """
    if not max_shift:
        return x
    count, bins, frames = x.shape
    offsets = _random_integers(count - same_pitch, -max_shift, max_shift, rng)
    offsets = torch.cat([offsets, offsets[:same_pitch]])
    source_bins = (torch.arange(bins, device=x.device) - offsets[:, None]).clamp(0, bins - 1)
    return x.gather(1, source_bins[:, :, None].expand(-1, -1, frames))


def shift_level(x: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    """Add to every clip (B, F, T) one normally distributed number with this standard deviation."""
    if not deviation:
        return x
    return x + deviation * torch.randn(len(x), 1, 1, generator=rng, device=x.device)


def equalise(x: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    """Add to every clip (B, F, T) a random curve over the bins: another room, another microphone.

    The curve joins `EQUALISER_BANDS` normally distributed numbers with this standard deviation by straight lines.
    """
    if not deviation:
        return x
    gains = deviation * torch.randn(len(x), 1, EQUALISER_BANDS, generator=rng, device=x.device)
    return x + interpolate(gains, size=x.shape[1], mode="linear", align_corners=True).transpose(1, 2)


def raise_noise_floor(x: Tensor, highest: float, rng: torch.Generator) -> Tensor:
    """Raise the quietest values of every clip (B, F, T) to a random level, at most `highest` above their minimum."""
    if not highest:
        return x
    level = highest * torch.rand(len(x), 1, 1, generator=rng, device=x.device)
    return torch.maximum(x, x.amin(dim=(1, 2), keepdim=True) + level)


def time_frequency_mask(x: Tensor, augmentation: Augmentation, rng: torch.Generator) -> Tensor:
    """Mask one range of bins and one of frames of every clip (B, F, T) with 0, the mean of each band.

    Source: Park et al. 2019 (SpecAugment).
    """
    for axis, max_width in ((1, augmentation.mask_bins), (2, augmentation.mask_frames)):
        if max_width:
            x = x * _random_mask(len(x), x.shape[axis], max_width, rng).unsqueeze(3 - axis)
    return x


def _gather_frames(x: Tensor, frames: Tensor) -> Tensor:
    return x.gather(2, frames[:, None, :].expand(-1, x.shape[1], -1))


def _random_mask(count: int, size: int, max_width: int, rng: torch.Generator) -> Tensor:
    """Return masks (count, size): 0 on one range of at most `max_width`, 1 elsewhere."""
    width = _random_integers(count, 0, max_width, rng)
    first = (torch.rand(count, generator=rng, device=rng.device) * (size - width + 1)).long()
    positions = torch.arange(size, device=rng.device)
    inside = (positions >= first[:, None]) & (positions < (first + width)[:, None])
    return (~inside).float()


def _random_integers(count: int, low: int, high: int, rng: torch.Generator) -> Tensor:
    return torch.randint(low, high + 1, (count,), generator=rng, device=rng.device)
