"""Training of AE, CAE and VAE by Adam.

B clips, D latent dimensions; `values` = F T of a flattened clip, scaled to [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symphony2vec.models.embeddings import losses, networks
from symphony2vec.models.training import loop
from symphony2vec.models.training.source import Source
from symphony2vec.params import Contractive, Network

AT_ONCE = 256


class AutoencoderLearner:
    """One autoencoder: `kind` is ae, cae or vae."""

    def __init__(self, kind: str, source: Source, dimensions: int, settings: Network, seed: int) -> None:
        self._kind, self._source, self._dimensions, self._settings = kind, source, dimensions, settings
        self._values = source.shape[0] * source.shape[1]
        make = networks.VariationalAutoencoder if kind == "vae" else networks.Autoencoder
        self.network: networks.Autoencoder | networks.VariationalAutoencoder = loop.started(
            lambda: make(self._values, dimensions), seed, source.device
        )
        self.rng = torch.Generator(source.device).manual_seed(seed)
        self._optimiser = loop.adam(self.network, settings)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the curves that are losses."""
        terms = {"ae": (), "cae": ("contraction",), "vae": ("kl",)}[self._kind]
        return tuple(f"{side}_{name}" for name in ("loss", *terms) for side in ("train", "validation"))

    @property
    def build(self) -> dict[str, Any]:
        """How the encoder is made again from its weights."""
        arguments = {"values": self._values, "dimensions": self._dimensions, "variational": self._kind == "vae"}
        return {
            "module": networks.__name__,
            "name": "Encoder",
            "arguments": arguments,
            "method": "encode",
            "flatten": True,
        }

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """One update on the clips of these rows."""
        self.network.train()
        found = self._losses(self._source.batch(rows).flatten(1), self.rng)
        self._optimiser.zero_grad(set_to_none=True)
        found["loss"].backward()
        self._optimiser.step()
        return {name: value.detach() for name, value in found.items()}

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """The losses on other clips, as validation_<loss>; the same noise at every call."""
        self.network.eval()
        generator = torch.Generator(self._source.device).manual_seed(0)
        total: dict[str, float] = {}
        with torch.no_grad():
            for part in self._source.batches(rows, AT_ONCE):
                found = self._losses(self._source.batch(part).flatten(1), generator)
                for name, value in found.items():
                    total[name] = total.get(name, 0.0) + float(value) * len(part) / len(rows)
        return {f"validation_{name}": value for name, value in total.items()}

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """The vectors (B, D) of these rows; of the VAE the mean."""
        return self._collected(rows, self.network.encode)

    def reconstruct(self, rows: np.ndarray) -> np.ndarray:
        """What comes back of these rows: (B, F, T) in [-1, 1]."""
        flat = self._collected(rows, lambda x: self.network.decode(self.network.encode(x)))
        return flat.reshape(len(rows), *self._source.shape)

    def generate(self, codes: np.ndarray) -> np.ndarray:
        """What the decoder makes of codes (B, D): (B, F, T) in [-1, 1]."""
        self.network.eval()
        with torch.inference_mode():
            z = torch.from_numpy(np.asarray(codes, dtype=np.float32)).to(self._source.device)
            flat: np.ndarray = self.network.decode(z).cpu().numpy()
        return flat.reshape(len(codes), *self._source.shape)

    def state(self) -> dict[str, Any]:
        """Weights and optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _losses(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if isinstance(self.network, networks.VariationalAutoencoder):
            x_hat, mean, log_variance = self.network(x, generator)
            return {"loss": losses.elbo_loss(x, x_hat, mean, log_variance), "kl": losses.kl(mean, log_variance)}
        x_hat, _ = self.network(x)
        error = losses.mean_squared_error(x, x_hat)
        if not isinstance(self._settings, Contractive):
            return {"loss": error}
        penalty = losses.contractive(self.network.encoder, x, generator)
        return {"loss": error + self._settings.contraction * penalty, "contraction": penalty}

    def _collected(self, rows: np.ndarray, through: Any) -> np.ndarray:
        self.network.eval()
        with torch.inference_mode():
            parts = [through(self._source.batch(part).flatten(1)).cpu() for part in self._source.batches(rows, AT_ONCE)]
        found: np.ndarray = torch.cat(parts).numpy()
        return found
