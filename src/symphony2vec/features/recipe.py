"""How the samples of a clip become its representations."""

from __future__ import annotations

from dataclasses import dataclass

from symphony2vec.params import Features
from symphony2vec.project import REPRESENTATIONS


@dataclass(frozen=True)
class Recipe:
    """How a clip's samples become its three arrays: sample rate, duration and the section `features` of params.yaml."""

    rate_hz: int
    duration_s: float
    settings: Features

    @property
    def samples(self) -> int:
        """Length of a clip in samples."""
        return round(self.duration_s * self.rate_hz)

    @property
    def frames(self) -> int:
        """Frames of a clip; the first is centred on the first sample."""
        return 1 + self.samples // self.settings.hop_samples

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Shape (F, T) of each representation."""
        bins = (self.settings.mel_bands, self.settings.mfcc_coefficients, self.settings.chroma_bins)
        return {name: (count, self.frames) for name, count in zip(REPRESENTATIONS, bins, strict=True)}
