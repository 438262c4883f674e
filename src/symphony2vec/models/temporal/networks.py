"""Networks of the temporal ALI, a bidirectional encoder-decoder over the full ten-second clip.

Axes: B batch, F mel bins, T frames, S steps of `FRAMES_PER_STEP` frames, L dimensions of the clip code, Z of a step
code, H features of a step, K composers.

Symbols: E encoder, G generator, D discriminator; x (B, F, T) mel spectrograms with mean 0 and standard deviation 1 in
every band; c (B, L) the clip code, whose posterior mean is the embedding; z (B, S, Z) a small code per step, which
carries the local detail (notes), so that c does not have to; x_hat (B, F, T) the output of G.

Source: Dumoulin et al. 2017 (ALI) for the adversarial game, Donahue and Simonyan 2019 (BigBiGAN) for the discriminator.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize
from torch.nn.utils.parametrizations import spectral_norm

# Channels, kernel and stride over (bins, frames) of the four convolutions; the generator mirrors them.
CHANNEL_MULTIPLIERS = (1, 2, 4, 8)  # output channels of a convolution = multiplier * width
KERNELS = ((4, 8), (4, 4), (4, 4), (4, 3))
STRIDES = ((2, 4), (2, 2), (2, 2), (2, 1))
PADDINGS = ((1, 2), (1, 1), (1, 1), (1, 1))
GROUPS = 4  # of group normalisation; fewer where a group would have less than two channels
FRAMES_PER_STEP = 16  # product of the strides in time
BINS_PER_ROW = 16  # product of the strides in frequency
LEAKY_SLOPE = 0.2
INITIAL_LOG_SIGMA = -1.5  # little noise, so that the generator learns early to use the codes
LOG_SIGMA_LOW, LOG_SIGMA_HIGH = -6.0, 2.0  # standard deviations of a code between 0.0025 and 7.4
PROJECTION_SIZE = 256
EQUIVARIANT_DIVISOR = 4  # the last quarter of the clip code is the part that is equivariant to pitch, if there is one
# Attribute names in checkpoints and packages saved by versions up to 0.1 -> current names.
RENAMED_WEIGHTS = {
    "along": "gru",
    "fold": "frequency_projection",
    "enter": "code_projection",
    "unfold": "frequency_expansion",
    "of_clip": "x_branch",
    "of_codes": "code_branch",
    "z_branch": "code_branch",
    "of_steps": "step_logit",
    "of_whole": "clip_logit",
    "clip_alone": "x_unary",
    "codes_alone": "code_unary",
    "z_unary": "code_unary",
    "clip_code": "clip_head",
    "step_code": "step_head",
    "score": "attention_logits",
}


class Codes(NamedTuple):
    """Posterior mean and log standard deviation of c (B, L) and of z (B, S, Z); pooled features (B, 2 H)."""

    c_mean: Tensor
    c_log_sigma: Tensor
    z_mean: Tensor
    z_log_sigma: Tensor
    pooled: Tensor


class Encoder(nn.Module):
    """Encoder E: strided convolutions, a bidirectional GRU and attention pooling over time.

    Args:
        latent: L, the dimensions of the clip code.
        step_latent: Z, the dimensions of a step code; 0 for no step codes.
        width: channels of the first convolution.
        bins: F, a multiple of `BINS_PER_ROW`.
    """

    def __init__(self, latent: int, step_latent: int, width: int, bins: int) -> None:
        super().__init__()
        hidden = CHANNEL_MULTIPLIERS[-1] * width
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride, padding in _convolution_shapes(width):
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(LEAKY_SLOPE)]
        self.convolutions = nn.Sequential(*layers)
        self.frequency_projection = nn.Linear(hidden * (bins // BINS_PER_ROW), hidden)
        self.gru = FullPrecisionGRU(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.pool = AttentionPooling(hidden)
        self.clip_head = nn.Linear(2 * hidden, 2 * latent)
        self.step_head = nn.Linear(hidden, 2 * step_latent)
        for head, size in ((self.clip_head, latent), (self.step_head, step_latent)):
            nn.init.constant_(head.bias.data[size:], INITIAL_LOG_SIGMA)
        self.register_load_state_dict_pre_hook(rename_legacy_weights)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Codes:
        """Return the `Codes` of x (B, F, T); T must be a multiple of `FRAMES_PER_STEP`."""
        steps = self.step_features(x)
        pooled = self.pool(steps)
        c_mean, c_log_sigma = self.clip_head(pooled).chunk(2, dim=-1)
        z_mean, z_log_sigma = self.step_head(steps).chunk(2, dim=-1)
        return Codes(c_mean, _clamp_log_sigma(c_log_sigma), z_mean, _clamp_log_sigma(z_log_sigma), pooled)

    def step_features(self, x: Tensor) -> Tensor:
        """Return the features (B, S, H) of every step of x (B, F, T)."""
        projected = self.frequency_projection(self.convolutions(x.unsqueeze(1)).flatten(1, 2).transpose(1, 2))
        features: Tensor = projected + self.gru(projected)[0]
        return features


class FullPrecisionGRU(nn.GRU):
    """GRU that ignores autocast and computes in the precision of its weights.

    Under autocast cuDNN would use half precision, whose range is too small for gradients without loss scaling.
    """

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """See `torch.nn.GRU`; batched input only."""
        with torch.autocast(x.device.type, enabled=False):
            output: tuple[Tensor, Tensor] = super().forward(x.type_as(self.all_weights[0][0]), hx)
        return output


class ClipEncoder(nn.Module):
    """Encoder for inference, as saved in model packages: takes clips of at least one step. Arguments: see `Encoder`.

    Examples:
        >>> ClipEncoder(latent=40, step_latent=4, width=2, bins=64).encode(torch.zeros(3, 64, 431)).shape
        torch.Size([3, 40])
    """

    def __init__(self, latent: int, step_latent: int, width: int, bins: int) -> None:
        super().__init__()
        self.encoder = Encoder(latent, step_latent, width, bins)

    def encode(self, x: Tensor) -> Tensor:
        """Return the posterior mean of c, (B, L), for x (B, F, T)."""
        c_mean: Tensor = self.encoder(crop_to_steps(x)).c_mean
        return c_mean

    def encode_pooled(self, x: Tensor) -> Tensor:
        """Return the pooled features (B, 2 H) of x (B, F, T), from which c is computed."""
        pooled: Tensor = self.encoder(crop_to_steps(x)).pooled
        return pooled


class ClipClassifier(nn.Module):
    """Supervised reference: `Encoder` with a linear layer that predicts the composer from the mean of c.

    Args:
        latent: see `Encoder`.
        step_latent: see `Encoder`.
        width: see `Encoder`.
        bins: see `Encoder`.
        composers: K, the number of composers.
    """

    def __init__(self, latent: int, step_latent: int, width: int, bins: int, composers: int) -> None:
        super().__init__()
        self.encoder = Encoder(latent, step_latent, width, bins)
        self.output = nn.Linear(latent, composers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of x (B, F, T); T must be a multiple of `FRAMES_PER_STEP`."""
        logits: Tensor = self.output(self.encoder(x).c_mean)
        return logits

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the class probabilities (B, K) of x (B, F, T)."""
        logits: Tensor = self(crop_to_steps(x))
        return logits.softmax(dim=1)


class AttentionPooling(nn.Module):
    """Attention-weighted mean and standard deviation over time: (B, S, H) to (B, 2 H)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        # No bias in the last layer: a softmax is invariant to a constant.
        self.attention_logits = nn.Sequential(
            nn.Linear(hidden, hidden // 2), nn.Tanh(), nn.Linear(hidden // 2, 1, bias=False)
        )
        self.register_load_state_dict_pre_hook(rename_legacy_weights)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_drop_attention_bias)  # type: ignore[no-untyped-call]

    def forward(self, steps: Tensor) -> Tensor:
        """Pool (B, S, H) to (B, 2 H)."""
        weights = self.attention_logits(steps).softmax(dim=1)
        mean = (weights * steps).sum(dim=1)
        variance = (weights * (steps - mean.unsqueeze(1)).square()).sum(dim=1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


class Generator(nn.Module):
    """Generator G, the mirror image of the encoder; its input at each step is z and a copy of c.

    G receives codes of the encoder and codes of the prior, in separate batches. Their batch statistics differ, so it
    uses group normalisation, which does not depend on the batch. Arguments: see `Encoder`.
    """

    def __init__(self, latent: int, step_latent: int, width: int, bins: int) -> None:
        super().__init__()
        hidden = CHANNEL_MULTIPLIERS[-1] * width
        self._frequency_rows = bins // BINS_PER_ROW  # height of the smallest feature map
        self.code_projection = nn.Linear(latent + step_latent, hidden)
        self.gru = FullPrecisionGRU(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.frequency_expansion = nn.Linear(hidden, hidden * self._frequency_rows)
        layers: list[nn.Module] = []
        for outputs, inputs, kernel, stride, padding in reversed(_convolution_shapes(width)):
            layers += [nn.GroupNorm(min(GROUPS, inputs // 2), inputs), nn.LeakyReLU(LEAKY_SLOPE)]
            layers.append(nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding))
        self.convolutions = nn.Sequential(*layers)
        self.register_load_state_dict_pre_hook(rename_legacy_weights)  # type: ignore[no-untyped-call]

    def forward(self, c: Tensor, z: Tensor) -> Tensor:
        """Generate x_hat (B, F, S * FRAMES_PER_STEP) from c (B, L) and z (B, S, Z)."""
        projected = self.code_projection(_concatenate_codes(c, z))
        steps = projected + self.gru(projected)[0]
        expanded = self.frequency_expansion(steps).transpose(1, 2).unflatten(1, (-1, self._frequency_rows))
        x_hat: Tensor = self.convolutions(expanded).squeeze(1)
        return x_hat


class Discriminator(nn.Module):
    """Discriminator D: one logit for each pair of a clip and its codes.

    It has no batch norm, so that each logit depends on its own pair only, as `losses.logit_gradients` requires.

    Args:
        latent: see `Encoder`.
        step_latent: see `Encoder`.
        width: see `Encoder`.
        bins: see `Encoder`.
        unary: add the unary terms of BigBiGAN, one from the clip alone and one from the codes alone.
    """

    def __init__(self, latent: int, step_latent: int, width: int, bins: int, unary: bool) -> None:
        super().__init__()
        hidden = CHANNEL_MULTIPLIERS[-1] * width
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride, padding in _convolution_shapes(width):
            convolution = spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))
            layers += [convolution, nn.LeakyReLU(LEAKY_SLOPE)]
        self.x_branch = nn.Sequential(*layers)
        self.frequency_projection = spectral_linear(hidden * (bins // BINS_PER_ROW), hidden)
        self.code_branch = nn.Sequential(
            spectral_linear(latent + step_latent, hidden),
            nn.LeakyReLU(LEAKY_SLOPE),
            spectral_linear(hidden, hidden),
            nn.LeakyReLU(LEAKY_SLOPE),
        )
        self.joint = nn.Sequential(spectral_linear(2 * hidden, 2 * hidden), nn.LeakyReLU(LEAKY_SLOPE))
        self.step_logit = spectral_linear(2 * hidden, 1)
        self.clip_logit = nn.Sequential(
            spectral_linear(2 * hidden, hidden), nn.LeakyReLU(LEAKY_SLOPE), spectral_linear(hidden, 1)
        )
        self.x_unary = spectral_linear(hidden, 1) if unary else None
        self.code_unary = spectral_linear(hidden, 1) if unary else None
        self.register_load_state_dict_pre_hook(rename_legacy_weights)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, c: Tensor, z: Tensor) -> Tensor:
        """Return logits (B,) of x (B, F, T), c (B, L), z (B, S, Z): above 0 for "this pair is from E"."""
        x_features = self.frequency_projection(self.x_branch(x.unsqueeze(1)).flatten(1, 2).transpose(1, 2))
        x_features = leaky_relu(x_features, LEAKY_SLOPE)
        code_features = self.code_branch(_concatenate_codes(c, z))
        joint = self.joint(torch.cat([x_features, code_features], dim=2))
        logit: Tensor = self.step_logit(joint).mean(dim=1) + self.clip_logit(joint.mean(dim=1))
        if self.x_unary is not None and self.code_unary is not None:
            logit = logit + self.x_unary(x_features).mean(dim=1) + self.code_unary(code_features).mean(dim=1)
        return logit.squeeze(1)


class ProjectionHead(nn.Module):
    """Projection head of the contrastive loss, discarded after training: (B, L) to unit vectors (B, 256)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        size = PROJECTION_SIZE
        self.layers = nn.Sequential(nn.Linear(latent, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Linear(size, size))

    def forward(self, c: Tensor) -> Tensor:
        """Project c (B, L) to unit vectors (B, 256)."""
        return normalize(self.layers(c), dim=1)


def crop_to_steps(x: Tensor) -> Tensor:
    """Return the middle of a clip, cut to a whole number of steps: (B, F, T) to (B, F, S * FRAMES_PER_STEP).

    Examples:
        >>> crop_to_steps(torch.zeros(1, 64, 431)).shape
        torch.Size([1, 64, 416])
    """
    length = x.shape[2] // FRAMES_PER_STEP * FRAMES_PER_STEP
    first = (x.shape[2] - length) // 2
    return x[:, :, first : first + length]


def spectral_linear(inputs: int, outputs: int) -> nn.Module:
    """Return a linear layer with spectral normalisation."""
    layer: nn.Module = spectral_norm(nn.Linear(inputs, outputs))
    return layer


def rename_legacy_weights(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Rename the weights of a state dict saved by versions up to 0.1; a `load_state_dict` pre-hook."""
    for key in [key for key in state if key.startswith(prefix)]:
        attribute, dot, parameter = key.removeprefix(prefix).partition(".")
        if attribute in RENAMED_WEIGHTS:
            state[f"{prefix}{RENAMED_WEIGHTS[attribute]}{dot}{parameter}"] = state.pop(key)


def _drop_attention_bias(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Drop the bias of the attention logits, which versions up to 0.1 saved and which has no effect."""
    state.pop(f"{prefix}attention_logits.2.bias", None)


def _convolution_shapes(width: int) -> list[tuple[int, int, tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Return input channels, output channels, kernel, stride and padding of every convolution."""
    channels = [1, *(multiplier * width for multiplier in CHANNEL_MULTIPLIERS)]
    return list(zip(channels[:-1], channels[1:], KERNELS, STRIDES, PADDINGS, strict=True))


def _clamp_log_sigma(log_sigma: Tensor) -> Tensor:
    return log_sigma.clamp(LOG_SIGMA_LOW, LOG_SIGMA_HIGH)


def _concatenate_codes(c: Tensor, z: Tensor) -> Tensor:
    """Repeat c (B, L) at every step of z (B, S, Z) and concatenate: (B, S, L + Z)."""
    return torch.cat([c.unsqueeze(1).expand(-1, z.shape[1], -1), z], dim=2)
