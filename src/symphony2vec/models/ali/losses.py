"""The adversarial game of ALI: its two losses and one simultaneous update of its three networks.

B batch, D latent dimensions. Symbols: q the pairs (x, z_hat) of the encoder, p the pairs (x_hat, z) of the generator;
logits are those of the discriminator, above 0 for a pair of the encoder.
Source: section "Adversarially Learned Inference" of the paper. The paper prints the saturating min-max objective; as in
the original code, encoder and generator minimise the loss of the discriminator with swapped labels, and all networks
step from the same forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from symphony2vec.models.ali.networks import Discriminator, Encoder, Generator

LOGIT_LIMIT = 30.0  # beyond it the gradient by a logit (below 1e-13) is far under Adam's epsilon of 1e-8
FUSED_ADAM = ("cpu", "cuda", "mps", "xpu")


def discriminator_loss(logit_q: Tensor, logit_p: Tensor) -> Tensor:
    """Return -E_q[log D(x, z_hat)] - E_p[log(1 - D(x_hat, z))], a scalar, from logits (B,).

    It is 2 ln 2 if D cannot tell the pairs apart.

    Examples:
        >>> round(discriminator_loss(torch.zeros(3), torch.zeros(3)).item(), 4)
        1.3863
    """
    return F.softplus(-logit_q).mean() + F.softplus(logit_p).mean()


def generator_loss(logit_q: Tensor, logit_p: Tensor) -> Tensor:
    """Return -E_q[log(1 - D(x, z_hat))] - E_p[log D(x_hat, z)], a scalar, from logits (B,).

    Examples:
        >>> round(generator_loss(torch.zeros(3), torch.zeros(3)).item(), 4)
        1.3863
    """
    return F.softplus(logit_q).mean() + F.softplus(-logit_p).mean()


class Game:
    """Three networks, Adam for the discriminator, Adam for encoder and generator together, and their update.

    The networks must already be on their device; their mode (training or evaluation) is left to the caller.

    Args:
        encoder: E.
        generator: G.
        discriminator: D.
        learning_rate: of encoder and generator.
        discriminator_learning_rate: of the discriminator.
        betas: of both Adams.
        gate: the discriminator steps only while the loss of encoder and generator is below it; None for always.
        rng: of the instance noise; None for torch's global generator, which dropout always uses.
        compiler: backend of torch.compile for the networks, such as "inductor"; "" to run them eagerly.
    """

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        discriminator: Discriminator,
        learning_rate: float,
        discriminator_learning_rate: float,
        betas: tuple[float, float],
        gate: float | None = None,
        rng: torch.Generator | None = None,
        compiler: str = "",
    ) -> None:
        self.encoder, self.generator, self.discriminator = encoder, generator, discriminator
        self._encode, self._generate, self._discriminate = (
            torch.compile(network, backend=compiler, dynamic=False) if compiler else network
            for network in (encoder, generator, discriminator)
        )
        self.discriminator_optimiser = _adam([discriminator], discriminator_learning_rate, betas)
        self.generator_optimiser = _adam([encoder, generator], learning_rate, betas)
        self.optimisers = (self.discriminator_optimiser, self.generator_optimiser)
        self.gate, self.rng = gate, rng

    def step(self, x: Tensor, z: Tensor, noise: Tensor, instance_noise: float = 0.0) -> dict[str, Tensor]:
        """Update all three networks with one backward pass through D.

        Without batch norm in D, logit i depends on pair i alone, so the gradient of a loss with respect to that pair is
        the derivative of the loss with respect to the logit times a factor that is the same for both losses. For q the
        derivatives of the discriminator's loss and of the generator's are -sigmoid(-q)/B and sigmoid(q)/B, and their
        ratio is -exp(q); for p it is -exp(-p). One backward pass of the discriminator's loss is therefore enough: its
        gradient with respect to the pairs, times this ratio, is that of the generator's loss. Logits are clamped at
        LOGIT_LIMIT, where D's own gradient would underflow; the product stays correct for encoder and generator.

        Args:
            x: (B, 1, 32, 32) crops.
            z: (B, D) samples of the prior.
            noise: (B, D) standard normal noise of the encoder.
            instance_noise: standard deviation of the noise added to x and x_hat at the input of D.

        Returns:
            Losses and mean outputs of D, detached.
        """
        if self.discriminator.batch_norm:
            return self.plain_step(x, z, noise, instance_noise)
        x_hat, z_hat = self._sample_pairs(x, z, noise)
        x_leaf, z_leaf = (sample.detach().requires_grad_() for sample in (x_hat, z_hat))
        logit_q, logit_p = self._logits(x, z_leaf, x_leaf, z, instance_noise)
        clamped_q, clamped_p = logit_q.detach().clamp(max=LOGIT_LIMIT), logit_p.detach().clamp(min=-LOGIT_LIMIT)
        self._zero_gradients()
        gradient_q, gradient_p = -torch.sigmoid(-clamped_q) / len(x), torch.sigmoid(clamped_p) / len(x)
        (logit_q @ gradient_q + logit_p @ gradient_p).backward()
        assert x_leaf.grad is not None
        assert z_leaf.grad is not None
        x_hat.backward(x_leaf.grad * -torch.exp(-clamped_p)[:, None, None, None])
        z_hat.backward(z_leaf.grad * -torch.exp(clamped_q)[:, None])
        losses = discriminator_loss(logit_q, logit_p), generator_loss(logit_q, logit_p)
        return self._step_optimisers(*losses, logit_q, logit_p)

    def plain_step(self, x: Tensor, z: Tensor, noise: Tensor, instance_noise: float = 0.0) -> dict[str, Tensor]:
        """Make the same update as `step` from two losses and two backward passes; D may have batch norm."""
        x_hat, z_hat = self._sample_pairs(x, z, noise)
        logit_q, logit_p = self._logits(x, z_hat, x_hat, z, instance_noise)
        losses = discriminator_loss(logit_q, logit_p), generator_loss(logit_q, logit_p)
        self._zero_gradients()
        losses[0].backward(retain_graph=True, inputs=[*self.discriminator.parameters()])
        losses[1].backward(inputs=[*self.encoder.parameters(), *self.generator.parameters()])
        return self._step_optimisers(*losses, logit_q, logit_p)

    def _sample_pairs(self, x: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_hat (B, 1, 32, 32) = G(z), and a sample z_hat (B, D) of E(x)."""
        mean, log_sigma = self._encode(x)
        return self._generate(z), mean + torch.exp(log_sigma) * noise

    def _logits(
        self, x: Tensor, z_hat: Tensor, x_hat: Tensor, z: Tensor, instance_noise: float
    ) -> tuple[Tensor, Tensor]:
        """Return the logits (B,) of q and of p, from one pass of D over both."""
        both_x, both_z = torch.cat([x, x_hat]), torch.cat([z_hat, z])
        if instance_noise:
            noise = torch.randn(both_x.shape, generator=self.rng, dtype=x.dtype, device=x.device)
            both_x = both_x + instance_noise * noise
        logit_q, logit_p = self._discriminate(both_x, both_z).split(len(x))
        return logit_q, logit_p

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Make both optimisers capturable while a CUDA graph records them.

        Outside of a recording torch warns about the flag, and a checkpoint would carry it to a CPU.
        """
        groups = [group for optimiser in self.optimisers for group in optimiser.param_groups]
        for group in groups:
            group["capturable"] = True
        try:
            yield
        finally:
            for group in groups:
                group["capturable"] = False

    def _zero_gradients(self) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad()

    def _step_optimisers(self, loss_d: Tensor, loss_g: Tensor, logit_q: Tensor, logit_p: Tensor) -> dict[str, Tensor]:
        """Step both optimisers, that of D only if its gate is open, and return the values to log."""
        if self.gate is None or loss_g.item() < self.gate:
            self.discriminator_optimiser.step()
        self.generator_optimiser.step()
        return {
            "discriminator_loss": loss_d.detach(),
            "generator_loss": loss_g.detach(),
            "mean_output_real": torch.sigmoid(logit_q.detach()).mean(),
            "mean_output_generated": torch.sigmoid(logit_p.detach()).mean(),
        }


def _adam(networks: list[nn.Module], learning_rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return torch.optim.Adam(parameters, learning_rate, betas, fused=parameters[0].device.type in FUSED_ADAM)
