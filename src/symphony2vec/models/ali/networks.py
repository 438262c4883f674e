"""The three networks of ALI: encoder, generator and discriminator.

Axes: B batch, C channels, D latent dimensions, F bins and T frames (32 each: the crop the networks are made for).
Symbols: x a crop in [0, 1], z a latent, x_hat = G(z), z_hat drawn around the mean E(x).
Source: Tables 5 and 6 of the paper, which follow Table 3 of Dumoulin et al., "Adversarially learned inference" (2017).
The table's misprints are read so: the second block is the generator's, the last one the joint discriminator's, and its
last row is a logit. No layer is padded.

The layers are torch's own, so a state_dict is a standard one; weights, and with them activations, are stored channels
last. A convolution whose kernel covers its whole input is computed as the matrix product that it is (`convolve`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

SIDE = 32
LEAK = 0.01
WEIGHT_DEVIATION = 0.01  # of the original code, for both CIFAR10 and SVHN
CONVOLUTIONS = ((32, 5, 1), (64, 4, 2), (128, 4, 1), (256, 4, 2), (512, 4, 1))  # feature maps, kernel, stride
TRANSPOSED = ((256, 4, 1), (128, 4, 2), (64, 4, 1), (32, 4, 2), (32, 5, 1), (32, 1, 1))
POINTWISE = (1, 1)  # kernel and stride of the layers that see one position
PROBED_LAYERS = 3
DROPOUT_STEPS = 1 << 16
DARKEST = 1e-3  # keeps the log-odds of the training mean finite


class Encoder(nn.Module):
    """z given x: the mean and the logarithm of the standard deviation of a diagonal normal distribution."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent
        self.layers = Stack(1, (*CONVOLUTIONS, (512, *POINTWISE)), norm_from=0)
        self.head = nn.Conv2d(512, 2 * latent, 1)
        _store_channels_last(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (B, 1, 32, 32) in; mean and log_sigma out, each (B, D)."""
        mean, log_sigma = convolve(self.head, self.layers(x)).flatten(1).split(self.latent, dim=1)
        return mean, log_sigma

    def hidden(self, x: Tensor) -> Tensor:
        """Activations of the last three hidden layers (256 x 4 x 4, 512 and 512), concatenated: (B, 5120)."""
        return torch.cat([y.flatten(1) for y in list(self.layers.outputs(x))[-PROBED_LAYERS:]], dim=1)


class Generator(nn.Module):
    """x given z; the logit of every pixel has a learnt bias of its own, as in the original code."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        maps = [latent, *(count for count, _, _ in TRANSPOSED)]
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(before, after, kernel, stride, bias=False)
            for before, (after, kernel, stride) in zip(maps, TRANSPOSED, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in maps[1:])
        self.head = nn.ConvTranspose2d(maps[-1], 1, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(1, SIDE, SIDE))
        _store_channels_last(self)

    def forward(self, z: Tensor) -> Tensor:
        """Latents (B, D) in, crops (B, 1, 32, 32) in (0, 1) out."""
        y = z[:, :, None, None]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = F.leaky_relu(norm(layer(y)), LEAK, inplace=True)
        return torch.sigmoid(self.head(y) + self.bias)

    @torch.no_grad()
    def set_bias(self, mean_image: Tensor) -> None:
        """Start from the mean of the training crops, (1, 32, 32) in [0, 1]: the bias becomes its log-odds."""
        self.bias.copy_(torch.logit(mean_image, eps=DARKEST))


class Discriminator(nn.Module):
    """Whether a pair (x, z) came from the encoder: D(x), D(z) and the joint part, which sees both side by side.

    Dropout sits where the SVHN configuration of the original has it: on the input of every layer, so also on the raw
    x and z and before the logit. With `batch_norm`, every convolution of D(x) but the first has it (as the public
    PyTorch version); the paper has none.
    """

    def __init__(self, latent: int, dropout: float = 0.2, batch_norm: bool = False) -> None:
        super().__init__()
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.of_x = Stack(1, CONVOLUTIONS, norm_from=1 if batch_norm else None, dropout=dropout)
        self.of_z = Stack(latent, [(512, *POINTWISE)] * 2, dropout=dropout)
        self.joint = Stack(1024, [(1024, *POINTWISE)] * 2, dropout=dropout)
        self.head = nn.Conv2d(1024, 1, 1)
        _store_channels_last(self)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Crops (B, 1, 32, 32) and latents (B, D) in, logits (B,) out: above 0 for a pair of the encoder."""
        y = self.joint(torch.cat([self.of_x(x), self.of_z(z[:, :, None, None])], dim=1))
        if self.training:
            y = dropped(y, self.dropout)
        return convolve(self.head, y).flatten()


class Stack(nn.Module):
    """Convolutions, each after dropout of its input and before batch norm (those from `norm_from` on) and leaky ReLU.

    A convolution has a bias where no batch norm follows, which would take it away again.
    """

    def __init__(
        self,
        channels: int,
        shapes: Sequence[tuple[int, int, int]],
        norm_from: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        normed = [norm_from is not None and number >= norm_from for number in range(len(shapes))]
        maps = [channels, *(count for count, _, _ in shapes)]
        self.dropout = dropout
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride, bias=not norm)
            for before, (after, kernel, stride), norm in zip(maps, shapes, normed, strict=False)
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(count) if norm else nn.Identity() for count, norm in zip(maps[1:], normed, strict=True)
        )

    def outputs(self, x: Tensor) -> Iterator[Tensor]:
        """The activations after each layer's nonlinearity, (B, C, F, T), in order."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            if self.training and self.dropout:
                x = dropped(x, self.dropout)
            x = F.leaky_relu(norm(convolve(convolution, x)), LEAK)
            yield x

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's activations, (B, C, F, T)."""
        for y in self.outputs(x):
            x = y
        return x


def convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """A convolution of x (B, C, F, T), as a matrix product where the kernel covers all of x.

    oneDNN takes two to three times as long for it; a training step as a whole takes a seventh longer.
    """
    assert isinstance(layer, nn.Conv2d)
    kernel = layer.kernel_size[0]
    if x.shape[-1] == kernel:
        y = F.linear(x.permute(0, 2, 3, 1).flatten(1), layer.weight.permute(0, 2, 3, 1).flatten(1), layer.bias)
        return y[:, :, None, None]
    y = layer(x)
    assert isinstance(y, Tensor)
    return y


def dropped(x: Tensor, rate: float) -> Tensor:
    """Dropout of x (B, C, F, T), at `rate` rounded to 1/65536: four 16-bit draws for each number torch draws.

    On a CPU torch's own dropout spends a tenth of a training step on its random numbers. A GPU and compiled code use
    torch's own: it is one kernel, which a compiler fuses with its neighbours. Both draw from torch's global generator.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, rate)
    dropped_steps = round(rate * DROPOUT_STEPS)
    places = x.permute(0, 2, 3, 1)
    numbers = torch.empty(math.ceil(x.numel() / 4), dtype=torch.int64, device=x.device)
    folds = numbers.random_(torch.iinfo(torch.int64).min, None).view(torch.int16)[: x.numel()]
    kept = (folds >= dropped_steps - DROPOUT_STEPS // 2).view(places.shape)
    return (places * kept.to(x.dtype).mul_(DROPOUT_STEPS / (DROPOUT_STEPS - dropped_steps))).permute(0, 3, 1, 2)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights from N(0, 0.01^2), drawn from `generator`; biases 0, gains of batch norm 1, its statistics anew."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.weight.normal_(0.0, WEIGHT_DEVIATION, generator=generator)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, Generator):
            part.bias.zero_()


def _store_channels_last(network: nn.Module) -> None:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
