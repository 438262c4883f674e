"""Training of the classifiers by Adam on the cross-entropy.

B clips, F bins, T frames, K composers, C chunks of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from symphony2vec.models.classifiers import networks
from symphony2vec.models.training import loop, precision
from symphony2vec.models.training.source import Source
from symphony2vec.params import Lstm, Network
from symphony2vec.tracking import Subject

AT_ONCE = 256


class ClassifierLearner:
    """One classifier. An LSTM learns from chunks, each with its clip's composer; all others from whole clips."""

    def __init__(
        self, subject: Subject, source: Source, codes: np.ndarray, composers: int, settings: Network, seed: int
    ) -> None:
        self._source, self._codes = source, torch.as_tensor(codes, device=source.device)
        self.build = _build(subject, source.shape, composers, settings)
        self.network = loop.started(lambda: networks.Classifier(**self.build["arguments"]), seed, source.device)
        self.rng = torch.Generator(source.device).manual_seed(seed)
        self._optimiser = loop.adam(self.network, settings)

    def step(self, rows: np.ndarray) -> Mapping[str, Tensor]:
        """One update on the clips of these rows."""
        self.network.train()
        loss = self._loss(rows)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        return {"loss": loss.detach()}

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """Loss and accuracy on other clips (of an LSTM the accuracy of its votes)."""
        self.network.eval()
        total = 0.0
        with precision.evaluation():
            for part in self._source.batches(rows, AT_ONCE):
                total += float(self._loss(part)) * len(part)
        named = self.probabilities(rows)[0].argmax(axis=1)
        right = (named == self._codes.cpu().numpy()[rows]).mean()
        return {"validation_loss": total / len(rows), "validation_accuracy": float(right)}

    def probabilities(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Of these rows (B, K), and of their chunks (B, C, K) where there are any."""
        self.network.eval()
        with precision.evaluation():
            parts = self._source.batches(rows, AT_ONCE)
            every = torch.cat([self.network(self._source.batch(part)).softmax(dim=2).cpu() for part in parts]).numpy()
        chunked = self.network.chunk_frames > 0
        return (networks.vote(every).astype(np.float32), every) if chunked else (every[:, 0], None)

    def state(self) -> dict[str, Any]:
        """Weights and optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _loss(self, rows: np.ndarray) -> Tensor:
        """Cross-entropy of clips, or of all their chunks."""
        logits = self.network(self._source.batch(rows))
        codes = self._codes[torch.as_tensor(rows, device=self._source.device)]
        return cross_entropy(logits.flatten(0, 1), codes.repeat_interleave(logits.shape[1]))


def _build(subject: Subject, shape: tuple[int, int], composers: int, settings: Network) -> dict[str, Any]:
    """How the network is made again: see `symphony2vec.package.contents`."""
    arguments = {
        "kind": subject.model,
        "representation": subject.representation,
        "shape": list(shape),
        "composers": composers,
        "chunk_frames": settings.chunk_frames if isinstance(settings, Lstm) else 0,
    }
    return {"module": networks.__name__, "name": "Classifier", "arguments": arguments, "method": "probabilities"}
