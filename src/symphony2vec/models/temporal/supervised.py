"""Training of the supervised reference: the encoder of the temporal ALI as a classifier.

B batch, F mel bins, T frames, L dimensions of the clip code, K composers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from symphony2vec.models.temporal import views
from symphony2vec.models.temporal.devices import Devices, single_device
from symphony2vec.models.temporal.learner import EVALUATION_BATCH, build_adam, build_augmentation, build_ema
from symphony2vec.models.temporal.networks import ClipClassifier
from symphony2vec.models.training import loop, precision, watch
from symphony2vec.models.training.source import Source
from symphony2vec.params import TemporalSetting


class SupervisedLearner:
    """Train the supervised reference: the encoder of the temporal ALI on the same views, with composers as targets.

    Args:
        source: mel spectrograms of all clips, standardised per band.
        targets: (clips,) the composer of each clip as an integer below `composers`.
        latent: L, the dimensions of the clip code.
        composers: K, the number of composers.
        setting: see `TemporalLearner`.
        seed: of the weights and the augmentation.
        devices: as in `TemporalLearner`.
    """

    def __init__(
        self,
        source: Source,
        targets: np.ndarray,
        latent: int,
        composers: int,
        setting: TemporalSetting,
        seed: int,
        devices: Devices | None = None,
    ) -> None:
        self._source, self._setting = source, setting
        self._devices, self._seed = devices or single_device(source.device), seed
        self._targets = torch.as_tensor(targets, device=source.device)
        sizes = (latent, setting.step_latent, setting.width, source.shape[0])
        self.network = loop.create_network(lambda: ClipClassifier(*sizes, composers), seed, source.device)
        self._devices.synchronise_batch_norm(self.network)
        self.ema_network = build_ema(self.network, setting.ema_decay)
        self._devices.compile(self.network.encoder.convolutions)
        self.rng = torch.Generator(source.device).manual_seed(seed)
        self._augmentation = build_augmentation(setting)
        self._optimiser = build_adam((self.network,), setting.learning_rate, setting)

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """Update the network on an augmented view of each of these clips (B,); return the loss."""
        self.network.train()
        devices = self._devices
        batch, rng = devices.split_batch(rows)[devices.rank], devices.step_rng(self.rng, self._seed, rows)
        x = views.crop(self._source.batch(batch), self._setting.crop_frames, rng, self._setting.time_stretch)
        logits = devices.forward(self.network, views.augment(x, self._augmentation, rng))
        targets = self._targets[torch.as_tensor(batch, device=self._source.device)]
        loss = devices.batch_weight(rows) * cross_entropy(logits, targets)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        metrics = devices.average_gradients((self.network,), {"loss": loss})
        self._optimiser.step()
        self.ema_network.update_parameters(self.network)
        return metrics

    def evaluate(self, rows: np.ndarray) -> dict[str, float]:
        """Return the validation loss (cross-entropy) and accuracy of the EMA network on whole clips."""
        return watch.score_probabilities(self.probabilities(rows), self._targets.cpu().numpy()[rows])

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Return the class probabilities (B, K) of whole clips."""
        network: ClipClassifier = self.ema_network.module.eval()
        batches = self._source.batches(rows, EVALUATION_BATCH)
        with precision.evaluation():
            parts = [network.probabilities(self._source.batch(batch)).cpu() for batch in batches]
        probabilities: np.ndarray = torch.cat(parts).numpy()
        return probabilities

    def state_dict(self) -> dict[str, Any]:
        """Return the state dicts of the network, its EMA copy and the optimiser; the training loop saves `rng`."""
        networks = {"network": self.network.state_dict(), "averaged": self.ema_network.state_dict()}
        return {**networks, "optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.ema_network.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
