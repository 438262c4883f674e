"""Losses of AE, CAE and VAE.

    AE   mean_squared_error
    CAE  mean_squared_error + weight * contractive
    VAE  elbo_loss: terms summed over the values and the code of a clip, averaged over the batch

B batch, D latent dimensions; `values` as in networks.py; x (B, values), x_hat its reconstruction, z (B, D) its code.
Source: the slide "Embedding Architectures"; Rifai et al. 2011 for the contractive penalty, Kingma and Welling 2013 for
the evidence lower bound.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mean_squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the squared error of x_hat, averaged over values and batch, as in the AE of the paper.

    Examples:
        >>> mean_squared_error(torch.zeros(2, 3), torch.ones(2, 3)).item()
        1.0
    """
    return (x_hat - x).square().mean()


def reconstruction(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the squared error of x_hat, summed over the values and averaged over the batch.

    Examples:
        >>> reconstruction(torch.zeros(2, 3), torch.ones(2, 3)).item()
        3.0
    """
    return (x_hat - x).square().sum(dim=1).mean()


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, I), averaged over the batch.

    Args:
        mean: (B, D).
        log_variance: (B, D).

    Examples:
        >>> kl(torch.ones(2, 4), torch.zeros(2, 4)).item()
        2.0
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1).mean()


def elbo_loss(x: Tensor, x_hat: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the negative evidence lower bound, up to a constant, for values distributed as N(x_hat, 1).

    With unit variance it is half the squared error plus the divergence of the code, without a weight to choose.
    """
    return 0.5 * reconstruction(x, x_hat) + kl(mean, log_variance)


def contractive_exact(encoder: nn.Module, x: Tensor) -> Tensor:
    """Return the squared Frobenius norm of the Jacobian dz/dx of the encoder, averaged over x (B, values).

    It takes one vector-Jacobian product per dimension; the code of a row must not depend on other rows.
    """
    x = x.detach().requires_grad_()
    z = encoder(x)
    rows = (torch.autograd.grad(column.sum(), x, create_graph=True)[0] for column in z.unbind(dim=1))
    return torch.stack([row.square().sum(dim=1).mean() for row in rows]).sum()


def contractive(encoder: nn.Sequential, x: Tensor, rng: torch.Generator) -> Tensor:
    """Return an unbiased estimate of `contractive_exact`, and of its gradient, from one random direction per clip.

    With J = dz/dx and E[v v^T] = I, the mean of |v^T J|^2 is tr(J J^T) = |J|^2 (Hutchinson 1990). Random signs v have
    the smallest variance: that of a normal v is larger by twice the squared diagonal of J J^T.

    In an encoder of linear layers and ReLUs, v^T J is a product of weights and of the masks of active units. The masks
    are constant almost everywhere, so no gradient passes through them. The result equals that of differentiating twice
    with autograd, in half the time.

    Args:
        encoder: linear layers and ReLUs.
        x: (B, values).
        rng: of the random signs.
    """
    masks = []
    h = x
    with torch.no_grad():
        for layer in encoder:
            h = layer(h)
            if isinstance(layer, nn.ReLU):
                masks.append(h > 0)
    product = _random_signs(h, rng)
    for layer in reversed(encoder):
        assert isinstance(layer, nn.Linear | nn.ReLU), layer
        product = product @ layer.weight if isinstance(layer, nn.Linear) else product * masks.pop()
    return product.square().sum(dim=1).mean()


def _random_signs(like: Tensor, rng: torch.Generator) -> Tensor:
    """Return -1 or 1 with equal probability, in the shape of `like`."""
    return 2 * torch.randint(2, like.shape, generator=rng, device=rng.device).to(like) - 1
