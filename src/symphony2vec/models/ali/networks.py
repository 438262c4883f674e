"""The three networks of ALI: encoder, generator and discriminator.

B batch, C channels, D latent dimensions, F bins and T frames (32 each, the size of a crop).
Symbols: x a crop in [0, 1], z a latent, x_hat = G(z), z_hat a sample around the mean of E(x).
Source: Tables 5 and 6 of the paper, which follow Table 3 of Dumoulin et al., "Adversarially learned inference" (2017).
The misprints of the tables are read as follows: the second block is the generator, the last one the joint part of the
discriminator, and its last row is a logit. No layer is padded.

All layers are torch's own, so a state_dict is a standard one; weights, and with them activations, are stored channels
last. A convolution whose kernel covers its full input is computed as a matrix product (`convolve`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

CROP_SIZE = 32  # bins and frames
NEGATIVE_SLOPE = 0.01  # of the leaky ReLUs
WEIGHT_DEVIATION = 0.01  # standard deviation in the original code, for both CIFAR10 and SVHN
CONVOLUTIONS = ((32, 5, 1), (64, 4, 2), (128, 4, 1), (256, 4, 2), (512, 4, 1))  # feature maps, kernel, stride
TRANSPOSED_CONVOLUTIONS = ((256, 4, 1), (128, 4, 2), (64, 4, 1), (32, 4, 2), (32, 5, 1), (32, 1, 1))
POINTWISE = (1, 1)  # kernel and stride of a 1x1 convolution
HIDDEN_LAYERS = 3  # of the readout `hidden`
DROPOUT_STEPS = 1 << 16  # resolution of the dropout rate
MEAN_LIMIT = 1e-3  # distance of the mean crop from 0 and 1, which keeps its log-odds finite

RENAMED_WEIGHTS = {"of_x": "x_branch", "of_z": "z_branch"}  # of the discriminator in earlier versions


class Encoder(nn.Module):
    """z given x: mean and logarithm of the standard deviation of a diagonal normal distribution.

    Examples:
        >>> mean, log_sigma = Encoder(8)(torch.zeros(2, 1, 32, 32))
        >>> tuple(mean.shape)
        (2, 8)
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent
        self.layers = ConvolutionStack(1, (*CONVOLUTIONS, (512, *POINTWISE)), first_norm=0)
        self.head = nn.Conv2d(512, 2 * latent, 1)
        _store_channels_last(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log_sigma of z, each (B, D), of crops (B, 1, 32, 32)."""
        mean, log_sigma = convolve(self.head, self.layers(x)).flatten(1).split(self.latent, dim=1)
        return mean, log_sigma

    def hidden(self, x: Tensor) -> Tensor:
        """Return the concatenated activations of the last three hidden layers (256 x 4 x 4, 512, 512): (B, 5120)."""
        return torch.cat([y.flatten(1) for y in list(self.layers.outputs(x))[-HIDDEN_LAYERS:]], dim=1)


class Generator(nn.Module):
    """x given z; the logit of every pixel has its own learned bias, as in the original code.

    Examples:
        >>> tuple(Generator(8)(torch.zeros(2, 8)).shape)
        (2, 1, 32, 32)
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        maps = [latent, *(count for count, _, _ in TRANSPOSED_CONVOLUTIONS)]
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(before, after, kernel, stride, bias=False)
            for before, (after, kernel, stride) in zip(maps, TRANSPOSED_CONVOLUTIONS, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in maps[1:])
        self.head = nn.ConvTranspose2d(maps[-1], 1, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(1, CROP_SIZE, CROP_SIZE))
        _store_channels_last(self)

    def forward(self, z: Tensor) -> Tensor:
        """Return crops (B, 1, 32, 32) in (0, 1) of latents (B, D)."""
        y = z[:, :, None, None]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = F.leaky_relu(norm(layer(y)), NEGATIVE_SLOPE, inplace=True)
        return torch.sigmoid(self.head(y) + self.bias)

    @torch.no_grad()
    def set_bias(self, mean_image: Tensor) -> None:
        """Set the bias to the log-odds of the mean of the training crops, (1, 32, 32) in [0, 1]."""
        self.bias.copy_(torch.logit(mean_image, eps=MEAN_LIMIT))


class Discriminator(nn.Module):
    """Discriminator: one logit per pair (x, z), with branches for x and for z, and a joint part over both.

    Dropout is where the SVHN configuration of the original code has it: at the input of every layer, including the raw
    x and z and the logit. With `batch_norm`, every convolution of the x branch but the first is normalised, as in the
    public PyTorch version; the paper has no batch norm here.

    Examples:
        >>> tuple(Discriminator(8)(torch.zeros(2, 1, 32, 32), torch.zeros(2, 8)).shape)
        (2,)
    """

    def __init__(self, latent: int, dropout: float = 0.2, batch_norm: bool = False) -> None:
        super().__init__()
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.x_branch = ConvolutionStack(1, CONVOLUTIONS, first_norm=1 if batch_norm else None, dropout=dropout)
        self.z_branch = ConvolutionStack(latent, [(512, *POINTWISE)] * 2, dropout=dropout)
        self.joint = ConvolutionStack(1024, [(1024, *POINTWISE)] * 2, dropout=dropout)
        self.head = nn.Conv2d(1024, 1, 1)
        _store_channels_last(self)
        self.register_load_state_dict_pre_hook(_rename_weights)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return logits (B,) of crops (B, 1, 32, 32) and latents (B, D): above 0 for a pair of the encoder."""
        y = self.joint(torch.cat([self.x_branch(x), self.z_branch(z[:, :, None, None])], dim=1))
        if self.training:
            y = apply_dropout(y, self.dropout)
        return convolve(self.head, y).flatten()


class ConvolutionStack(nn.Module):
    """Convolutions, each with dropout of its input before it, and batch norm and leaky ReLU after it.

    Args:
        channels: C of the input.
        shapes: feature maps, kernel and stride of each convolution.
        first_norm: number of the first convolution with batch norm; None for no batch norm. A convolution has a bias
            only without batch norm, which would cancel it.
        dropout: rate of the dropout in training.
    """

    def __init__(
        self,
        channels: int,
        shapes: Sequence[tuple[int, int, int]],
        first_norm: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        has_norm = [first_norm is not None and number >= first_norm for number in range(len(shapes))]
        maps = [channels, *(count for count, _, _ in shapes)]
        self.dropout = dropout
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride, bias=not norm)
            for before, (after, kernel, stride), norm in zip(maps, shapes, has_norm, strict=False)
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(count) if norm else nn.Identity() for count, norm in zip(maps[1:], has_norm, strict=True)
        )

    def outputs(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the activations (B, C, F, T) after the nonlinearity of each layer, in order."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            if self.training and self.dropout:
                x = apply_dropout(x, self.dropout)
            x = F.leaky_relu(norm(convolve(convolution, x)), NEGATIVE_SLOPE)
            yield x

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations (B, C, F, T) of the last layer."""
        for y in self.outputs(x):
            x = y
        return x


def convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution to x (B, C, F, T), as a matrix product if its kernel covers all of x.

    oneDNN takes two to three times as long for such a convolution, and a training step a seventh longer.

    Examples:
        >>> tuple(convolve(nn.Conv2d(3, 5, 4), torch.zeros(2, 3, 4, 4)).shape)
        (2, 5, 1, 1)
    """
    assert isinstance(layer, nn.Conv2d)
    kernel = layer.kernel_size[0]
    if x.shape[-1] == kernel:
        y = F.linear(x.permute(0, 2, 3, 1).flatten(1), layer.weight.permute(0, 2, 3, 1).flatten(1), layer.bias)
        return y[:, :, None, None]
    y = layer(x)
    assert isinstance(y, Tensor)
    return y


def apply_dropout(x: Tensor, rate: float) -> Tensor:
    """Apply dropout to x (B, C, F, T), at `rate` rounded to 1/65536.

    On a CPU torch's own dropout spends a tenth of a training step on random numbers; here every 64-bit integer that
    torch draws decides about four elements. A GPU and compiled code use torch's own: it is one kernel, which a compiler
    fuses with its neighbours. Both use torch's global generator.

    Examples:
        >>> tuple(apply_dropout(torch.ones(2, 3, 4, 4), 0.2).shape)
        (2, 3, 4, 4)
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, rate)
    zero_steps = round(rate * DROPOUT_STEPS)
    channels_last = x.permute(0, 2, 3, 1)
    integers = torch.empty(math.ceil(x.numel() / 4), dtype=torch.int64, device=x.device)
    integers = integers.random_(torch.iinfo(torch.int64).min, None).view(torch.int16)[: x.numel()]
    mask = (integers >= zero_steps - DROPOUT_STEPS // 2).view(channels_last.shape)
    scale = mask.to(x.dtype).mul_(DROPOUT_STEPS / (DROPOUT_STEPS - zero_steps))
    return (channels_last * scale).permute(0, 3, 1, 2)


@torch.no_grad()
def initialise(module: nn.Module, rng: torch.Generator) -> None:
    """Set weights to samples of N(0, 0.01^2), biases to 0, and batch norm to its initial state."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.weight.normal_(0.0, WEIGHT_DEVIATION, generator=rng)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, Generator):
            part.bias.zero_()


def _rename_weights(_module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename the weights of a discriminator that were saved under earlier names."""
    for earlier, name in RENAMED_WEIGHTS.items():
        for key in [key for key in state_dict if key.startswith(f"{prefix}{earlier}.")]:
            state_dict[key.replace(f"{prefix}{earlier}.", f"{prefix}{name}.", 1)] = state_dict.pop(key)


def _store_channels_last(network: nn.Module) -> None:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
