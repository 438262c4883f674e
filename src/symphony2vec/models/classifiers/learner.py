"""Training of the classifiers by Adam on the cross-entropy.

B clips, F bins, T frames, K composers, C chunks of a clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from symphony2vec.models.classifiers import networks
from symphony2vec.models.training import loop, precision
from symphony2vec.models.training.source import Source
from symphony2vec.params import Lstm, Network
from symphony2vec.tracking import RunIdentity

BATCH = 256  # clips of a pass without gradients


class ClassifierLearner(loop.NetworkLearner[networks.Classifier]):
    """A classifier and its training. An LSTM is trained on chunks with the composer of their clip, others on clips.

    Args:
        identity: its model and representation.
        source: the scaled clips.
        codes: (clips,) composers as integers.
        composers: K.
        settings: settings of Adam, and of an LSTM the length of its chunks.
        seed: of the weights.
    """

    def __init__(
        self, identity: RunIdentity, source: Source, codes: np.ndarray, composers: int, settings: Network, seed: int
    ) -> None:
        arguments: dict[str, Any] = {
            "kind": identity.model,
            "representation": identity.representation,
            "shape": list(source.shape),
            "composers": composers,
            "chunk_frames": settings.chunk_frames if isinstance(settings, Lstm) else 0,
        }
        # How a package builds the network: see `symphony2vec.package.contents.Config`.
        self.build: dict[str, Any] = {
            "module": networks.__name__,
            "name": "Classifier",
            "arguments": arguments,
            "method": "probabilities",
        }
        self._codes = torch.as_tensor(codes, device=source.device)
        super().__init__(source, lambda: networks.Classifier(**arguments), settings, seed)

    def batch_losses(self, rows: np.ndarray, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the cross-entropy on these clips (B,), or on all their chunks."""
        return {"loss": self._loss(rows)}

    def losses(self, rows: np.ndarray) -> dict[str, float]:
        """Return cross-entropy and accuracy on other clips; of an LSTM the accuracy is that of its votes."""
        self.network.eval()
        total = 0.0
        with precision.evaluation():
            for part in self._source.batches(rows, BATCH):
                total += float(self._loss(part)) * len(part)
        predictions = self.probabilities(rows)[0].argmax(axis=1)
        accuracy = (predictions == self._codes.cpu().numpy()[rows]).mean()
        return {"validation_loss": total / len(rows), "validation_accuracy": float(accuracy)}

    def probabilities(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the probabilities (B, K) of these clips, and of an LSTM those of their chunks (B, C, K)."""
        self.network.eval()
        chunks = self._source.apply(lambda x: self.network(x).softmax(dim=2), rows, BATCH)
        if self.network.chunk_frames:
            return networks.vote(torch.from_numpy(chunks)).float().numpy(), chunks
        return chunks[:, 0], None

    def _loss(self, rows: np.ndarray) -> Tensor:
        logits = self.network(self._source.batch(rows))
        codes = self._codes[torch.as_tensor(rows, device=self._source.device)]
        return cross_entropy(logits.flatten(0, 1), codes.repeat_interleave(logits.shape[1]))
