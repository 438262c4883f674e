"""What AE, CAE and VAE minimise.

Axes: B batch, D latent dimensions; `values` as in networks.py. Source: the slide "Embedding Architectures"; Rifai et
al. 2011 for the contractive penalty, Kingma and Welling 2013 for the evidence lower bound.

    AE   mean_squared_error
    CAE  mean_squared_error + weight * contractive
    VAE  elbo_loss: terms summed over a clip's values and code, averaged over the batch
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mean_squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared error of x_hat, averaged over values and batch, as the paper's AE has it: two (B, values) to a scalar."""
    return (x_hat - x).square().mean()


def reconstruction(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared error of x_hat, summed over the values: two (B, values) to a scalar."""
    return (x_hat - x).square().sum(dim=1).mean()


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of N(mean, exp(log_variance)) from N(0, I), summed over D: two (B, D) to a scalar."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1).mean()


def elbo_loss(x: Tensor, x_hat: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The negative evidence lower bound, up to a constant, for values distributed as N(x_hat, 1).

    The unit variance makes it half the squared error plus the divergence of the code: no weight is left to choose.
    """
    return 0.5 * reconstruction(x, x_hat) + kl(mean, log_variance)


def contractive_exact(encoder: nn.Module, x: Tensor) -> Tensor:
    """Squared Frobenius norm of the Jacobian dz/dx of the whole encoder: x (B, values) to a scalar.

    One vector-Jacobian product for each of the D dimensions; rows of x must not influence each other's codes.
    """
    x = x.detach().requires_grad_()
    z = encoder(x)
    rows = (torch.autograd.grad(column.sum(), x, create_graph=True)[0] for column in z.unbind(dim=1))
    return torch.stack([row.square().sum(dim=1).mean() for row in rows]).sum()


def contractive(encoder: nn.Sequential, x: Tensor, generator: torch.Generator) -> Tensor:
    """An unbiased estimate of `contractive_exact`, and of its gradient, from one random direction of the code a clip.

    With J = dz/dx and E[v v^T] = I, the mean of |v^T J|^2 is tr(J J^T) = |J|^2 (Hutchinson 1990). Random signs v have
    the least variance: that of a normal v is larger by twice the squared diagonal of J J^T.

    Between linear layers and ReLUs, v^T J is a product of weights and of masks of the units that are on. The masks
    are constant almost everywhere, so no gradient goes through them: the same numbers as by differentiating twice
    through autograd, in half the time.
    """
    masks = []
    h = x
    with torch.no_grad():
        for layer in encoder:
            h = layer(h)
            if isinstance(layer, nn.ReLU):
                masks.append(h > 0)
    product = _signs(h, generator)
    for layer in reversed(encoder):
        assert isinstance(layer, nn.Linear | nn.ReLU), layer
        product = product @ layer.weight if isinstance(layer, nn.Linear) else product * masks.pop()
    return product.square().sum(dim=1).mean()


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """-1 or 1, each as likely, in the shape of `like`; drawn where the generator lives."""
    return 2 * torch.randint(2, like.shape, generator=generator, device=generator.device).to(like) - 1
