"""Full float32 precision while a model is evaluated on a GPU.

cuDNN rounds the operands of float32 convolutions and recurrent layers to TF32, which has a mantissa of 10 bits. That is
good enough for training, but a vector should be the same on every device. Matrix products use full float32 by default.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_evaluations = 0  # running now, in all threads
_tf32_before = True  # cuDNN's setting when the first of them started


@contextmanager
def evaluation() -> Iterator[None]:
    """Disable gradients and TF32 inside the block; cuDNN's setting is restored after the last evaluation."""
    with torch.inference_mode():
        if not torch.cuda.is_available():
            yield
            return
        _disable_tf32()
        try:
            yield
        finally:
            _restore_tf32()


def _disable_tf32() -> None:
    global _evaluations, _tf32_before
    with _lock:
        if not _evaluations:
            _tf32_before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
        _evaluations += 1


def _restore_tf32() -> None:
    global _evaluations
    with _lock:
        _evaluations -= 1
        if not _evaluations:
            torch.backends.cudnn.allow_tf32 = _tf32_before
