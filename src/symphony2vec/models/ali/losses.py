"""The adversarial game of ALI: its two losses and one simultaneous update of its three networks.

Axes: B batch, D latent dimensions. Symbols: q the pairs (x, z_hat) of the encoder, p the pairs (x_hat, z) of the
generator; logits are those of the discriminator, above 0 for "this is of q".
Source: section "Adversarially Learned Inference" of the paper. It prints the saturating min-max; as the original code
does, encoder and generator here minimise the discriminator's loss with swapped labels, and both sides step from the
same forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from symphony2vec.models.ali.networks import Discriminator, Encoder, Generator

STEEPEST = 30.0  # beyond it a logit's gradient (below 1e-13) is far under Adam's epsilon of 1e-8
FUSED_ADAM = ("cpu", "cuda", "mps", "xpu")


def discriminator_loss(logit_q: Tensor, logit_p: Tensor) -> Tensor:
    """-E_q[log D(x, z_hat)] - E_p[log(1 - D(x_hat, z))], a scalar, from logits (B,); 2 ln 2 where D cannot tell."""
    return F.softplus(-logit_q).mean() + F.softplus(logit_p).mean()


def generator_loss(logit_q: Tensor, logit_p: Tensor) -> Tensor:
    """-E_q[log(1 - D(x, z_hat))] - E_p[log D(x_hat, z)], a scalar, from logits (B,)."""
    return F.softplus(logit_q).mean() + F.softplus(-logit_p).mean()


class Game:
    """Three networks, Adam for the discriminator, Adam for encoder and generator together, and their update.

    `rate` is the learning rate of encoder and generator, `discriminator_rate` that of the discriminator.
    With a `gate`, the discriminator steps only while the loss of encoder and generator is below it. `random` draws the
    instance noise (None: torch's global generator, which also draws the dropout). With a `compiler`, a backend of
    torch.compile such as "inductor", the networks are compiled for the update. The networks must already be on their
    device; whether they train or infer (batch norm, dropout) is the caller's to set.
    """

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        discriminator: Discriminator,
        rate: float,
        discriminator_rate: float,
        betas: tuple[float, float],
        gate: float | None = None,
        random: torch.Generator | None = None,
        compiler: str = "",
    ) -> None:
        self.encoder, self.generator, self.discriminator = encoder, generator, discriminator
        self._encode, self._generate, self._discriminate = (
            torch.compile(network, backend=compiler, dynamic=False) if compiler else network
            for network in (encoder, generator, discriminator)
        )
        self.discriminator_optimiser = _adam([discriminator], discriminator_rate, betas)
        self.generator_optimiser = _adam([encoder, generator], rate, betas)
        self.gate = gate
        self.random = random

    def step(self, x: Tensor, z: Tensor, noise: Tensor, instance_noise: float = 0.0) -> dict[str, Tensor]:
        """Update all three networks with one backward pass through D; returns losses and mean outputs, detached.

        Takes crops x (B, 1, 32, 32), prior samples z (B, D), the encoder's noise (B, D), and the deviation of noise
        added to both x that D sees.

        Without batch norm in D, pair i alone makes logit i, so the gradient of a loss by that pair is the loss's
        derivative by the logit times something no loss has a part in. For q the derivatives of D's loss and of its
        opponents' are -sigmoid(-q)/B and sigmoid(q)/B, their ratio -exp(q); for p it is -exp(-p). One backward pass of
        D's loss therefore serves both sides. Where a logit is so large that D's own gradient would underflow it is
        held at that of STEEPEST, which keeps the product right for the opponents.
        """
        if self.discriminator.batch_norm:
            return self.plain_step(x, z, noise, instance_noise)
        x_hat, z_hat = self._samples(x, z, noise)
        x_seen, z_seen = (sample.detach().requires_grad_() for sample in (x_hat, z_hat))
        logit_q, logit_p = self._logits(x, z_seen, x_seen, z, instance_noise)
        steep_q, steep_p = logit_q.detach().clamp(max=STEEPEST), logit_p.detach().clamp(min=-STEEPEST)
        self._forget()
        slope_q, slope_p = -torch.sigmoid(-steep_q) / len(x), torch.sigmoid(steep_p) / len(x)
        (logit_q @ slope_q + logit_p @ slope_p).backward()
        assert x_seen.grad is not None
        assert z_seen.grad is not None
        x_hat.backward(x_seen.grad * -torch.exp(-steep_p)[:, None, None, None])
        z_hat.backward(z_seen.grad * -torch.exp(steep_q)[:, None])
        losses = discriminator_loss(logit_q, logit_p), generator_loss(logit_q, logit_p)
        return self._update(*losses, logit_q, logit_p)

    def plain_step(self, x: Tensor, z: Tensor, noise: Tensor, instance_noise: float = 0.0) -> dict[str, Tensor]:
        """The same update as `step` from two losses and two backward passes; D may have batch norm."""
        x_hat, z_hat = self._samples(x, z, noise)
        logit_q, logit_p = self._logits(x, z_hat, x_hat, z, instance_noise)
        losses = discriminator_loss(logit_q, logit_p), generator_loss(logit_q, logit_p)
        self._forget()
        losses[0].backward(retain_graph=True, inputs=[*self.discriminator.parameters()])
        losses[1].backward(inputs=[*self.encoder.parameters(), *self.generator.parameters()])
        return self._update(*losses, logit_q, logit_p)

    def _samples(self, x: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x_hat (B, 1, 32, 32) = G(z), and z_hat (B, D) around the mean of E(x)."""
        mean, log_sigma = self._encode(x)
        return self._generate(z), mean + torch.exp(log_sigma) * noise

    def _logits(
        self, x: Tensor, z_hat: Tensor, x_hat: Tensor, z: Tensor, instance_noise: float
    ) -> tuple[Tensor, Tensor]:
        """The logits (B,) of q and of p, from one pass of D over both."""
        both_x, both_z = torch.cat([x, x_hat]), torch.cat([z_hat, z])
        if instance_noise:
            drawn = torch.randn(both_x.shape, generator=self.random, dtype=x.dtype, device=x.device)
            both_x = both_x + instance_noise * drawn
        logit_q, logit_p = self._discriminate(both_x, both_z).split(len(x))
        return logit_q, logit_p

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Make both optimisers capturable while a CUDA graph records them.

        Outside of a recording torch warns about the flag, and a checkpoint would carry it to a CPU.
        """
        groups = [
            group
            for optimiser in (self.discriminator_optimiser, self.generator_optimiser)
            for group in optimiser.param_groups
        ]
        for group in groups:
            group["capturable"] = True
        try:
            yield
        finally:
            for group in groups:
                group["capturable"] = False

    def _forget(self) -> None:
        self.discriminator_optimiser.zero_grad()
        self.generator_optimiser.zero_grad()

    def _update(self, loss_d: Tensor, loss_g: Tensor, logit_q: Tensor, logit_p: Tensor) -> dict[str, Tensor]:
        """Both optimisers step, D's only if its gate is open; returns what is worth logging."""
        if self.gate is None or loss_g.item() < self.gate:
            self.discriminator_optimiser.step()
        self.generator_optimiser.step()
        return {
            "discriminator_loss": loss_d.detach(),
            "generator_loss": loss_g.detach(),
            "mean_output_real": torch.sigmoid(logit_q.detach()).mean(),
            "mean_output_generated": torch.sigmoid(logit_p.detach()).mean(),
        }


def _adam(networks: list[nn.Module], rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return torch.optim.Adam(parameters, rate, betas, fused=parameters[0].device.type in FUSED_ADAM)
