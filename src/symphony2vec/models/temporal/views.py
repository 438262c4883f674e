"""What a network hears of a clip while it learns: crops in time, slightly changed.

Axes: B clips, F bins, T frames. Spectrograms have mean 0 and deviation 1 in every band, so a level of 0.1 is a tenth of
a band's deviation over the training clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Changes:
    """How much a view is changed: at most so many bands and frames are silenced, at most so many bins is it shifted,
    and the deviation of a level added to all of it."""

    masked_bins: int = 0
    masked_frames: int = 0
    shifted_bins: int = 0
    level: float = 0.0


class Neighbours:
    """For every clip the clips of its movement, or itself alone."""

    def __init__(self, movements: np.ndarray, rows: np.ndarray, kind: str) -> None:
        """`movements` (clips,) a number each; `rows` those that may be drawn; `kind` movement or clip."""
        self._of = movements if kind == "movement" else np.arange(len(movements))
        self._rows = {int(one): rows[self._of[rows] == one] for one in np.unique(self._of[rows])}

    def groups(self, rows: np.ndarray) -> np.ndarray:
        """The group (B,) of each clip: views of one group are alike, views of two are not."""
        found: np.ndarray = self._of[rows]
        return found

    def drawn(self, rows: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """For each clip another one of its group (B,), or itself."""
        dice = torch.rand(len(rows), generator=generator, device=generator.device).cpu().numpy()
        own = (self._rows[int(self._of[row])] for row in rows)
        return np.array([clips[int(die * len(clips))] for clips, die in zip(own, dice, strict=True)])


def crop(x: Tensor, frames: int, generator: torch.Generator, tempo: float = 0.0) -> Tensor:
    """A piece of every clip, begun anywhere: (B, F, T) to (B, F, `frames`).

    With a `tempo`, a longer or shorter piece is read, at most by this share, and brought to length: faster or slower.
    """
    count, _, length = x.shape
    device = x.device
    pace = torch.ones(count, device=device)
    if tempo:
        pace = 1.0 + tempo * (2.0 * torch.rand(count, generator=generator, device=device) - 1.0)
        pace = pace.clamp(max=(length - 1) / frames)
    room = length - 1 - pace * (frames - 1)
    first = torch.rand(count, generator=generator, device=device) * room
    if not tempo:
        first = first.floor()
    places = first[:, None] + pace[:, None] * torch.arange(frames, device=device)
    low = places.floor().long().clamp(0, length - 1)
    found = _columns(x, low)
    if tempo:
        share = (places - low)[:, None, :]
        found = found * (1.0 - share) + _columns(x, (low + 1).clamp(max=length - 1)) * share
    return found


def changed(x: Tensor, changes: Changes, generator: torch.Generator) -> Tensor:
    """A view (B, F, T) of every clip; differentiable, the same kinds of change for every clip, each drawn anew."""
    return masked(moved(x, changes, generator), changes, generator)


def moved(x: Tensor, changes: Changes, generator: torch.Generator) -> Tensor:
    """Every clip (B, F, T) as it might have been played: higher or lower, louder or softer."""
    count, bins, frames = x.shape
    if changes.shifted_bins:
        by = _integers(count, -changes.shifted_bins, changes.shifted_bins, generator)
        places = (torch.arange(bins, device=x.device) - by[:, None]).clamp(0, bins - 1)
        x = x.gather(1, places[:, :, None].expand(-1, -1, frames))
    if changes.level:
        x = x + changes.level * torch.randn(count, 1, 1, generator=generator, device=x.device)
    return x


def masked(x: Tensor, changes: Changes, generator: torch.Generator) -> Tensor:
    """Every clip (B, F, T) with a stretch of bands and one of frames silenced."""
    for axis, most in ((1, changes.masked_bins), (2, changes.masked_frames)):
        if most:
            x = x * _mask(len(x), x.shape[axis], most, generator).unsqueeze(3 - axis)
    return x


def _columns(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(2, places[:, None, :].expand(-1, x.shape[1], -1))


def _mask(count: int, size: int, most: int, generator: torch.Generator) -> Tensor:
    """(B, size), 0 along one stretch of at most `most`; 0 is the mean of a band."""
    width = _integers(count, 0, most, generator)
    first = (torch.rand(count, generator=generator, device=generator.device) * (size - width + 1)).long()
    along = torch.arange(size, device=generator.device)
    inside = (along >= first[:, None]) & (along < (first + width)[:, None])
    return (~inside).float()


def _integers(count: int, low: int, high: int, generator: torch.Generator) -> Tensor:
    return torch.randint(low, high + 1, (count,), generator=generator, device=generator.device)
