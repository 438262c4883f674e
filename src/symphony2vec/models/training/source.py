"""Clips as network input: scaled, in batches, on the device of the network.

A scaled array that is small enough is kept on the device; a larger one is read from its memory-mapped file batch by
batch. B clips, F bins, T frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from symphony2vec.models.training import precision
from symphony2vec.package.scaling import Scaling

CACHE_BYTES = 2 * 1024**3  # a larger array is read from its file
CLIPS_PER_READ = 256


class Source:
    """The scaled clips of one representation.

    Args:
        array: (clips, F, T), in memory or memory-mapped.
        scaling: scaling of the bins.
        device: device of the batches.

    Examples:
        >>> from symphony2vec.package.scaling import unit
        >>> source = Source(np.zeros((8, 4, 10), np.float32), unit("mel", 4, 80.0), torch.device("cpu"))
        >>> tuple(source.batch(np.array([0, 3])).shape)
        (2, 4, 10)
    """

    def __init__(self, array: np.ndarray, scaling: Scaling, device: torch.device) -> None:
        self._array, self._scaling, self.device = array, scaling, device
        self._cache = self._read(np.arange(len(array))) if array.nbytes <= CACHE_BYTES else None
        self.shape: tuple[int, int] = (int(array.shape[1]), int(array.shape[2]))

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return the clips of these rows: (B, F, T) float32."""
        if self._cache is not None:
            return self._cache[self._index(rows)]
        return self._read(rows)

    def batches(self, rows: np.ndarray, batch_size: int = 256) -> list[np.ndarray]:
        """Split rows, in their order, into parts of at most `batch_size` rows."""
        return np.array_split(rows, max(1, -(-len(rows) // batch_size)))

    def apply(self, function: Callable[[Tensor], Tensor], rows: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Apply a function to these clips, batch by batch, without gradients and in full float32 precision.

        Args:
            function: (b, F, T) -> (b, ...) on the device.
            rows: (B,) rows of clips.
            batch_size: clips of a batch, at most.

        Returns:
            (B, ...) float32, on the CPU.
        """
        with precision.evaluation():
            outputs = [function(self.batch(part)).float().cpu() for part in self.batches(rows, batch_size)]
        values: np.ndarray = torch.cat(outputs).numpy()
        return values

    def _index(self, rows: np.ndarray) -> Tensor:
        """Return the rows as an index on the device; a copy to a GPU does not wait for the kernels in its queue."""
        index = torch.as_tensor(rows)
        return index.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else index

    def _read(self, rows: np.ndarray) -> Tensor:
        scaled = np.empty((len(rows), *self._array.shape[1:]), dtype=np.float32)
        for start in range(0, len(rows), CLIPS_PER_READ):
            part = slice(start, start + CLIPS_PER_READ)
            scaled[part] = self._scaling.apply(self._array[rows[part]])
        return torch.from_numpy(scaled).to(self.device)
