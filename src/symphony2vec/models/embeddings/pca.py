"""PCA that is fitted in batches, and its projection as a network.

B clips, D latent dimensions; `values` = F T of a flattened clip of F bins and T frames.
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
    """Fit principal components to flattened clips.

    The PCA is incremental (Ross et al. 2008), so its memory does not grow with the corpus; with a single batch it is
    exact.

    Args:
        batches: the clips, in batches (b, F T).
        clips: number of all clips.
        settings: D and the batch size.

    Raises:
        UserError: there are fewer clips than dimensions, or the batches are too small.
    """
    if clips < settings.dimensions:
        raise UserError(
            f"params.yaml: embeddings.dimensions must be at most {clips}, the number of training clips "
            f"(got {settings.dimensions}); lower it or add music"
        )
    if settings.pca.batch_clips < 2 * settings.dimensions:
        raise UserError(
            f"params.yaml: embeddings.pca.batch_clips must be at least {2 * settings.dimensions} with "
            f"{settings.dimensions} dimensions (got {settings.pca.batch_clips})"
        )
    pca = IncrementalPCA(n_components=settings.dimensions)
    for batch in tqdm(batches, desc="pca", unit="batch", total=-(-clips // settings.pca.batch_clips)):
        pca.partial_fit(batch)
    return pca


class Projection(nn.Module):
    """The projection of x (B, values) to principal components (B, D). Packages store its constructor arguments.

    Examples:
        >>> tuple(Projection(values=60, dimensions=5).encode(torch.zeros(2, 60)).shape)
        (2, 5)
    """

    def __init__(self, values: int, dimensions: int) -> None:
        super().__init__()
        self.arguments = {"values": values, "dimensions": dimensions}
        self.register_buffer("components", torch.zeros(dimensions, values))
        self.register_buffer("mean", torch.zeros(values))

    @classmethod
    def from_pca(cls, model: IncrementalPCA) -> Projection:
        """Return the projection of a fitted PCA."""
        dimensions, values = model.components_.shape
        projection = cls(values, dimensions)
        weights: dict[str, Any] = {"components": model.components_, "mean": model.mean_}
        projection.load_state_dict({name: torch.from_numpy(np.float32(value)) for name, value in weights.items()})
        return projection

    def encode(self, x: Tensor) -> Tensor:
        """Return the principal components (B, D) of x (B, values)."""
        return (x - self.get_buffer("mean")) @ self.get_buffer("components").T
