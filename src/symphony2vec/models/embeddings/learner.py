"""Training of AE, CAE and VAE by Adam.

B clips, D latent dimensions; `values` = F T of a flattened clip of F bins and T frames, scaled to [-1, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from symphony2vec.models.embeddings import losses, networks
from symphony2vec.models.training import loop, precision
from symphony2vec.models.training.source import Source
from symphony2vec.params import Contractive, Network

BATCH = 256  # clips of a pass without gradients


class AutoencoderLearner(loop.NetworkLearner[networks.Autoencoder | networks.VariationalAutoencoder]):
    """An autoencoder and its training.

    Args:
        kind: ae, cae or vae.
        source: the scaled clips.
        dimensions: D.
        settings: settings of Adam, and of a cae the weight of its penalty.
        seed: of the weights and of the noise.
    """

    def __init__(self, kind: str, source: Source, dimensions: int, settings: Network, seed: int) -> None:
        self._kind, self._dimensions, self._settings = kind, dimensions, settings
        self._values = source.shape[0] * source.shape[1]
        create = networks.VariationalAutoencoder if kind == "vae" else networks.Autoencoder
        super().__init__(source, lambda: create(self._values, dimensions), settings, seed)

    @property
    def build(self) -> dict[str, Any]:
        """How a package builds the encoder: see `symphony2vec.package.contents.Config`."""
        return {
            "module": networks.__name__,
            "name": "Encoder",
            "arguments": {
                "values": self._values,
                "dimensions": self._dimensions,
                "variational": self._kind == "vae",
            },
            "method": "encode",
            "flatten": True,
        }

    def batch_losses(self, rows: np.ndarray, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the loss of these clips (B,) and its terms as scalars."""
        x = self._source.batch(rows).flatten(1)
        if isinstance(self.network, networks.VariationalAutoencoder):
            x_hat, mean, log_variance = self.network(x, rng)
            return {"loss": losses.elbo_loss(x, x_hat, mean, log_variance), "kl": losses.kl(mean, log_variance)}
        x_hat, _ = self.network(x)
        error = losses.mean_squared_error(x, x_hat)
        if not isinstance(self._settings, Contractive):
            return {"loss": error}
        penalty = losses.contractive(self.network.encoder, x, rng)
        return {"loss": error + self._settings.contraction * penalty, "contraction": penalty}

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """Return the losses on other clips, as validation_<loss>; each call uses the same noise."""
        self.network.eval()
        rng = torch.Generator(self._source.device).manual_seed(0)
        total: dict[str, float] = {}
        with torch.no_grad():
            for part in self._source.batches(rows, BATCH):
                for name, loss in self.batch_losses(part, rng).items():
                    total[name] = total.get(name, 0.0) + float(loss) * len(part) / len(rows)
        return {f"validation_{name}": value for name, value in total.items()}

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors (B, D) of these clips: the code, or the mean of a VAE."""
        self.network.eval()
        return self._source.apply(lambda x: self.network.encode(x.flatten(1)), rows, BATCH)

    def reconstruct(self, rows: np.ndarray) -> np.ndarray:
        """Return the reconstructions (B, F, T) of these clips, in [-1, 1]."""
        self.network.eval()
        flat = self._source.apply(lambda x: self.network.decode(self.network.encode(x.flatten(1))), rows, BATCH)
        return flat.reshape(len(rows), *self._source.shape)

    def generate(self, z: np.ndarray) -> np.ndarray:
        """Return the clips (B, F, T) in [-1, 1] that the decoder generates from codes (B, D)."""
        self.network.eval()
        with precision.evaluation():
            codes = torch.from_numpy(np.asarray(z, dtype=np.float32)).to(self._source.device)
            flat: np.ndarray = self.network.decode(codes).cpu().numpy()
        return flat.reshape(len(z), *self._source.shape)
