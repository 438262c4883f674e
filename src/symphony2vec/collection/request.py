"""What to embed with: the model and the form of the vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from symphony2vec.errors import UserError
from symphony2vec.package.model import FORMS, HOP_S


class LoadedModel(Protocol):
    """What other processes need to know of a model to embed with it; see `symphony2vec.embedder.Embedder`."""

    folder: Path
    source: str
    name: str
    fingerprint: str
    duration_s: float


@dataclass(frozen=True)
class EmbeddingRequest:
    """The model to embed with (the folder of its package, its source, name, fingerprint), and the form."""

    package: Path
    source: str
    name: str
    fingerprint: str
    form: str
    hop_s: float | None

    @classmethod
    def for_model(cls, loaded: LoadedModel, form: str, hop_s: float | None) -> EmbeddingRequest:
        """Return the request for a loaded model; only timestamps have a hop, by default 0.5 s.

        Raises:
            UserError: the form is unknown, or the hop is invalid.
        """
        if form not in FORMS:
            raise UserError(f"unknown form '{form}'; choose one of {', '.join(FORMS)}")
        if form != "timestamps" and hop_s is not None:
            raise UserError(f"a hop applies to the form timestamps only, not to {form}")
        if form == "timestamps":
            hop_s = HOP_S if hop_s is None else hop_s
            if not 0.0 < hop_s <= loaded.duration_s:
                raise UserError(f"a hop of {hop_s:g} s: expected at most the model's window, {loaded.duration_s:g} s")
        return cls(loaded.folder, loaded.source, loaded.name, loaded.fingerprint, form, hop_s)
