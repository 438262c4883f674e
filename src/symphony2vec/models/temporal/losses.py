"""Loss functions of the temporal ALI.

Axes: B pairs, N views, P dimensions of a projection. q denotes the pairs (x, E(x)) of the encoder, p the pairs
(G(c, z), c, z) of the generator; logits are those of the discriminator D, above 0 for "this pair is from q".

    adversary       the adversarial game of ALI (Dumoulin et al. 2017)
    reconstruction  |G(E(x)) - x| (Li et al. 2017, ALICE)
    contrast        InfoNCE (van den Oord et al. 2018) with several positives (Khosla et al. 2020); groups of positives
                    are movements or clips, never composers
    equivariance    InfoNCE on a part of the code: positives are two views of one clip with the same pitch shift; views
                    of its movement with other shifts are among the negatives (after Guinot et al. 2025, LOEV++)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

LOGIT_LIMIT = 15.0  # beyond it the gradient of a logit is below 1e-6 of its maximum


def discriminator_loss(logit_q: Tensor, logit_p: Tensor) -> Tensor:
    """Return -E_q[log D] - E_p[log(1 - D)], a scalar, from logits (B,); 2 ln 2 for a discriminator at chance level.

    Examples:
        >>> round(float(discriminator_loss(torch.zeros(4), torch.zeros(4))), 4)
        1.3863
    """
    return softplus(-logit_q).mean() + softplus(logit_p).mean()


def generator_loss(logit_q: Tensor, logit_p: Tensor) -> Tensor:
    """Return -E_q[log(1 - D)] - E_p[log D], a scalar, from logits (B,): `discriminator_loss` with swapped labels."""
    return softplus(logit_q).mean() + softplus(-logit_p).mean()


def logit_gradients(logit_q: Tensor, logit_p: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what one backward pass through D needs to serve the losses of both players.

    Each pair produces its own logit, so the gradients of both losses with respect to a pair are the derivative of the
    loss with respect to that logit times a factor that does not depend on the loss. The derivatives of
    `discriminator_loss` are -sigmoid(-q)/B and sigmoid(p)/B; the ratio of the derivative of `generator_loss` to them is
    -exp(q) and -exp(-p).

    Args:
        logit_q: (B,) of encoded pairs, clamped at `LOGIT_LIMIT` where D is certain.
        logit_p: (B,) of generated pairs, clamped in the same way.

    Returns:
        The derivative of `discriminator_loss` with respect to each logit of q and of p, and the gradient scale of q and
        of p: the factor that turns the gradient arriving at a pair into that of `generator_loss`. Four tensors (B,).
    """
    clamped_q, clamped_p = logit_q.detach().clamp(max=LOGIT_LIMIT), logit_p.detach().clamp(min=-LOGIT_LIMIT)
    count = len(logit_q)
    gradient_q, gradient_p = -torch.sigmoid(-clamped_q) / count, torch.sigmoid(clamped_p) / count
    return gradient_q, gradient_p, -torch.exp(clamped_q), -torch.exp(-clamped_p)


def reconstruction_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the mean absolute difference of two tensors (B, F, T), a scalar."""
    return (x_hat - x).abs().mean()


def info_nce(views: Tensor, groups: Tensor, temperature: float, queries: Tensor | None = None) -> Tensor:
    """Return the InfoNCE loss, a scalar: the cross-entropy of finding the positives of a view among all other views.

    Args:
        views: (N, P) unit vectors.
        groups: (N,) integers; views of one group are positives, and every group has at least two views.
        temperature: of the softmax.
        queries: the views whose positives are to be found, as integers; all by default. Groups of one view may be among
            the others, as negatives.

    Examples:
        >>> round(float(info_nce(torch.ones(4, 1), torch.tensor([0, 1, 0, 1]), 0.1)), 4)  # chance level: ln 3
        1.0986
    """
    similarity = views @ views.T / temperature
    diagonal = torch.eye(len(views), dtype=torch.bool, device=views.device)
    log_probability = similarity - torch.logsumexp(similarity.masked_fill(diagonal, -torch.inf), dim=1, keepdim=True)
    positive = (groups[:, None] == groups[None, :]) & ~diagonal
    if queries is not None:
        log_probability, positive = log_probability[queries], positive[queries]
    loss_of_views: Tensor = -(log_probability * positive).sum(dim=1) / positive.sum(dim=1)
    return loss_of_views.mean()
