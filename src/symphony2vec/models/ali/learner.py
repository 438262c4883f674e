"""Training of ALI, and of its encoder as a classifier.

On a GPU an update of ALI is recorded as a CUDA graph and replayed (`symphony2vec.models.ali.recorded`), unless the
environment variable `SYMPHONY2VEC_ALI_STEP` is "eager". On a CPU it runs eagerly.

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

BATCH = 200  # clips of a pass without gradients
STEP_VARIABLE = "SYMPHONY2VEC_ALI_STEP"
# How an update runs on a GPU: eagerly; recorded as a CUDA graph; recorded, with its networks compiled.
EAGER, RECORDED, COMPILED = STEP_KINDS = ("eager", "recorded", "compiled")


def choose_step_kind(device: torch.device) -> str:
    """Return how an update runs on this device: eager, recorded or compiled.

    Raises:
        UserError: the environment variable `SYMPHONY2VEC_ALI_STEP` has another value.

    Examples:
        >>> choose_step_kind(torch.device("cpu"))
        'eager'
    """
    kind = os.environ.get(STEP_VARIABLE) or RECORDED
    if kind not in STEP_KINDS:
        raise UserError(f"{STEP_VARIABLE} is '{kind}'; it must be one of {', '.join(STEP_KINDS)}")
    return kind if device.type == "cuda" else EAGER


class AliLearner:
    """Encoder, generator and discriminator, and their adversarial training.

    Args:
        source: the scaled mel spectrograms.
        training: rows of the training clips; their mean crop gives the initial output bias of the generator.
        latent: D.
        setting: learning rates, regularisation and schedule.
        crop: position of the crops.
        updates_per_epoch: with the epochs of the setting, the updates over which instance noise fades to 0.
        seed: of the weights, crops, latents and noise.
    """

    def __init__(
        self,
        source: Source,
        training: np.ndarray,
        latent: int,
        setting: Setting,
        crop: Crop,
        updates_per_epoch: int,
        seed: int,
    ) -> None:
        self._source, self._latent, self._setting, self._crop = source, latent, setting, crop
        self._updates, self._last_update = 0, setting.epochs * updates_per_epoch
        self.encoder, self.generator = Encoder(latent), Generator(latent)
        self.discriminator = Discriminator(latent, setting.dropout, setting.batch_norm)
        self._networks = {
            "encoder": self.encoder,
            "generator": self.generator,
            "discriminator": self.discriminator,
        }
        weights_rng = torch.Generator().manual_seed(seed)
        for network in self._networks.values():
            initialise(network, weights_rng)
            network.to(source.device)
        batches = (source.batch(part) for part in source.batches(training, BATCH))
        self.generator.set_bias(crops.compute_mean_crop(batches, crop))
        self.rng = torch.Generator(source.device).manual_seed(seed)
        # A gate depends on the losses and instance noise on the update: such updates cannot be recorded.
        is_constant = not (setting.gate or setting.instance_noise or setting.batch_norm)
        self.step_kind = choose_step_kind(source.device) if is_constant else EAGER
        self._game = Game(
            self.encoder,
            self.generator,
            self.discriminator,
            setting.learning_rate,
            setting.discriminator_learning_rate,
            (setting.betas[0], setting.betas[1]),
            setting.gate or None,
            self.rng,
            "inductor" if self.step_kind == COMPILED else "",
        )
        self._replay: RecordedUpdate | None = None
        if self.step_kind != EAGER:
            self._replay = RecordedUpdate(self._update, CudaGraph(self._game, [self.rng]))

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """Update all three networks on a crop of each of these clips (B,), and return the losses."""
        losses = (self._replay or self._update)(self._source.batch(rows))
        self._updates += 1
        return losses

    def _update(self, clips: Tensor) -> dict[str, Tensor]:
        """Update all three networks on a crop of each of these clips (B, F, T)."""
        x = crops.sample_crops(clips, self._crop, self.rng)
        z, noise = (self._sample_normal(len(clips), self.rng) for _ in range(2))
        for network in self._networks.values():
            network.train()
        instance_noise = self._setting.instance_noise * (1.0 - self._updates / self._last_update)
        return self._game.step(x, z, noise, max(instance_noise, 0.0))

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """Return the losses on the middle crops of other clips, as validation_<loss>; each call uses the same noise."""
        self._eval()
        rng = torch.Generator(self._source.device).manual_seed(0)
        total = {"validation_discriminator_loss": 0.0, "validation_generator_loss": 0.0}
        with precision.evaluation():
            for part in self._source.batches(rows, BATCH):
                x = crops.cut_middle(self._source.batch(part), self._crop.bands)
                z, noise = (self._sample_normal(len(part), rng) for _ in range(2))
                mean, log_sigma = self.encoder(x)
                logit_q = self.discriminator(x, mean + log_sigma.exp() * noise)
                logit_p = self.discriminator(self.generator(z), z)
                for name, loss in zip(total, (discriminator_loss, generator_loss), strict=True):
                    total[name] += float(loss(logit_q, logit_p)) * len(part) / len(rows)
        return total

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Return the mean of z (B, D) of the middle crops of these clips."""
        return self._apply_to_middle(lambda x: self.encoder(x)[0], rows)

    def readouts(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return other vectors of these clips, by name.

        Returns:
            crops: (B, D) the mean of z, averaged over all crops of a clip.
            sample: (B, D) a sample of z, of the middle crop.
            hidden: (B, 5120) activations of the last three hidden layers, of the middle crop.
        """
        rng = torch.Generator(self._source.device).manual_seed(0)

        def average(x: Tensor) -> Tensor:
            return crops.average_over_crops(x, self._crop.bands, lambda part: self.encoder(part)[0])

        def sample(x: Tensor) -> Tensor:
            mean, log_sigma = self.encoder(x)
            z: Tensor = mean + log_sigma.exp() * self._sample_normal(len(x), rng)
            return z

        self._eval()
        return {
            "crops": self._source.apply(average, rows, BATCH),
            "sample": self._apply_to_middle(sample, rows),
            "hidden": self._apply_to_middle(self.encoder.hidden, rows),
        }

    def originals(self, rows: np.ndarray) -> np.ndarray:
        """Return the middle crops (B, 32, 32) of these clips."""
        return self._apply_to_middle(lambda x: x[:, 0], rows)

    def reconstruct(self, rows: np.ndarray) -> np.ndarray:
        """Return reconstructions (B, 32, 32) of the middle crops of these clips: G of the mean of z."""
        return self._apply_to_middle(lambda x: self.generator(self.encoder(x)[0])[:, 0], rows)

    def generate(self, z: np.ndarray) -> np.ndarray:
        """Return crops G(z) (B, 32, 32) in [0, 1] of latents (B, D)."""
        self._eval()
        with precision.evaluation():
            parts = torch.from_numpy(np.float32(z)).to(self._source.device).split(BATCH)
            x_hat: np.ndarray = torch.cat([self.generator(part)[:, 0].cpu() for part in parts]).numpy()
        return x_hat

    def state_dict(self) -> dict[str, Any]:
        """Return the states of networks and optimisers, and the number of updates."""
        return {
            "networks": {name: network.state_dict() for name, network in self._networks.items()},
            "optimisers": [optimiser.state_dict() for optimiser in self._game.optimisers],
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        for name, network in self._networks.items():
            network.load_state_dict(state["networks"][name])
        for optimiser, optimiser_state in zip(self._game.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(optimiser_state)
        if self._replay is not None:  # the state of the optimisers has moved in memory
            self._replay.forget()
        self._updates = int(state["updates"])

    def _sample_normal(self, count: int, rng: torch.Generator) -> Tensor:
        """Return standard normal numbers (count, D)."""
        return torch.randn(count, self._latent, generator=rng, device=rng.device)

    def _eval(self) -> None:
        for network in self._networks.values():
            network.eval()

    def _apply_to_middle(self, function: Callable[[Tensor], Tensor], rows: np.ndarray) -> np.ndarray:
        """Apply a function of crops (b, 1, 32, 32) to the middle crops of these clips, in evaluation mode."""
        self._eval()
        return self._source.apply(lambda x: function(crops.cut_middle(x, self._crop.bands)), rows, BATCH)


class EncoderLearner(loop.NetworkLearner[crops.EncoderClassifier]):
    """ALI's encoder as a classifier, trained on the same crops as ALI.

    Args:
        source: the scaled mel spectrograms.
        codes: (clips,) composers as integers.
        latent: D.
        composers: K.
        settings: settings of Adam.
        crop: position of the crops.
        seed: of the weights and crops.
    """

    def __init__(
        self, source: Source, codes: np.ndarray, latent: int, composers: int, settings: Network, crop: Crop, seed: int
    ) -> None:
        super().__init__(source, lambda: crops.EncoderClassifier(latent, crop.bands, composers), settings, seed)
        self._crop, self._codes = crop, torch.as_tensor(codes, device=source.device)

    def batch_losses(self, rows: np.ndarray, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the cross-entropy on a crop of each of these clips (B,)."""
        x = crops.sample_crops(self._source.batch(rows), self._crop, rng)
        codes = self._codes[torch.as_tensor(rows, device=self._source.device)]
        return {"loss": cross_entropy(self.network(x), codes)}

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """Return cross-entropy and accuracy on the middle crops of other clips."""
        return watch.score_probabilities(self.probabilities(rows), self._codes.cpu().numpy()[rows])

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Return probabilities (B, K) of the middle crops of these clips."""
        self.network.eval()
        return self._source.apply(self.network.probabilities, rows, BATCH)

    def readouts(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return other probabilities (B, K) by name; "crops" is the mean over all crops of a clip."""
        self.network.eval()
        return {"crops": self._source.apply(self.network.probabilities_crops, rows, BATCH)}
