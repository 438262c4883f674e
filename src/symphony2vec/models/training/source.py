"""The clips as a network takes them: scaled, in batches, on its device.

Where the scaled array fits, it is held on the device whole; a larger one is read from its memory-mapped file batch by
batch. B clips, F bins, T frames.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from symphony2vec.package.scaling import Scaling

HELD_BYTES = 2 * 1024**3


class Source:
    """The scaled clips of one representation.

    Args:
        array: (clips, F, T), memory-mapped.
        scaling: of the bins.
        device: where the batches are wanted.
    """

    def __init__(self, array: np.ndarray, scaling: Scaling, device: torch.device) -> None:
        self._array, self._scaling, self.device = array, scaling, device
        self._held = self._read(np.arange(len(array))) if array.nbytes <= HELD_BYTES else None
        self.shape: tuple[int, int] = (int(array.shape[1]), int(array.shape[2]))

    def batch(self, rows: np.ndarray) -> Tensor:
        """The clips of these rows: (B, F, T) float32."""
        if self._held is not None:
            return self._held[self._places(rows)]
        return self._read(rows)

    def batches(self, rows: np.ndarray, at_once: int = 256) -> list[np.ndarray]:
        """The rows in order, in parts small enough for one pass."""
        return np.array_split(rows, max(1, -(-len(rows) // at_once)))

    def _places(self, rows: np.ndarray) -> Tensor:
        """The rows as an index on the device; the copy to a GPU does not wait for the kernels in its queue."""
        places = torch.as_tensor(rows)
        return places.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else places

    def _read(self, rows: np.ndarray) -> Tensor:
        scaled = np.empty((len(rows), *self._array.shape[1:]), dtype=np.float32)
        for start in range(0, len(rows), 256):
            part = slice(start, start + 256)
            scaled[part] = self._scaling.apply(self._array[rows[part]])
        return torch.from_numpy(scaled).to(self.device)
