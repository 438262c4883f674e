"""What a package holds, how it is logged with a run, and how it is read back."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from symphony2vec.audio.loudness import LoudnessTarget
from symphony2vec.errors import UserError
from symphony2vec.features.representations import Recipe
from symphony2vec.package.head import Head
from symphony2vec.package.model import Hearing, Model
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import Features

if TYPE_CHECKING:
    pass

M = TypeVar("M", bound=Model)
FORMAT = 2  # 1 took spectrograms
CONFIG, WEIGHTS, EXAMPLE, GOLDEN, HEAD = "config.json", "weights.safetensors", "example.flac", "golden.npy", "head.json"
CARD = "card.md"
# Packages of earlier versions name their network by its former place.
RENAMED = {"draw": "fold", "reading": "readout"}  # keys of config.json in earlier versions
MOVED = re.compile(r"^symphony2vec\.(?=(ali|classifiers|embeddings|temporal)\.)")
# What the reading of a package that is not as it was written raises.
DAMAGE = (ImportError, AttributeError, LookupError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)


@dataclass(frozen=True)
class Config:
    """What config.json says.

    subject: stage, model, representation, fold; readout; build: how the network is made again and asked: module, name,
    arguments, method (takes (B, F, T), or with "flatten" (B, F T), and gives (B, D)), crop (where it takes the middle
    crop alone); scaling; hearing; composers; data: what it was trained on, for the card.
    """

    subject: Mapping[str, str]
    readout: str
    build: Mapping[str, Any]
    scaling: Mapping[str, Any]
    hearing: Mapping[str, Any]
    composers: list[str]
    data: Mapping[str, Any]
    format: int = FORMAT

    @property
    def name(self) -> str:
        """For people, as in "vae-mel work-0"."""
        readout = f" {self.readout}" if self.readout else ""
        return f"{self.subject['model']}-{self.subject['representation']}{readout} {self.subject['fold']}"

    @property
    def gives_vectors(self) -> bool:
        """False of a classifier, which gives the probabilities of its composers."""
        return not str(self.build["method"]).startswith("probabilities")


def folder_name(readout: str) -> str:
    """The artifact folder of a run that holds the package of one readout."""
    return f"model-{readout}" if readout else "model"


def read(folder: Path, kind: type[M]) -> M:
    """The model of a package.

    Args:
        folder: the package, or the folder of its artifacts.
        kind: the class that is made: `Model`, or one that builds on it.

    Raises:
        UserError: the folder holds no package, one of another version, or a damaged one.
    """
    inside = folder / "artifacts" if (folder / "artifacts" / CONFIG).is_file() else folder
    if not (inside / CONFIG).is_file():
        raise UserError(f"{folder} holds no model of symphony2vec: artifacts/{CONFIG} is missing")
    try:
        plain = json.loads((inside / CONFIG).read_text(encoding="utf-8"))
        if plain.get("format") != FORMAT:
            raise UserError(
                f"{folder} was made by another version of symphony2vec (format {plain.get('format', 1)}, this one "
                f"reads {FORMAT}); train it again, or install the version that made it"
            )
        subject = {RENAMED.get(key, key): value for key, value in plain["subject"].items()}
        config = Config(**{RENAMED.get(key, key): value for key, value in plain.items()} | {"subject": subject})
        network = _network(config.build)
        network.load_state_dict(load_file(inside / WEIGHTS))
        return kind(
            network,
            config.build,
            Scaling.from_plain(config.scaling),
            frontend(config),
            _head(inside / HEAD),
            config.name,
            _fingerprint(inside, plain),
            config.composers if not config.gives_vectors else None,
        )
    except DAMAGE as fault:
        raise UserError(
            f"{folder}: the model cannot be made again ({_first_line(fault)}); it is damaged, or of another version"
        ) from None


def _network(build: Mapping[str, Any]) -> nn.Module:
    """The network that a package describes, untrained. Only networks of symphony2vec are made: no package runs code."""
    module = re.sub(
        r"^symphony2vec\.(?=(ali|classifiers|embeddings|temporal)\.)", "symphony2vec.models.", build["module"]
    )
    if not module.startswith("symphony2vec."):
        raise ImportError(f"{module} is not a module of symphony2vec")
    kind = getattr(importlib.import_module(module), build["name"])
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"{module}.{build['name']} is not a network")
    return kind(**build["arguments"])


def _first_line(fault: Exception) -> str:
    if isinstance(fault, KeyError):
        return f"{fault} is missing"
    return (str(fault).splitlines() or [type(fault).__name__])[0]


def frontend(config: Config) -> Hearing:
    """Return the frontend that a config describes."""
    own = config.hearing
    recipe = Recipe(own["sample_rate_hz"], own["duration_s"], Features(**own["features"]))
    return Hearing(recipe, own["representation"], LoudnessTarget(**own["level"]), own["minimum_fill"])


def _head(path: Path) -> Head | None:
    return Head.from_plain(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _fingerprint(inside: Path, plain: Mapping[str, Any]) -> str:
    decides = {name: plain[name] for name in ("build", "scaling", "hearing")}
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
    with (inside / WEIGHTS).open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
