"""Training of the temporal ALI.

Axes: B batch, F mel bins, T frames, S steps, L and Z dimensions of the clip and the step codes, H features of a
step. Symbols x, c, z, x_hat and the networks E, G, D: see networks.py; q, the pairs (x, c, z) of E, and p, the
pairs (x_hat, c, z) of G: see losses.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from symphony2vec.models.temporal import losses, views
from symphony2vec.models.temporal.devices import Devices, single_device
from symphony2vec.models.temporal.networks import (
    EQUIVARIANT_DIVISOR,
    FRAMES_PER_STEP,
    ClipEncoder,
    Codes,
    Discriminator,
    Encoder,
    Generator,
    ProjectionHead,
    crop_to_steps,
)
from symphony2vec.models.training import loop, precision
from symphony2vec.models.training.source import Source
from symphony2vec.params import TemporalSetting

EVALUATION_BATCH = 128


class TemporalLearner:
    """Train the temporal ALI: encoder, generator, discriminator and projection head.

    A loss with weight 0 is not computed in training. With `equivariant_weight` above 0, the last quarter of the clip
    code has a contrastive loss of its own (see `losses`), which makes it equivariant to pitch shifts; the main
    contrastive loss, which makes its dimensions approximately invariant to them, then uses the other three quarters.
    Inference (`encode`, `generate`, `build_clip_encoder`) uses exponential moving averages (EMA) of encoder and
    generator.

    Args:
        source: mel spectrograms of all clips, standardised per band.
        training_rows: indices of the training clips in `source`.
        movements: (clips,) an integer for the movement that each clip belongs to.
        latent: L, the dimensions of the clip code.
        setting: weights of the losses, sizes of the networks, augmentation and optimisers.
        seed: of initialisation, augmentation and noise.
        devices: the devices to train on; by default only the device of `source`.
    """

    def __init__(
        self,
        source: Source,
        training_rows: np.ndarray,
        movements: np.ndarray,
        latent: int,
        setting: TemporalSetting,
        seed: int,
        devices: Devices | None = None,
    ) -> None:
        self._source, self._setting, self.latent = source, setting, latent
        self._devices, self._seed = devices or single_device(source.device), seed
        sizes = (latent, setting.step_latent, setting.width, source.shape[0])
        self.encoder = loop.create_network(lambda: Encoder(*sizes), seed, source.device)
        self.generator = loop.create_network(lambda: Generator(*sizes), seed + 1, source.device)
        self.discriminator = loop.create_network(lambda: Discriminator(*sizes, setting.unary), seed + 2, source.device)
        self._equivariant = latent // EQUIVARIANT_DIVISOR if setting.equivariant_weight else 0
        invariant = latent - self._equivariant
        self.projection = loop.create_network(lambda: ProjectionHead(invariant), seed + 3, source.device)
        self._devices.synchronise_batch_norm(self.encoder, self.generator)
        self.ema_encoder = build_ema(self.encoder, setting.ema_decay)
        self.ema_generator = build_ema(self.generator, setting.ema_decay)
        self._devices.compile(self.encoder.convolutions, self.generator.convolutions, self.discriminator)
        self.rng = torch.Generator(source.device).manual_seed(seed)
        self._step_rng = self.rng  # with several devices, replaced at every update; see `Devices.step_rng`
        self._movements = movements
        self._positives = views.PositiveSampler(movements, training_rows, setting.positives)
        self._augmentation = build_augmentation(setting)
        main_networks: tuple[nn.Module, ...] = (self.encoder, self.generator, self.projection)
        if self._equivariant:
            self.pitch_projection = loop.create_network(
                lambda: ProjectionHead(self._equivariant), seed + 4, source.device
            )
            main_networks = (*main_networks, self.pitch_projection)
        self._main_optimiser = build_adam(main_networks, setting.learning_rate, setting)
        self._discriminator_optimiser = build_adam((self.discriminator,), setting.discriminator_learning_rate, setting)
        self._networks: dict[str, nn.Module] = {
            "encoder": self.encoder,
            "generator": self.generator,
            "discriminator": self.discriminator,
            "projection": self.projection,
        }
        if self._equivariant:
            self._networks["pitch_projection"] = self.pitch_projection

    @property
    def trains_generator(self) -> bool:
        """Return whether the setting trains the generator."""
        return bool(self._setting.adversarial_weight or self._setting.reconstruction_weight)

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """Update the networks that have a loss, on the clips `rows` (B,) and a random positive of each.

        Returns:
            The losses and the mean outputs of the discriminator, as 0-d tensors.
        """
        setting, devices = self._setting, self._devices
        for network in self._networks.values():
            network.train()
        batches = devices.split_batch(rows)
        self._step_rng = devices.step_rng(self.rng, self._seed, rows)
        x, view = self._augmented_views(batches[devices.rank])
        codes: Codes = devices.forward(self.encoder, view)
        self._main_optimiser.zero_grad(set_to_none=True)
        self._discriminator_optimiser.zero_grad(set_to_none=True)
        metrics: dict[str, Tensor] = {}
        total = x.new_zeros(())
        if setting.contrastive_weight or self._equivariant:
            all_c = devices.gather(codes.c_mean, [self._views_per_anchor * len(batch) for batch in batches])
        if setting.contrastive_weight:
            metrics["contrastive_loss"] = self._contrastive_loss(all_c, batches)
            total = total + setting.contrastive_weight * metrics["contrastive_loss"]
        if self._equivariant:
            metrics["equivariant_loss"] = self._equivariant_loss(all_c, batches)
            total = total + setting.equivariant_weight * metrics["equivariant_loss"]
        if self.trains_generator:
            generator_rows = rows[: setting.generator_batch]
            count = len(devices.split_batch(generator_rows)[devices.rank])
            weight = devices.batch_weight(generator_rows)
            c = self._sample_normal(codes.c_mean[:count], codes.c_log_sigma[:count])
            z = self._sample_normal(codes.z_mean[:count], codes.z_log_sigma[:count])
            if setting.reconstruction_weight:
                x_hat = devices.forward(self.generator, c, z)
                metrics["reconstruction_loss"] = weight * losses.reconstruction_loss(x[:count], x_hat)
                total = total + setting.reconstruction_weight * metrics["reconstruction_loss"]
            if setting.adversarial_weight:
                adversarial_metrics, encoder_surrogate = self._backpropagate_adversarial(view[:count], c, z, weight)
                metrics |= adversarial_metrics
                total = total + encoder_surrogate
        total.backward()
        metrics = devices.average_gradients(self._networks.values(), metrics)
        self._main_optimiser.step()
        if setting.adversarial_weight:
            self._discriminator_optimiser.step()
        self.ema_encoder.update_parameters(self.encoder)
        if self.trains_generator:
            self.ema_generator.update_parameters(self.generator)
        return metrics

    def _augmented_views(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return x and view, each (2 B, F, T): random crops of these clips, followed by crops of a positive of each.

        With an equivariant part, other crops of these clips follow, with the same pitch shifts as the first:
        (3 B, F, T). x, the target of the reconstruction, has all augmentations but the masks; view, the input of E, is
        also masked. T is `crop_frames`.
        """
        setting, same_pitch = self._setting, len(rows) if self._equivariant else 0
        rows = np.concatenate([rows, self._positives.sample(rows, self._step_rng), rows[:same_pitch]])
        x = views.crop(self._source.batch(rows), setting.crop_frames, self._step_rng, setting.time_stretch)
        x = views.shift(x, self._augmentation, self._step_rng, same_pitch)
        return x, views.time_frequency_mask(x, self._augmentation, self._step_rng)

    @property
    def _views_per_anchor(self) -> int:
        """Return how many views a clip of a batch (the anchor) brings: its own, its positive's and, maybe, a third."""
        return 3 if self._equivariant else 2

    def _contrastive_loss(self, all_c: Tensor, batches: list[np.ndarray]) -> Tensor:
        """Return the InfoNCE loss over the views of all ranks, from their codes (views, L)."""
        all_groups = np.concatenate(
            [np.tile(self._positives.groups(batch), self._views_per_anchor) for batch in batches]
        )
        groups = torch.as_tensor(all_groups, device=all_c.device)
        projected = self._devices.forward(self.projection, self._invariant(all_c))
        return losses.info_nce(projected, groups, self._setting.temperature)

    def _equivariant_loss(self, all_c: Tensor, batches: list[np.ndarray]) -> Tensor:
        """Return the InfoNCE loss of the equivariant part: positives are two views of a clip with the same pitch shift.

        The views of the sampled positives (of the same movement, with pitch shifts of their own) are only negatives.
        """
        count = sum(len(batch) for batch in batches)
        clips = np.split(np.arange(count), np.cumsum([len(batch) for batch in batches])[:-1])
        groups = np.concatenate([np.concatenate([part, count + part, part]) for part in clips])
        queries = torch.as_tensor(np.flatnonzero(groups < count), device=all_c.device)
        projected = self._devices.forward(self.pitch_projection, all_c[:, -self._equivariant :])
        all_groups = torch.as_tensor(groups, device=all_c.device)
        return losses.info_nce(projected, all_groups, self._setting.temperature, queries)

    def _invariant(self, c: Tensor) -> Tensor:
        """Return the dimensions of the codes c (views, L) that the main contrastive loss uses."""
        return c[:, : self.latent - self._equivariant]

    def _backpropagate_adversarial(
        self, view: Tensor, c: Tensor, z: Tensor, weight: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Accumulate the gradients of D and, from the generated pairs, of G, with a single pass through D.

        See `losses.logit_gradients`.

        Args:
            view: (B, F, T) the masked views, which are the x of the encoder's pairs (x, c, z); B is at most
                `generator_batch`.
            c, z: (B, L) and (B, S, Z) their codes.
            weight: factor of the means of this rank, so that their average over ranks is the mean over all pairs; 1 if
                all ranks have equally many pairs.

        Returns:
            The losses to log, and a surrogate scalar, which is not a loss to log: its gradient with respect to the
            encoder's codes is `adversarial_weight` times that of the generator loss.
        """
        prior_c, prior_z = self._sample_noise(c.shape), self._sample_noise(z.shape)
        x_hat = self._devices.forward(self.generator, prior_c, prior_z)
        x_leaf, c_leaf, z_leaf = (sample.detach().requires_grad_() for sample in (x_hat, c, z))
        masked_x_hat = views.time_frequency_mask(x_leaf, self._augmentation, self._step_rng)
        codes = torch.cat([c_leaf, prior_c]), torch.cat([z_leaf, prior_z])
        logits = self._devices.forward(self.discriminator, torch.cat([view, masked_x_hat]), *codes)
        logit_q, logit_p = logits.split(len(view))
        gradient_q, gradient_p, scale_q, scale_p = losses.logit_gradients(logit_q, logit_p)
        (weight * (logit_q @ gradient_q + logit_p @ gradient_p)).backward()
        assert x_leaf.grad is not None
        assert c_leaf.grad is not None
        assert z_leaf.grad is not None
        x_hat.backward(self._setting.adversarial_weight * x_leaf.grad * scale_p[:, None, None])
        c_gradient, z_gradient = c_leaf.grad * scale_q[:, None], z_leaf.grad * scale_q[:, None, None]
        metrics = {
            "discriminator_loss": losses.discriminator_loss(logit_q, logit_p),
            "generator_loss": losses.generator_loss(logit_q, logit_p),
            "mean_output_real": torch.sigmoid(logit_q).mean(),
            "mean_output_generated": torch.sigmoid(logit_p).mean(),
        }
        surrogate = self._setting.adversarial_weight * ((c * c_gradient).sum() + (z * z_gradient).sum())
        return {name: weight * value for name, value in metrics.items()}, surrogate

    def evaluate(self, rows: np.ndarray) -> dict[str, float]:
        """Return the validation losses of these clips, under names that begin with "validation_".

        The contrastive loss is that of the current encoder, not of its EMA, on augmented views that are the same at
        every call. The reconstruction error, where the generator is trained, is that of the EMA networks on whole
        clips.
        """
        metrics: dict[str, float] = {}
        if self._setting.contrastive_weight:
            metrics["validation_contrastive_loss"] = self._validation_contrastive_loss(rows)
        if self.trains_generator:
            metrics["validation_reconstruction_loss"] = 0.0
            for batch in self._source.batches(rows, EVALUATION_BATCH):
                x = crop_to_steps(self._source.batch(batch)).cpu()
                error = losses.reconstruction_loss(x, torch.from_numpy(self.reconstruct(batch)))
                metrics["validation_reconstruction_loss"] += float(error) * len(batch) / len(rows)
        return metrics

    def _validation_contrastive_loss(self, rows: np.ndarray) -> float:
        """Return the contrastive loss of these clips.

        There are fewer movements than in training, so a view may have more positives in its batch and a higher loss:
        compare it between epochs, not with the training loss.
        """
        setting, rng = self._setting, torch.Generator(self._source.device).manual_seed(0)
        positives = views.PositiveSampler(self._movements, rows, setting.positives)
        encoder, projection = self.encoder.eval(), self.projection.eval()
        total = 0.0
        with precision.evaluation():
            order = torch.randperm(len(rows), generator=rng, device=rng.device).cpu().numpy()
            # Rows are sorted by movement: without a shuffle a batch would hold a single movement.
            for batch in self._source.batches(rows[order], setting.batch):
                anchors_and_positives = np.concatenate([batch, positives.sample(batch, rng)])
                x = views.crop(
                    self._source.batch(anchors_and_positives), setting.crop_frames, rng, setting.time_stretch
                )
                projected = projection(self._invariant(encoder(views.augment(x, self._augmentation, rng)).c_mean))
                groups = torch.as_tensor(np.tile(positives.groups(batch), 2), device=x.device)
                total += float(losses.info_nce(projected, groups, setting.temperature)) * len(batch)
        return total / len(rows)

    def infer_codes(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the posterior means "c" (B, L) and "z" (B, S, Z) and the features "pooled" (B, 2 H) of whole clips."""
        network = self.ema_encoder.module.eval()
        batches = self._source.batches(rows, EVALUATION_BATCH)
        with precision.evaluation():
            codes: list[Codes] = [network(crop_to_steps(self._source.batch(batch))) for batch in batches]
        return {
            name: torch.cat([getattr(batch_codes, field).cpu() for batch_codes in codes]).numpy()
            for name, field in (("c", "c_mean"), ("z", "z_mean"), ("pooled", "pooled"))
        }

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Return the embedding of each of these whole clips: the posterior mean of c, (B, L)."""
        return self.infer_codes(rows)["c"]

    def reconstruct(self, rows: np.ndarray) -> np.ndarray:
        """Reconstruct clips from the posterior means of their codes: (B, F, S * FRAMES_PER_STEP), standardised."""
        codes = self.infer_codes(rows)
        return self.generate(codes["c"], codes["z"])

    def generate(self, c: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return G(c, z), standardised: from c (B, L) and z (B, S, Z) to (B, F, S * FRAMES_PER_STEP)."""
        network, device = self.ema_generator.module.eval(), self._source.device
        batches = zip(*(torch.from_numpy(code).split(EVALUATION_BATCH) for code in (c, z)), strict=True)
        with precision.evaluation():
            parts = [network(c_batch.to(device), z_batch.to(device)).cpu() for c_batch, z_batch in batches]
        x_hat: np.ndarray = torch.cat(parts).numpy()
        return x_hat

    def sample_prior(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample c (count, L) and z (count, S, Z) from the standard normal prior, with the S of a whole clip."""
        rng, steps = np.random.default_rng(seed), self._source.shape[1] // FRAMES_PER_STEP
        shapes = ((count, self.latent), (count, steps, self._setting.step_latent))
        c, z = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
        return c, z

    def build_clip_encoder(self) -> ClipEncoder:
        """Return a `ClipEncoder` with the weights of the EMA encoder."""
        setting = self._setting
        network = ClipEncoder(self.latent, setting.step_latent, setting.width, self._source.shape[0])
        network.encoder.load_state_dict(self.ema_encoder.module.state_dict())
        return network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Return the state dicts of networks, their EMA copies and optimisers; the training loop saves `rng`."""
        return {
            "networks": {name: network.state_dict() for name, network in self._networks.items()},
            "averaged": [network.state_dict() for network in (self.ema_encoder, self.ema_generator)],
            "optimisers": [
                optimiser.state_dict() for optimiser in (self._main_optimiser, self._discriminator_optimiser)
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        for name, network in self._networks.items():
            network.load_state_dict(state["networks"][name])
        averages, optimisers = (
            (self.ema_encoder, self.ema_generator),
            (self._main_optimiser, self._discriminator_optimiser),
        )
        for part, part_state in zip((*averages, *optimisers), (*state["averaged"], *state["optimisers"]), strict=True):
            part.load_state_dict(part_state)

    def _sample_noise(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self._step_rng, device=self._step_rng.device)

    def _sample_normal(self, mean: Tensor, log_sigma: Tensor) -> Tensor:
        return mean + log_sigma.exp() * self._sample_noise(mean.shape)


def build_ema(network: nn.Module, decay: float) -> Any:
    """Return an EMA copy of weights and batch norm statistics: average = decay * average + (1 - decay) * current.

    The first update copies the current values.
    """
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def build_adam(networks: tuple[nn.Module, ...], learning_rate: float, setting: TemporalSetting) -> torch.optim.Adam:
    """Return the optimiser of some networks, with the betas of the setting."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return torch.optim.Adam(parameters, learning_rate, (setting.betas[0], setting.betas[1]), fused=True)


def build_augmentation(setting: TemporalSetting) -> views.Augmentation:
    """Return the augmentation of the setting."""
    names = (field.name for field in fields(views.Augmentation))
    return views.Augmentation(**{name: getattr(setting, name) for name in names})
