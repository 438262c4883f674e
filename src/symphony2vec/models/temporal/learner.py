"""Training of the temporal ALI, and of its encoder with labels.

B pairs of clips, F bins, T frames, S steps, D and Z dimensions, K composers; symbols as in networks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from symphony2vec.models.temporal import losses, views
from symphony2vec.models.temporal.devices import Devices, alone
from symphony2vec.models.temporal.networks import (
    STRIDE,
    ClipClassifier,
    ClipEncoder,
    Codes,
    Discriminator,
    Encoder,
    Generator,
    Projection,
    whole,
)
from symphony2vec.models.training import loop, precision, watch
from symphony2vec.models.training.source import Source
from symphony2vec.params import TemporalSetting

AT_ONCE = 128


class TemporalLearner:
    """Encoder, generator and discriminator; what a setting gives no weight has no part in the training.

    Encoder and generator that are asked afterwards are moving averages of those that learn.
    """

    def __init__(
        self,
        source: Source,
        training: np.ndarray,
        movements: np.ndarray,
        latent: int,
        setting: TemporalSetting,
        seed: int,
        devices: Devices | None = None,
    ) -> None:
        """`training` rows; `movements` (clips,) a number for each movement; `latent` D; `devices` the source's own."""
        self._source, self._setting, self.latent = source, setting, latent
        self._devices, self._seed = devices or alone(source.device), seed
        shape = (latent, setting.step_latent, setting.width, source.shape[0])
        self.encoder = loop.create_network(lambda: Encoder(*shape), seed, source.device)
        self.generator_network = loop.create_network(lambda: Generator(*shape), seed + 1, source.device)
        self.discriminator = loop.create_network(lambda: Discriminator(*shape, setting.unary), seed + 2, source.device)
        self.projection = loop.create_network(lambda: Projection(latent), seed + 3, source.device)
        self._devices.synchronise(self.encoder, self.generator_network)
        self.averaged = _averaged(self.encoder, setting.average)
        self.averaged_generator = _averaged(self.generator_network, setting.average)
        self._devices.compile(self.encoder.convolutions, self.generator_network.convolutions, self.discriminator)
        self.rng = torch.Generator(source.device).manual_seed(seed)
        self._dice = self.rng
        self._movements = movements
        self._neighbours = views.Neighbours(movements, training, setting.positives)
        self._changes = _changes(setting)
        makers = (self.encoder, self.generator_network, self.projection)
        self._optimiser = _adam(makers, setting.learning_rate, setting)
        self._discriminator_optimiser = _adam((self.discriminator,), setting.discriminator_learning_rate, setting)

    @property
    def generates(self) -> bool:
        """Whether the setting trains the generator at all."""
        return bool(self._setting.adversary or self._setting.reconstruction)

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """One update of all networks, on two views each of a group: of a clip, and of a clip of its movement."""
        own, devices, networks = self._setting, self._devices, self._networks()
        for network in networks.values():
            network.train()
        shares = devices.shares(rows)
        mine, self._dice = shares[devices.rank], devices.dice(self.rng, self._seed, rows)
        both = np.concatenate([mine, self._neighbours.drawn(mine, self._dice)])
        x = views.crop(self._source.batch(both), own.frames, self._dice, own.tempo)
        x = views.moved(x, self._changes, self._dice)
        heard = views.masked(x, self._changes, self._dice)
        codes: Codes = devices.passed(self.encoder, heard)
        self._optimiser.zero_grad(set_to_none=True)
        self._discriminator_optimiser.zero_grad(set_to_none=True)
        told: dict[str, Tensor] = {}
        total = x.new_zeros(())
        if own.contrast:
            everywhere = np.concatenate([np.tile(self._neighbours.groups(share), 2) for share in shares])
            groups = torch.as_tensor(everywhere, device=x.device)
            c = devices.gathered(codes.c, [2 * len(share) for share in shares])
            told["contrast"] = losses.contrast(devices.passed(self.projection, c), groups, own.temperature)
            total = total + own.contrast * told["contrast"]
        if self.generates:
            played_rows = rows[: own.played]
            count, weight = len(devices.shares(played_rows)[devices.rank]), devices.weight(played_rows)
            c = self._drawn(codes.c[:count], codes.c_log_sigma[:count])
            z = self._drawn(codes.z[:count], codes.z_log_sigma[:count])
            if own.reconstruction:
                x_hat = devices.passed(self.generator_network, c, z)
                told["reconstruction"] = weight * losses.reconstruction(x[:count], x_hat)
                total = total + own.reconstruction * told["reconstruction"]
            if own.adversary:
                played, of_codes = self._game(heard[:count], c, z, weight)
                told |= played
                total = total + of_codes
        total.backward()
        told = devices.averaged(networks.values(), told)
        self._optimiser.step()
        if own.adversary:
            self._discriminator_optimiser.step()
        self.averaged.update_parameters(self.encoder)
        if self.generates:
            self.averaged_generator.update_parameters(self.generator_network)
        return told

    def _game(self, heard: Tensor, c: Tensor, z: Tensor, share: float) -> tuple[dict[str, Tensor], Tensor]:
        """The gradients of D, and those of G from its own pairs; returns what is worth logging, and a scalar with the
        gradient that the game has by the encoder's codes: one pass through D serves all (see `losses.slopes`). All of
        it times `share`, what these pairs count among those of all devices."""
        prior_c, prior_z = self._normal(c.shape), self._normal(z.shape)
        x_hat = self._devices.passed(self.generator_network, prior_c, prior_z)
        x_seen, c_seen, z_seen = (sample.detach().requires_grad_() for sample in (x_hat, c, z))
        seen = torch.cat([heard, views.masked(x_seen, self._changes, self._dice)])
        codes = torch.cat([c_seen, prior_c]), torch.cat([z_seen, prior_z])
        logits = self._devices.passed(self.discriminator, seen, *codes)
        logit_q, logit_p = logits.split(len(heard))
        slope_q, slope_p, turn_q, turn_p = losses.slopes(logit_q, logit_p)
        (share * (logit_q @ slope_q + logit_p @ slope_p)).backward()
        assert x_seen.grad is not None
        assert c_seen.grad is not None
        assert z_seen.grad is not None
        weight = self._setting.adversary
        x_hat.backward(weight * x_seen.grad * turn_p[:, None, None])
        by_c, by_z = c_seen.grad * turn_q[:, None], z_seen.grad * turn_q[:, None, None]
        told = {
            "discriminator_loss": losses.discriminator_loss(logit_q, logit_p),
            "generator_loss": losses.generator_loss(logit_q, logit_p),
            "mean_output_real": torch.sigmoid(logit_q).mean(),
            "mean_output_generated": torch.sigmoid(logit_p).mean(),
        }
        return {name: share * value for name, value in told.items()}, weight * ((c * by_c).sum() + (z * by_z).sum())

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """Of other clips, as validation_<loss>: contrast, of views as in training but the same at every call, by the
        encoder that learns; and by the averaged one the error of their reconstructions from the means of their codes,
        where there is a G."""
        total: dict[str, float] = {}
        if self._setting.contrast:
            total["validation_contrast"] = self._contrast(rows)
        if self.generates:
            total["validation_reconstruction"] = 0.0
            for part in self._source.batches(rows, AT_ONCE):
                x = whole(self._source.batch(part)).cpu()
                error = losses.reconstruction(x, torch.from_numpy(self.reconstruct(part)))
                total["validation_reconstruction"] += float(error) * len(part) / len(rows)
        return total

    def _contrast(self, rows: np.ndarray) -> float:
        """The contrast of other clips. With few movements a view finds more of its own in a batch than in training,
        which raises the loss: compare it with itself over the epochs, not with that of training."""
        own, dice = self._setting, torch.Generator(self._source.device).manual_seed(0)
        neighbours = views.Neighbours(self._movements, rows, own.positives)
        encoder, projection = self.encoder.eval(), self.projection.eval()
        total = 0.0
        with precision.evaluation():
            order = torch.randperm(len(rows), generator=dice, device=dice.device).cpu().numpy()
            for part in self._source.batches(rows[order], own.batch):  # in order a batch would be of one movement
                both = np.concatenate([part, neighbours.drawn(part, dice)])
                x = views.crop(self._source.batch(both), own.frames, dice, own.tempo)
                found = projection(encoder(views.changed(x, self._changes, dice)).c)
                groups = torch.as_tensor(np.tile(neighbours.groups(part), 2), device=x.device)
                total += float(losses.contrast(found, groups, own.temperature)) * len(part)
        return total / len(rows)

    def codes(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The means c (B, D) and z (B, S, Z), and the pooled features (B, 2 H), of whole clips."""
        network = self.averaged.module.eval()
        found: list[Codes] = []
        with precision.evaluation():
            found = [network(whole(self._source.batch(part))) for part in self._source.batches(rows, AT_ONCE)]
        names = ("c", "z", "pooled")
        return {name: torch.cat([getattr(one, name).cpu() for one in found]).numpy() for name in names}

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """The mean of c (B, D) of whole clips."""
        return self.codes(rows)["c"]

    def reconstruct(self, rows: np.ndarray) -> np.ndarray:
        """G of the means of E: (B, F, S * STRIDE), scaled."""
        found = self.codes(rows)
        return self.generate(found["c"], found["z"])

    def generate(self, c: np.ndarray, z: np.ndarray) -> np.ndarray:
        """G(c, z): (B, D) and (B, S, Z) to (B, F, S * STRIDE), scaled."""
        network, device = self.averaged_generator.module.eval(), self._source.device
        made = []
        with precision.evaluation():
            for start in range(0, len(c), AT_ONCE):
                part = (torch.from_numpy(one[start : start + AT_ONCE]).to(device) for one in (c, z))
                made.append(network(*part).cpu())
        joined: np.ndarray = torch.cat(made).numpy()
        return joined

    def prior(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes of nothing, c (B, D) and z (B, S, Z), as long as a clip."""
        drawn, steps = np.random.default_rng(seed), self._source.shape[1] // STRIDE
        shapes = ((count, self.latent), (count, steps, self._setting.step_latent))
        c, z = (drawn.standard_normal(shape).astype(np.float32) for shape in shapes)
        return c, z

    def clip_encoder(self) -> ClipEncoder:
        """The averaged encoder as one that takes whole clips."""
        own = self._setting
        network = ClipEncoder(self.latent, own.step_latent, own.width, self._source.shape[0])
        network.encoder.load_state_dict(self.averaged.module.state_dict())
        return network.eval()

    def state(self) -> dict[str, Any]:
        """Weights and optimisers."""
        optimisers = (self._optimiser, self._discriminator_optimiser)
        return {
            "networks": {name: network.state_dict() for name, network in self._networks().items()},
            "averaged": [network.state_dict() for network in (self.averaged, self.averaged_generator)],
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        for name, network in self._networks().items():
            network.load_state_dict(state["networks"][name])
        for network, held in zip((self.averaged, self.averaged_generator), state["averaged"], strict=True):
            network.load_state_dict(held)
        optimisers = (self._optimiser, self._discriminator_optimiser)
        for optimiser, held in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(held)

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "encoder": self.encoder,
            "generator": self.generator_network,
            "discriminator": self.discriminator,
            "projection": self.projection,
        }

    def _normal(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self._dice, device=self._dice.device)

    def _drawn(self, mean: Tensor, log_sigma: Tensor) -> Tensor:
        return mean + log_sigma.exp() * self._normal(mean.shape)


class LabelsLearner:
    """The yardstick: the same encoder on the same views, trained to name the composer."""

    def __init__(
        self,
        source: Source,
        codes: np.ndarray,
        latent: int,
        composers: int,
        setting: TemporalSetting,
        seed: int,
        devices: Devices | None = None,
    ) -> None:
        """`codes` (clips,) composers; `latent` D; `composers` K; `devices` the source's own."""
        self._source, self._setting = source, setting
        self._devices, self._seed = devices or alone(source.device), seed
        self._codes = torch.as_tensor(codes, device=source.device)
        shape = (latent, setting.step_latent, setting.width, source.shape[0])
        self.network = loop.create_network(lambda: ClipClassifier(*shape, composers), seed, source.device)
        self._devices.synchronise(self.network)
        self.averaged = _averaged(self.network, setting.average)
        self._devices.compile(self.network.encoder.convolutions)
        self.rng = torch.Generator(source.device).manual_seed(seed)
        self._changes = _changes(setting)
        self._optimiser = _adam((self.network,), setting.learning_rate, setting)

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """One update on a view of each of these clips."""
        self.network.train()
        devices = self._devices
        mine, dice = devices.shares(rows)[devices.rank], devices.dice(self.rng, self._seed, rows)
        x = views.crop(self._source.batch(mine), self._setting.frames, dice, self._setting.tempo)
        logits = devices.passed(self.network, views.changed(x, self._changes, dice))
        named = self._codes[torch.as_tensor(mine, device=self._source.device)]
        loss = devices.weight(rows) * cross_entropy(logits, named)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        told = devices.averaged((self.network,), {"loss": loss})
        self._optimiser.step()
        self.averaged.update_parameters(self.network)
        return told

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """Cross-entropy and accuracy on other clips, whole."""
        return watch.score_probabilities(self.probabilities(rows), self._codes.cpu().numpy()[rows])

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """(B, K) of whole clips."""
        network: ClipClassifier = self.averaged.module.eval()
        with precision.evaluation():
            parts = [network.probabilities(self._source.batch(p)).cpu() for p in self._source.batches(rows, AT_ONCE)]
        found: np.ndarray = torch.cat(parts).numpy()
        return found

    def state(self) -> dict[str, Any]:
        """Weights and optimiser."""
        networks = {"network": self.network.state_dict(), "averaged": self.averaged.state_dict()}
        return {**networks, "optimiser": self._optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])


def _averaged(network: nn.Module, share: float) -> Any:
    """A moving average of weights and of the statistics of batch norm; `share` of it stays at each update."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(share), use_buffers=True)


def _adam(networks: tuple[nn.Module, ...], rate: float, setting: TemporalSetting) -> torch.optim.Adam:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return torch.optim.Adam(parameters, rate, (setting.betas[0], setting.betas[1]), fused=True)


def _changes(setting: TemporalSetting) -> views.Changes:
    return views.Changes(setting.masked_bins, setting.masked_frames, setting.shifted_bins, setting.level)
