"""The 32x32 crops that ALI is trained on, and networks that apply its encoder to full clips.

B clips, F bins, T frames of a mel spectrogram in [0, 1]; C crops of a clip; D latent dimensions, K composers. A crop
has 32 bins and 32 frames (0.74 s), as in the paper: 3.7 % of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from symphony2vec.models.ali.networks import Encoder
from symphony2vec.package.scaling import CROP, first_band
from symphony2vec.params import Crop

CROPS_PER_PASS = 200


def cut_crops(x: Tensor, first_bins: Tensor, first_frames: Tensor) -> Tensor:
    """Cut one crop from each clip at a position of its own.

    Args:
        x: (B, F, T).
        first_bins: (B,) integers.
        first_frames: (B,) integers.

    Returns:
        (B, 1, 32, 32).

    Examples:
        >>> tuple(cut_crops(torch.zeros(2, 64, 70), torch.tensor([0, 32]), torch.tensor([5, 38])).shape)
        (2, 1, 32, 32)
    """
    offsets = torch.arange(CROP, device=x.device)
    clips = torch.arange(len(x), device=x.device)[:, None, None]
    bins, frames = first_bins[:, None] + offsets, first_frames[:, None] + offsets
    return x[clips, bins[:, :, None], frames[:, None, :]].unsqueeze(1)


def sample_crops(x: Tensor, crop: Crop, rng: torch.Generator) -> Tensor:
    """Return one crop of each clip (B, F, T) for training: (B, 1, 32, 32); "random" positions are sampled anew."""
    count, bins, frames = x.shape
    first_bins = torch.full((count,), first_band(bins, crop.bands), device=x.device)
    first_frames = torch.full((count,), (frames - CROP) // 2, device=x.device)
    if crop.bands == "random":
        first_bins = torch.randint(bins - CROP + 1, (count,), generator=rng, device=x.device)
    if crop.frames == "random":
        first_frames = torch.randint(frames - CROP + 1, (count,), generator=rng, device=x.device)
    return cut_crops(x, first_bins, first_frames)


def cut_middle(x: Tensor, bands: str) -> Tensor:
    """Return the crop of the middle frames of each clip (B, F, T): (B, 1, 32, 32).

    Examples:
        >>> tuple(cut_middle(torch.zeros(2, 64, 70), "low").shape)
        (2, 1, 32, 32)
    """
    first_bin, first_frame = first_band(x.shape[1], bands), (x.shape[2] - CROP) // 2
    return x[:, None, first_bin : first_bin + CROP, first_frame : first_frame + CROP]


def tile_crops(x: Tensor, bands: str) -> Tensor:
    """Cut each clip (B, F, T) into adjacent crops (B, C, 1, 32, 32), C = T // 32; the rest is cut off at both ends.

    Examples:
        >>> tuple(tile_crops(torch.zeros(2, 64, 100), "low").shape)
        (2, 3, 1, 32, 32)
    """
    count, first_bin = x.shape[2] // CROP, first_band(x.shape[1], bands)
    first_frame = (x.shape[2] - count * CROP) // 2
    strip = x[:, first_bin : first_bin + CROP, first_frame : first_frame + count * CROP]
    crops: Tensor = strip.unflatten(2, (count, CROP)).permute(0, 2, 1, 3).unsqueeze(2)
    return crops


def average_over_crops(x: Tensor, bands: str, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean over the crops of each clip of a function of crops.

    Args:
        x: (B, F, T).
        bands: as in params.yaml.
        function: crops (b, 1, 32, 32) -> (b, ...).

    Returns:
        (B, ...).
    """
    crops = tile_crops(x, bands)
    flat = crops.flatten(0, 1)
    # ONNX has no loop over a number of clips that is not known yet.
    parts = (flat,) if torch.onnx.is_in_onnx_export() else flat.split(CROPS_PER_PASS)
    outputs = torch.cat([function(part) for part in parts])
    mean: Tensor = outputs.reshape(-1, crops.shape[1], *outputs.shape[1:]).mean(dim=1)
    return mean


def compute_mean_crop(batches: Iterable[Tensor], crop: Crop) -> Tensor:
    """Return the mean crop (1, 32, 32) of clips in batches (b, F, T).

    With random frames all its frames are equal, and with random bands all its bins.
    """
    total, count = torch.zeros(()), 0
    for x in batches:
        total, count = total.to(x.device) + x.sum(dim=0), count + len(x)
    mean = total / count
    bins, frames = mean.shape
    first_bin, first_frame = first_band(bins, crop.bands), (frames - CROP) // 2
    if crop.bands == "random":
        mean = mean.mean(dim=0, keepdim=True).expand(bins, frames)
    if crop.frames == "random":
        mean = mean.mean(dim=1, keepdim=True).expand(bins, frames)
    return mean[first_bin : first_bin + CROP, first_frame : first_frame + CROP][None].clone()


class CropEncoder(nn.Module):
    """ALI's encoder for full clips, from their middle crop or from all their crops.

    Packages store its constructor arguments and method names.
    """

    def __init__(self, latent: int, bands: str) -> None:
        """`latent` D; `bands` as in params.yaml."""
        super().__init__()
        self.bands = bands
        self.encoder = Encoder(latent)

    def encode(self, x: Tensor) -> Tensor:
        """Return the mean of z (B, D) of the middle crop of each clip (B, F, T) in [0, 1]."""
        mean: Tensor = self.encoder(cut_middle(x, self.bands))[0]
        return mean

    def encode_crops(self, x: Tensor) -> Tensor:
        """Return the mean of z (B, D), averaged over all crops of each clip (B, F, T) in [0, 1]."""
        return average_over_crops(x, self.bands, lambda part: self.encoder(part)[0])


class EncoderClassifier(nn.Module):
    """ALI's encoder with a linear layer on the mean of z that predicts the composer of a crop.

    Packages store its constructor arguments and method names.
    """

    def __init__(self, latent: int, bands: str, composers: int) -> None:
        """`latent` D; `bands` as in params.yaml; `composers` K."""
        super().__init__()
        self.bands = bands
        self.encoder = Encoder(latent)
        self.output = nn.Linear(latent, composers)

    def forward(self, crops: Tensor) -> Tensor:
        """Return logits (B, K) of crops (B, 1, 32, 32)."""
        logits: Tensor = self.output(self.encoder(crops)[0])
        return logits

    def probabilities(self, x: Tensor) -> Tensor:
        """Return probabilities (B, K) of the middle crop of each clip (B, F, T) in [0, 1]."""
        logits: Tensor = self(cut_middle(x, self.bands))
        return logits.softmax(dim=1)

    def probabilities_crops(self, x: Tensor) -> Tensor:
        """Return probabilities (B, K), averaged over all crops of each clip (B, F, T) in [0, 1]."""
        return average_over_crops(x, self.bands, lambda part: self(part).softmax(dim=1))
