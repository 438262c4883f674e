"""symphony2vec: embeddings of orchestral audio, from scores or recordings to a probed vector for every clip.

from symphony2vec import Embedder

Embedder.load("champion").embed_file("symphony.flac").vectors
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symphony2vec.embedder import Embedder, Embedding

__all__ = ["Embedder", "Embedding", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the public API when it is first used: it brings torch, which most commands do without."""
    if name in ("Embedder", "Embedding"):
        from symphony2vec import embedder

        return getattr(embedder, name)
    raise AttributeError(f"module 'symphony2vec' has no attribute '{name}'")
