"""What the temporal ALI minimises.

Axes: B pairs, N views, D dimensions. q are the pairs (x, E(x)) of the encoder, p the pairs (G(c, z), c, z) of the
generator; logits are those of the discriminator, above 0 for "this is of q".

    adversary       ALI's own game (Dumoulin et al. 2017)
    reconstruction  |G(E(x)) - x| (Li et al. 2017, ALICE)
    contrast        views of one group are near, others far (van den Oord et al. 2018; several positives as Khosla et
                    al. 2020, with groups that are movements or clips, never composers)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

STEEPEST = 15.0  # beyond it a logit's gradient is below 1e-6 of its largest


def discriminator_loss(logit_q: Tensor, logit_p: Tensor) -> Tensor:
    """-E_q[log D] - E_p[log(1 - D)], a scalar, from logits (B,); 2 ln 2 where D cannot tell."""
    return F.softplus(-logit_q).mean() + F.softplus(logit_p).mean()


def generator_loss(logit_q: Tensor, logit_p: Tensor) -> Tensor:
    """-E_q[log(1 - D)] - E_p[log D], a scalar, from logits (B,): the game with its labels swapped."""
    return F.softplus(logit_q).mean() + F.softplus(-logit_p).mean()


def slopes(logit_q: Tensor, logit_p: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How one backward pass of D's loss serves both sides: D's derivative by each logit (B,), for q and for p, and the
    factors (B,) that turn what then reaches a pair into the gradient of `generator_loss`.

    A pair alone makes its logit, so both gradients of a pair are a derivative by that logit times something that no
    loss has a part in. The derivatives are -sigmoid(-q)/B and sigmoid(q)/B for q, the ratio -exp(q); for p -exp(-p).
    """
    steep_q, steep_p = logit_q.detach().clamp(max=STEEPEST), logit_p.detach().clamp(min=-STEEPEST)
    count = len(logit_q)
    of_d = -torch.sigmoid(-steep_q) / count, torch.sigmoid(steep_p) / count
    return *of_d, -torch.exp(steep_q), -torch.exp(-steep_p)


def reconstruction(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean absolute difference of two (B, F, T), a scalar."""
    return (x_hat - x).abs().mean()


def contrast(views: Tensor, groups: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding the views of one's own group among all others, a scalar.

    Args:
        views: (N, D) unit vectors.
        groups: (N,) integers; every view has at least one other of its group.
        temperature: of the softmax.
    """
    alike = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    log_share = alike - torch.logsumexp(alike.masked_fill(itself, -torch.inf), dim=1, keepdim=True)
    positive = (groups[:, None] == groups[None, :]) & ~itself
    found: Tensor = -(log_share * positive).sum(dim=1) / positive.sum(dim=1)
    return found.mean()
