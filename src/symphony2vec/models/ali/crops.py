"""The 32x32 crops that ALI hears, and its encoder as one that takes whole clips.

B clips, F bins, T frames of a mel spectrogram in [0, 1]; D latent dimensions. A crop covers 32 bins and 32 frames
(0.74 s), as the paper's: 3.7 % of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from symphony2vec.models.ali.networks import Encoder
from symphony2vec.package.scaling import CROP, first_band
from symphony2vec.params import Crop

AT_ONCE = 200


def cut(x: Tensor, first_bins: Tensor, first_frames: Tensor) -> Tensor:
    """One crop of every clip: (B, F, T) and two (B,) of integers -> (B, 1, 32, 32)."""
    along = torch.arange(CROP, device=x.device)
    clips = torch.arange(len(x), device=x.device)[:, None, None]
    bins, frames = first_bins[:, None] + along, first_frames[:, None] + along
    return x[clips, bins[:, :, None], frames[:, None, :]].unsqueeze(1)


def drawn(x: Tensor, crop: Crop, generator: torch.Generator) -> Tensor:
    """A crop of every clip to train on, (B, 1, 32, 32): where the parameters say random, drawn anew at each call."""
    count, bins, frames = x.shape
    first_bins = torch.full((count,), first_band(bins, crop.bands), device=x.device)
    first_frames = torch.full((count,), (frames - CROP) // 2, device=x.device)
    if crop.bands == "random":
        first_bins = torch.randint(bins - CROP + 1, (count,), generator=generator, device=x.device)
    if crop.frames == "random":
        first_frames = torch.randint(frames - CROP + 1, (count,), generator=generator, device=x.device)
    return cut(x, first_bins, first_frames)


def middle(x: Tensor, bands: str) -> Tensor:
    """The crop that stands for a clip: (B, 1, 32, 32) of the middle frames."""
    first, begin = first_band(x.shape[1], bands), (x.shape[2] - CROP) // 2
    return x[:, None, first : first + CROP, begin : begin + CROP]


def side_by_side(x: Tensor, bands: str) -> Tensor:
    """All whole crops along a clip: (B, F, T) -> (B, C, 1, 32, 32), C = T // 32, what is left over at both ends."""
    count, first = x.shape[2] // CROP, first_band(x.shape[1], bands)
    begin = (x.shape[2] - count * CROP) // 2
    strip = x[:, first : first + CROP, begin : begin + count * CROP]
    crops: Tensor = strip.unflatten(2, (count, CROP)).permute(0, 2, 1, 3).unsqueeze(2)
    return crops


def over_crops(x: Tensor, bands: str, through: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over a clip's crops of what a network says of each: (B, F, T) -> (B, ...)."""
    crops = side_by_side(x, bands)
    said = torch.cat([through(part) for part in crops.flatten(0, 1).split(AT_ONCE)])
    mean: Tensor = said.unflatten(0, crops.shape[:2]).mean(dim=1)
    return mean


def mean_image(clips: Iterable[Tensor], crop: Crop) -> Tensor:
    """The mean crop (1, 32, 32) of all clips, in batches (b, F, T).

    It is the same in every frame where frames are random, and in every bin where bands are.
    """
    total, count = torch.zeros(()), 0
    for x in clips:
        total, count = total.to(x.device) + x.sum(dim=0), count + len(x)
    mean = total / count
    bins, frames = mean.shape
    first, begin = first_band(bins, crop.bands), (frames - CROP) // 2
    if crop.bands == "random":
        mean = mean.mean(dim=0, keepdim=True).expand(bins, frames)
    if crop.frames == "random":
        mean = mean.mean(dim=1, keepdim=True).expand(bins, frames)
    return mean[first : first + CROP, begin : begin + CROP][None].clone()


class CropEncoder(nn.Module):
    """ALI's encoder for whole clips: it hears the middle crop, or all of them."""

    def __init__(self, latent: int, bands: str) -> None:
        """`latent` D; `bands` as in params.yaml."""
        super().__init__()
        self.bands = bands
        self.encoder = Encoder(latent)

    def encode(self, x: Tensor) -> Tensor:
        """X (B, F, T) in [0, 1] to the mean of its z (B, D)."""
        mean: Tensor = self.encoder(middle(x, self.bands))[0]
        return mean

    def encode_crops(self, x: Tensor) -> Tensor:
        """As `encode`, the mean over all crops of a clip."""
        return over_crops(x, self.bands, lambda part: self.encoder(part)[0])


class EncoderClassifier(nn.Module):
    """ALI's encoder with one linear layer on top of the mean of z, to name the composer of a crop."""

    def __init__(self, latent: int, bands: str, composers: int) -> None:
        """`latent` D; `bands` as in params.yaml; `composers` K."""
        super().__init__()
        self.bands = bands
        self.encoder = Encoder(latent)
        self.output = nn.Linear(latent, composers)

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 1, 32, 32) to logits (B, K)."""
        logits: Tensor = self.output(self.encoder(crops)[0])
        return logits

    def probabilities(self, x: Tensor) -> Tensor:
        """X (B, F, T) in [0, 1] to (B, K), of the middle crop."""
        logits: Tensor = self(middle(x, self.bands))
        return logits.softmax(dim=1)

    def probabilities_crops(self, x: Tensor) -> Tensor:
        """As `probabilities`, the mean over all crops of a clip."""
        return over_crops(x, self.bands, lambda part: self(part).softmax(dim=1))
