"""Training of ALI and of its encoder as a classifier.

On a GPU an update of ALI is recorded as a CUDA graph and replayed (`symphony2vec.models.ali.recorded`), unless the
variable `SYMPHONY2VEC_ALI_STEP` says "eager". On a CPU it runs eagerly.

B clips, D latent dimensions, K composers. x (B, 1, 32, 32) crops in [0, 1], z (B, D); x_hat = G(z), z_hat = E(x).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from symphony2vec.errors import UserError
from symphony2vec.models.ali import crops
from symphony2vec.models.ali.losses import Game, discriminator_loss, generator_loss
from symphony2vec.models.ali.networks import Discriminator, Encoder, Generator, initialise
from symphony2vec.models.ali.recorded import CudaGraph, RecordedUpdate
from symphony2vec.models.training import loop, precision, watch
from symphony2vec.models.training.source import Source
from symphony2vec.params import Crop, Network, Setting

AT_ONCE = 200
STEP = "SYMPHONY2VEC_ALI_STEP"
# How an update runs on a GPU: eagerly; recorded as a CUDA graph; recorded, with its networks compiled.
EAGER, RECORDED, COMPILED = STEPS = ("eager", "recorded", "compiled")


def step_kind(device: torch.device) -> str:
    """How an update runs on this device: eager, recorded or compiled.

    Raises:
        UserError: the variable `SYMPHONY2VEC_ALI_STEP` has another value.
    """
    kind = os.environ.get(STEP) or RECORDED
    if kind not in STEPS:
        raise UserError(f"{STEP} is '{kind}'; it must be one of {', '.join(STEPS)}")
    return kind if device.type == "cuda" else EAGER


class AliLearner:
    """Encoder, generator and discriminator, and the game between them."""

    def __init__(
        self, source: Source, training: np.ndarray, latent: int, setting: Setting, crop: Crop, a_epoch: int, seed: int
    ) -> None:
        """`training` rows give the output bias of the generator; `a_epoch` updates are an epoch."""
        self._source, self._latent, self._setting, self._crop = source, latent, setting, crop
        self._updates, self._last_update = 0, setting.epochs * a_epoch
        start = torch.Generator().manual_seed(seed)
        self.encoder, self.generator_network = Encoder(latent), Generator(latent)
        self.discriminator = Discriminator(latent, setting.dropout, setting.batch_norm)
        for network in (self.encoder, self.generator_network, self.discriminator):
            initialise(network, start)
            network.to(source.device)
        # A gate depends on the losses and instance noise on the update: such updates cannot be recorded.
        is_fixed = not (setting.gate or setting.instance_noise or setting.batch_norm)
        self.step_kind = step_kind(source.device) if is_fixed else EAGER
        batches = (source.batch(part) for part in source.batches(training, AT_ONCE))
        self.generator_network.set_bias(crops.mean_image(batches, crop))
        self.rng = torch.Generator(source.device).manual_seed(seed)
        betas = (setting.betas[0], setting.betas[1])
        self._networks = {
            "encoder": self.encoder,
            "generator": self.generator_network,
            "discriminator": self.discriminator,
        }
        self._game = Game(
            self.encoder,
            self.generator_network,
            self.discriminator,
            setting.learning_rate,
            setting.discriminator_learning_rate,
            betas,
            setting.gate or None,
            self.rng,
            "inductor" if self.step_kind == COMPILED else "",
        )
        self._replay: RecordedUpdate | None = None
        if self.step_kind != EAGER:
            self._replay = RecordedUpdate(self._update, CudaGraph(self._game, [self.rng]))

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """One update of all three networks on a crop of each of these clips."""
        losses = (self._replay or self._update)(self._source.batch(rows))
        self._updates += 1
        return losses

    def _update(self, clips: Tensor) -> dict[str, Tensor]:
        """One update on a crop of each of these clips (B, F, T)."""
        x = crops.drawn(clips, self._crop, self.rng)
        z, noise = (self.normal(len(clips)) for _ in range(2))
        for network in self._networks.values():
            network.train()
        fading = self._setting.instance_noise * (1.0 - self._updates / self._last_update)
        return self._game.step(x, z, noise, max(fading, 0.0))

    def normal(self, count: int) -> Tensor:
        """Standard normal numbers (count, D)."""
        return torch.randn(count, self._latent, generator=self.rng, device=self.rng.device)

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """The losses on the middle crops of other clips, as validation_<loss>; the same z and noise at every call."""
        self._eval()
        drawn = torch.Generator(self._source.device).manual_seed(0)
        total = {"validation_discriminator_loss": 0.0, "validation_generator_loss": 0.0}
        with precision.evaluation():
            for part in self._source.batches(rows, AT_ONCE):
                x = crops.middle(self._source.batch(part), self._crop.bands)
                z, noise = (torch.randn(len(part), self._latent, generator=drawn, device=x.device) for _ in range(2))
                mean, log_sigma = self.encoder(x)
                logit_q = self.discriminator(x, mean + log_sigma.exp() * noise)
                logit_p = self.discriminator(self.generator_network(z), z)
                for name, loss in zip(total, (discriminator_loss, generator_loss), strict=True):
                    total[name] += float(loss(logit_q, logit_p)) * len(part) / len(rows)
        return total

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """The mean of z (B, D) of the middle crops."""
        return self._of_clips(rows, lambda x: self.encoder(crops.middle(x, self._crop.bands))[0])

    def readouts(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Other vectors of these clips, by name.

        crops: the mean of z, averaged over all crops of a clip; sample: one z drawn from its distribution; hidden: the
        last three hidden layers. The latter two of the middle crop.
        """
        bands = self._crop.bands
        drawn = torch.Generator(self._source.device).manual_seed(0)

        def sample(x: Tensor) -> Tensor:
            mean, log_sigma = self.encoder(crops.middle(x, bands))
            noise = torch.randn(mean.shape, generator=drawn, device=mean.device)
            sampled: Tensor = mean + log_sigma.exp() * noise
            return sampled

        return {
            "crops": self._of_clips(rows, lambda x: crops.over_crops(x, bands, lambda part: self.encoder(part)[0])),
            "sample": self._of_clips(rows, sample),
            "hidden": self._of_clips(rows, lambda x: self.encoder.hidden(crops.middle(x, bands))),
        }

    def originals(self, rows: np.ndarray) -> np.ndarray:
        """The middle crops (B, 32, 32)."""
        return self._of_clips(rows, lambda x: crops.middle(x, self._crop.bands)[:, 0])

    def reconstruct(self, rows: np.ndarray) -> np.ndarray:
        """G of the mean of E of the middle crops: (B, 32, 32)."""
        return self._of_clips(
            rows, lambda x: self.generator_network(self.encoder(crops.middle(x, self._crop.bands))[0])[:, 0]
        )

    def generate(self, z: np.ndarray) -> np.ndarray:
        """G(z): (B, D) -> (B, 32, 32) in [0, 1]."""
        self._eval()
        with precision.evaluation():
            parts = torch.from_numpy(np.float32(z)).to(self._source.device).split(AT_ONCE)
            made: np.ndarray = torch.cat([self.generator_network(part)[:, 0].cpu() for part in parts]).numpy()
        return made

    def state(self) -> dict[str, Any]:
        """Weights, optimisers, and how many updates were made."""
        optimisers = (self._game.discriminator_optimiser, self._game.generator_optimiser)
        return {
            "networks": {name: network.state_dict() for name, network in self._networks.items()},
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
            "updates": self._updates,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        for name, network in self._networks.items():
            network.load_state_dict(state["networks"][name])
        optimisers = (self._game.discriminator_optimiser, self._game.generator_optimiser)
        for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        if self._replay is not None:  # the optimisers' state lies in other memory now
            self._replay.forget()
        self._updates = int(state["updates"])

    def _eval(self) -> None:
        for network in self._networks.values():
            network.eval()

    def _of_clips(self, rows: np.ndarray, through: Callable[[Tensor], Tensor]) -> np.ndarray:
        self._eval()
        return _through(self._source, rows, through)


class EncoderLearner:
    """The encoder as a classifier, trained on the crops that ALI would be trained on."""

    def __init__(
        self, source: Source, codes: np.ndarray, latent: int, composers: int, settings: Network, crop: Crop, seed: int
    ) -> None:
        """`codes` (clips,) are the composers; D = `latent`, K = `composers`."""
        self._source, self._crop = source, crop
        self._codes = torch.as_tensor(codes, device=source.device)
        self.network = loop.started(lambda: crops.EncoderClassifier(latent, crop.bands, composers), seed, source.device)
        self.rng = torch.Generator(source.device).manual_seed(seed)
        self._optimiser = loop.adam(self.network, settings)

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """One update on a crop of each of these clips."""
        self.network.train()
        crop = crops.drawn(self._source.batch(rows), self._crop, self.rng)
        loss = cross_entropy(self.network(crop), self._codes[torch.as_tensor(rows, device=self._source.device)])
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        return {"loss": loss.detach()}

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """Cross-entropy and accuracy on the middle crops of other clips."""
        return watch.answered(self.probabilities(rows), self._codes.cpu().numpy()[rows])

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """(B, K) of the middle crops."""
        return self._of_clips(rows, self.network.probabilities)

    def readouts(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """crops: the mean (B, K) over all crops of a clip."""
        bands = self._crop.bands
        return {
            "crops": self._of_clips(
                rows, lambda x: crops.over_crops(x, bands, lambda part: self.network(part).softmax(dim=1))
            )
        }

    def state(self) -> dict[str, Any]:
        """Weights and optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _of_clips(self, rows: np.ndarray, through: Callable[[Tensor], Tensor]) -> np.ndarray:
        self.network.eval()
        return _through(self._source, rows, through)


def _through(source: Source, rows: np.ndarray, through: Callable[[Tensor], Tensor]) -> np.ndarray:
    with precision.evaluation():
        parts = [through(source.batch(part)).float().cpu() for part in source.batches(rows, AT_ONCE)]
    found: np.ndarray = torch.cat(parts).numpy()
    return found
