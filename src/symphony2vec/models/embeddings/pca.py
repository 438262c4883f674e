"""PCA in batches, and as a network that projects.

B clips, D latent dimensions; `values` = F T of a flattened clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import IncrementalPCA
from torch import Tensor, nn
from tqdm import tqdm

from symphony2vec.errors import UserError
from symphony2vec.params import Embeddings


def fit(batches: Iterator[np.ndarray], clips: int, settings: Embeddings) -> IncrementalPCA:
    """Principal components of `clips` flattened clips (b, F T), given in batches.

    The PCA is incremental (Ross et al. 2008), so that memory does not grow with the corpus; with a single batch it is
    exact.
    """
    if clips < settings.dimensions:
        raise UserError(
            f"embeddings.dimensions is {settings.dimensions}, but there are only {clips} training clips; "
            "lower it or add music"
        )
    if settings.pca.batch_clips < 2 * settings.dimensions:
        raise UserError(
            f"embeddings.pca.batch_clips is {settings.pca.batch_clips}; "
            f"with {settings.dimensions} dimensions it must be {2 * settings.dimensions} or more"
        )
    pca = IncrementalPCA(n_components=settings.dimensions)
    for batch in tqdm(batches, desc="pca", unit="batch", total=-(-clips // settings.pca.batch_clips)):
        pca.partial_fit(batch)
    return pca


class Projection(nn.Module):
    """x (B, values) to its principal components (B, D)."""

    def __init__(self, values: int, dimensions: int) -> None:
        super().__init__()
        self.arguments = {"values": values, "dimensions": dimensions}
        self.register_buffer("components", torch.zeros(dimensions, values))
        self.register_buffer("mean", torch.zeros(values))

    @classmethod
    def of(cls, fitted: IncrementalPCA) -> Projection:
        """The projection that a fitted PCA is."""
        dimensions, values = fitted.components_.shape
        made = cls(values, dimensions)
        weights: dict[str, Any] = {"components": fitted.components_, "mean": fitted.mean_}
        made.load_state_dict({name: torch.from_numpy(np.float32(value)) for name, value in weights.items()})
        return made

    def encode(self, x: Tensor) -> Tensor:
        """X (B, values) to (B, D)."""
        return (x - self.get_buffer("mean")) @ self.get_buffer("components").T
