"""The autoencoders of the paper: fully connected and symmetric, with a linear code and a tanh output.

B batch, D latent dimensions. `values` = F T is the length of a flattened clip of F bins and T frames.
Symbols: x (B, values) in [-1, 1], the range of tanh; z (B, D) its code; x_hat (B, values) the reconstruction.
Source: the slide "Embedding Architectures". The contractive autoencoder is the plain one with another loss (see
losses.py). Packages store class names, constructor arguments and the method `encode`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

HIDDEN = (1024, 512, 256, 128)  # widths of the encoder; the decoder has them in reverse order


def _stack_linear(*widths: int) -> list[nn.Module]:
    """Return linear layers from width to width, with a ReLU between each two of them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]


class Encoder(nn.Sequential):
    """The encoder of all three autoencoders, (B, values) to (B, D): only linear layers and ReLUs.

    A variational one returns D means and D logarithms of variances, (B, 2 D).

    Examples:
        >>> tuple(Encoder(60, 5).encode(torch.zeros(2, 60)).shape)
        (2, 5)
    """

    def __init__(self, values: int, dimensions: int, variational: bool = False) -> None:
        super().__init__(*_stack_linear(values, *HIDDEN, 2 * dimensions if variational else dimensions))
        self.dimensions = dimensions

    def encode(self, x: Tensor) -> Tensor:
        """Return the embedding (B, D) of x (B, values): the code, or the mean of a variational one."""
        z: Tensor = self(x)[:, : self.dimensions]
        return z


class Autoencoder(nn.Module):
    """AE and CAE.

    Examples:
        >>> x_hat, z = Autoencoder(60, 5)(torch.zeros(2, 60))
        >>> tuple(x_hat.shape), tuple(z.shape)
        ((2, 60), (2, 5))
    """

    def __init__(self, values: int, dimensions: int) -> None:
        """`values` F T of a clip; `dimensions` D."""
        super().__init__()
        self.encoder = Encoder(values, dimensions)
        self.decoder = nn.Sequential(*_stack_linear(dimensions, *reversed(HIDDEN), values), nn.Tanh())

    def encode(self, x: Tensor) -> Tensor:
        """Return the code z (B, D) of x (B, values)."""
        return self.encoder.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Return x_hat (B, values) in [-1, 1] of z (B, D)."""
        x_hat: Tensor = self.decoder(z)
        return x_hat

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x_hat, z) of x (B, values)."""
        z = self.encode(x)
        return self.decode(z), z


class VariationalAutoencoder(nn.Module):
    """VAE: the last layer of the encoder returns mean and logarithm of the variance of z given x."""

    def __init__(self, values: int, dimensions: int) -> None:
        """`values` F T of a clip; `dimensions` D."""
        super().__init__()
        self.encoder = Encoder(values, dimensions, variational=True)
        self.decoder = nn.Sequential(*_stack_linear(dimensions, *reversed(HIDDEN), values), nn.Tanh())

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean, log_variance), each (B, D), of the normal distribution of z given x (B, values)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def encode(self, x: Tensor) -> Tensor:
        """Return the mean of z (B, D) given x (B, values): the embedding."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Return x_hat (B, values) in [-1, 1] of z (B, D)."""
        x_hat: Tensor = self.decoder(z)
        return x_hat

    def forward(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return (x_hat, mean, log_variance) of x (B, values); x_hat is decoded from one sample of z."""
        mean, log_variance = self.posterior(x)
        noise = torch.randn(mean.shape, generator=rng, device=rng.device).to(mean)
        return self.decode(mean + torch.exp(0.5 * log_variance) * noise), mean, log_variance
