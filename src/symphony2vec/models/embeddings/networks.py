"""The paper's autoencoders: fully connected, mirrored, with a linear code and a tanh output.

Axes: B batch, D latent dimensions. `values` = F T is the length of a flattened clip of F bins and T frames.
Symbols: x (B, values) in [-1, 1], which is all that tanh can reach; z (B, D) its code; x_hat (B, values) the
reconstruction. Source: the slide "Embedding Architectures". The contractive autoencoder is the plain one, trained
with another loss (see losses.py).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

HIDDEN = (1024, 512, 256, 128)  # of the encoder; the decoder has them in reverse


def _linear_and_relu(*widths: int) -> list[nn.Module]:
    """Linear layers from width to width with a ReLU between each two; the last one stays linear."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]


class Encoder(nn.Sequential):
    """The encoder of all three: linear layers and ReLUs alone, as `losses.contractive` needs it.

    `values` F T in, D out; a variational one gives D means and D logarithms of variances.
    """

    def __init__(self, values: int, dimensions: int, variational: bool = False) -> None:
        super().__init__(*_linear_and_relu(values, *HIDDEN, 2 * dimensions if variational else dimensions))
        self.dimensions = dimensions

    def encode(self, x: Tensor) -> Tensor:
        """X (B, values) to its embedding (B, D): the code, or the mean of a variational one."""
        z: Tensor = self(x)[:, : self.dimensions]
        return z


class Autoencoder(nn.Module):
    """AE and CAE."""

    def __init__(self, values: int, dimensions: int) -> None:
        """For clips of `values` values and codes of D = `dimensions`."""
        super().__init__()
        self.encoder = Encoder(values, dimensions)
        self.decoder = nn.Sequential(*_linear_and_relu(dimensions, *reversed(HIDDEN), values), nn.Tanh())

    def encode(self, x: Tensor) -> Tensor:
        """X (B, values) to z (B, D)."""
        return self.encoder.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Z (B, D) to x_hat (B, values), within [-1, 1]."""
        x_hat: Tensor = self.decoder(z)
        return x_hat

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, values) to (x_hat, z)."""
        z = self.encode(x)
        return self.decode(z), z


class VariationalAutoencoder(nn.Module):
    """VAE: the last layer of the encoder gives the mean and the logarithm of the variance of z, given x."""

    def __init__(self, values: int, dimensions: int) -> None:
        """For clips of `values` values and codes of D = `dimensions`."""
        super().__init__()
        self.encoder = Encoder(values, dimensions, variational=True)
        self.decoder = nn.Sequential(*_linear_and_relu(dimensions, *reversed(HIDDEN), values), nn.Tanh())

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, values) to (mean, log_variance), each (B, D), of the normal distribution of z."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def encode(self, x: Tensor) -> Tensor:
        """X (B, values) to the mean of its z (B, D): the embedding."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Z (B, D) to x_hat (B, values), within [-1, 1]."""
        x_hat: Tensor = self.decoder(z)
        return x_hat

    def forward(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """X (B, values) to (x_hat, mean, log_variance), x_hat from one z drawn with `generator`."""
        mean, log_variance = self.posterior(x)
        noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean)
        return self.decode(mean + torch.exp(0.5 * log_variance) * noise), mean, log_variance
