"""The networks of the ALI that hears all ten seconds.

Axes: B batch, F bins, T frames, S steps of `STRIDE` frames, D dimensions of the clip code, Z of a step code, H features
of a step. Symbols: x (B, F, T) mel spectrograms of mean 0 and deviation 1 in every band; c (B, D) the code of a clip,
which is the embedding; z (B, S, Z) one small code a step, so that c need not carry the notes.

Source: Dumoulin et al. 2017 (ALI) for the game, Donahue and Simonyan 2019 (BigBiGAN) for what the discriminator hears.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

# Channels, kernel and stride over (bins, frames) of the four convolutions; the generator mirrors them.
CHANNELS = (1, 2, 4, 8)  # times the width
KERNELS = ((4, 8), (4, 4), (4, 4), (4, 3))
STRIDES = ((2, 4), (2, 2), (2, 2), (2, 1))
PADDINGS = ((1, 2), (1, 1), (1, 1), (1, 1))
GROUPS = 4  # of channels that are normalised together, at least two each
STRIDE = 16  # frames of a step
FOLD = 16  # bins that become one
SLOPE = 0.2
LOG_SIGMA_AT_START = -1.5  # little noise, so that the generator learns early what a code says
LOG_SIGMA_LOW, LOG_SIGMA_HIGH = -6.0, 2.0  # a code's deviation stays between 0.0025 and 7.4


class Codes(NamedTuple):
    """What the encoder says of a clip: mean and log deviation of c (B, D) and z (B, S, Z); its pooled features."""

    c: Tensor
    c_log_sigma: Tensor
    z: Tensor
    z_log_sigma: Tensor
    pooled: Tensor


class Encoder(nn.Module):
    """E: convolutions, a recurrent layer in both directions, attention over time."""

    def __init__(self, latent: int, step_latent: int, width: int, bins: int) -> None:
        """`latent` D, `step_latent` Z (0 for no step codes), `width` channels of the first layer, `bins` F."""
        super().__init__()
        hidden = CHANNELS[-1] * width
        layers: list[nn.Module] = []
        for before, after, kernel, stride, padding in _convolutions(width):
            convolution = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
        self.convolutions = nn.Sequential(*layers)
        self.fold = nn.Linear(hidden * (bins // FOLD), hidden)
        self.along = Recurrent(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.pool = AttentionPooling(hidden)
        self.clip_code = nn.Linear(2 * hidden, 2 * latent)
        self.step_code = nn.Linear(hidden, 2 * step_latent)
        for code, size in ((self.clip_code, latent), (self.step_code, step_latent)):
            nn.init.constant_(code.bias.data[size:], LOG_SIGMA_AT_START)

    def forward(self, x: Tensor) -> Codes:
        """X (B, F, T), T a multiple of `STRIDE`."""
        steps = self.steps(x)
        pooled = self.pool(steps)
        c, c_log_sigma = self.clip_code(pooled).chunk(2, dim=-1)
        z, z_log_sigma = self.step_code(steps).chunk(2, dim=-1)
        return Codes(c, _bounded(c_log_sigma), z, _bounded(z_log_sigma), pooled)

    def steps(self, x: Tensor) -> Tensor:
        """The features (B, S, H) of every step."""
        folded = self.fold(self.convolutions(x.unsqueeze(1)).flatten(1, 2).transpose(1, 2))
        along: Tensor = folded + self.along(folded)[0]
        return along


class Recurrent(nn.GRU):
    """A recurrent layer that stays in the precision of its weights: autocast would make cuDNN's half precision, whose
    range is too small for gradients that nobody scales."""

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """As torch's own, of one batch."""
        with torch.autocast(x.device.type, enabled=False):
            found: tuple[Tensor, Tensor] = super().forward(x.type_as(self.all_weights[0][0]), hx)
        return found


class ClipEncoder(nn.Module):
    """The encoder for clips as the stages know them, of any length from one step on."""

    def __init__(self, latent: int, step_latent: int, width: int, bins: int) -> None:
        """See `Encoder`."""
        super().__init__()
        self.encoder = Encoder(latent, step_latent, width, bins)

    def encode(self, x: Tensor) -> Tensor:
        """X (B, F, T) to the mean of c (B, D)."""
        c: Tensor = self.encoder(whole(x)).c
        return c

    def encode_pooled(self, x: Tensor) -> Tensor:
        """As `encode`, the pooled features (B, 2 H) that c is made of."""
        pooled: Tensor = self.encoder(whole(x)).pooled
        return pooled


class ClipClassifier(nn.Module):
    """The same encoder with one linear layer on top of the mean of c, to name the composer."""

    def __init__(self, latent: int, step_latent: int, width: int, bins: int, composers: int) -> None:
        """See `Encoder`; `composers` K."""
        super().__init__()
        self.encoder = Encoder(latent, step_latent, width, bins)
        self.output = nn.Linear(latent, composers)

    def forward(self, x: Tensor) -> Tensor:
        """X (B, F, T), T a multiple of `STRIDE`, to logits (B, K)."""
        logits: Tensor = self.output(self.encoder(x).c)
        return logits

    def probabilities(self, x: Tensor) -> Tensor:
        """X (B, F, T) to (B, K)."""
        logits: Tensor = self(whole(x))
        return logits.softmax(dim=1)


class AttentionPooling(nn.Module):
    """Mean and deviation over time, each step weighted by how much it says: (B, S, H) to (B, 2 H)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        # no bias at the end: a softmax does not change with a constant
        self.score = nn.Sequential(nn.Linear(hidden, hidden // 2), nn.Tanh(), nn.Linear(hidden // 2, 1, bias=False))
        self.register_load_state_dict_pre_hook(_drop_score_bias)  # type: ignore[no-untyped-call]

    def forward(self, steps: Tensor) -> Tensor:
        """(B, S, H) to (B, 2 H)."""
        weights = self.score(steps).softmax(dim=1)
        mean = (weights * steps).sum(dim=1)
        variance = (weights * (steps - mean.unsqueeze(1)).square()).sum(dim=1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


def _drop_score_bias(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights saved by versions up to 0.1 hold a bias of the attention score, which never had an effect."""
    state.pop(f"{prefix}score.2.bias", None)


class Generator(nn.Module):
    """G: the mirror of the encoder, from c repeated along time beside z.

    It hears codes of two kinds, the encoder's and the prior's, so it is normalised clip by clip: the statistics of a
    batch would be those of neither.
    """

    def __init__(self, latent: int, step_latent: int, width: int, bins: int) -> None:
        """See `Encoder`."""
        super().__init__()
        hidden = CHANNELS[-1] * width
        self._rows = bins // FOLD
        self.enter = nn.Linear(latent + step_latent, hidden)
        self.along = Recurrent(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.unfold = nn.Linear(hidden, hidden * self._rows)
        layers: list[nn.Module] = []
        for after, before, kernel, stride, padding in reversed(list(_convolutions(width))):
            layers += [nn.GroupNorm(min(GROUPS, before // 2), before), nn.LeakyReLU(SLOPE)]
            layers.append(nn.ConvTranspose2d(before, after, kernel, stride, padding))
        self.convolutions = nn.Sequential(*layers)

    def forward(self, c: Tensor, z: Tensor) -> Tensor:
        """C (B, D) and z (B, S, Z) to x_hat (B, F, S * STRIDE)."""
        entered = self.enter(_beside(c, z))
        along = entered + self.along(entered)[0]
        unfolded = self.unfold(along).transpose(1, 2).unflatten(1, (-1, self._rows))
        x_hat: Tensor = self.convolutions(unfolded).squeeze(1)
        return x_hat


class Discriminator(nn.Module):
    """D: one logit for a pair of a clip and its codes; without batch norm, so that each pair alone makes its own."""

    def __init__(self, latent: int, step_latent: int, width: int, bins: int, unary: bool) -> None:
        """See `Encoder`; `unary` adds what the clip alone and the codes alone say."""
        super().__init__()
        hidden = CHANNELS[-1] * width
        layers: list[nn.Module] = []
        for before, after, kernel, stride, padding in _convolutions(width):
            layers += [spectral_norm(nn.Conv2d(before, after, kernel, stride, padding)), nn.LeakyReLU(SLOPE)]
        self.of_clip = nn.Sequential(*layers)
        self.fold = _normed(hidden * (bins // FOLD), hidden)
        self.of_codes = nn.Sequential(
            _normed(latent + step_latent, hidden), nn.LeakyReLU(SLOPE), _normed(hidden, hidden), nn.LeakyReLU(SLOPE)
        )
        self.joint = nn.Sequential(_normed(2 * hidden, 2 * hidden), nn.LeakyReLU(SLOPE))
        self.of_steps = _normed(2 * hidden, 1)
        self.of_whole = nn.Sequential(_normed(2 * hidden, hidden), nn.LeakyReLU(SLOPE), _normed(hidden, 1))
        self.clip_alone = _normed(hidden, 1) if unary else None
        self.codes_alone = _normed(hidden, 1) if unary else None

    def forward(self, x: Tensor, c: Tensor, z: Tensor) -> Tensor:
        """X (B, F, T), c (B, D), z (B, S, Z) to logits (B,), above 0 for "the encoder's pair"."""
        heard = self.fold(self.of_clip(x.unsqueeze(1)).flatten(1, 2).transpose(1, 2))
        heard = nn.functional.leaky_relu(heard, SLOPE)
        coded = self.of_codes(_beside(c, z))
        joint = self.joint(torch.cat([heard, coded], dim=2))
        logit: Tensor = self.of_steps(joint).mean(dim=1) + self.of_whole(joint.mean(dim=1))
        if self.clip_alone is not None and self.codes_alone is not None:
            logit = logit + self.clip_alone(heard).mean(dim=1) + self.codes_alone(coded).mean(dim=1)
        return logit.squeeze(1)


class Projection(nn.Module):
    """What the contrast is measured on; thrown away after training: (B, D) to unit vectors (B, 256)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(latent, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 256))

    def forward(self, c: Tensor) -> Tensor:
        """(B, D) to (B, 256)."""
        return nn.functional.normalize(self.layers(c), dim=1)


def whole(x: Tensor) -> Tensor:
    """The middle of a clip, of as many whole steps as it holds: (B, F, T) to (B, F, S * STRIDE)."""
    length = x.shape[2] // STRIDE * STRIDE
    first = (x.shape[2] - length) // 2
    return x[:, :, first : first + length]


def _convolutions(width: int) -> list[tuple[int, int, tuple[int, int], tuple[int, int], tuple[int, int]]]:
    channels = [1, *(factor * width for factor in CHANNELS)]
    return [(channels[i], channels[i + 1], KERNELS[i], STRIDES[i], PADDINGS[i]) for i in range(len(KERNELS))]


def _normed(before: int, after: int) -> nn.Module:
    layer: nn.Module = spectral_norm(nn.Linear(before, after))
    return layer


def _bounded(log_sigma: Tensor) -> Tensor:
    return log_sigma.clamp(LOG_SIGMA_LOW, LOG_SIGMA_HIGH)


def _beside(c: Tensor, z: Tensor) -> Tensor:
    """c repeated along time beside z: (B, S, D + Z)."""
    return torch.cat([c.unsqueeze(1).expand(-1, z.shape[1], -1), z], dim=2)
