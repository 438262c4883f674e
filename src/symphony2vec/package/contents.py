"""The files of a package, and how a model is loaded from them."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from symphony2vec.audio.loudness import LoudnessTarget
from symphony2vec.errors import UserError
from symphony2vec.features.representations import Recipe
from symphony2vec.package.head import Head
from symphony2vec.package.model import Frontend, Model
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import Features

M = TypeVar("M", bound=Model)
FORMAT = 2  # format 1 took spectrograms
CONFIG, WEIGHTS, EXAMPLE, GOLDEN, HEAD = "config.json", "weights.safetensors", "example.flac", "golden.npy", "head.json"
CARD = "card.md"
RENAMED = {"draw": "fold", "reading": "readout", "hearing": "frontend"}  # keys of config.json in earlier versions
MOVED = re.compile(r"^symphony2vec\.(?=(ali|classifiers|embeddings|temporal)\.)")  # networks in earlier versions
# The exceptions that reading a damaged package can raise.
DAMAGE = (ImportError, AttributeError, LookupError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)


@dataclass(frozen=True)
class Config:
    """The contents of config.json.

    Attributes:
        subject: stage, model, representation, fold.
        readout: the name of the readout, "" for the main one.
        build: how the network is built and called: module, name, arguments, method (maps (B, F, T), or with "flatten"
            (B, F T), to (B, D)), crop (the bands of the middle crop, for networks that see only that).
        scaling: see `Scaling.as_plain`.
        frontend: see `Frontend`.
        composers: the classes.
        data: what the network was trained on, for the card.
    """

    subject: Mapping[str, str]
    readout: str
    build: Mapping[str, Any]
    scaling: Mapping[str, Any]
    frontend: Mapping[str, Any]
    composers: list[str]
    data: Mapping[str, Any]
    format: int = FORMAT

    @property
    def name(self) -> str:
        """The display name, such as "vae-mel work-0"."""
        readout = f" {self.readout}" if self.readout else ""
        return f"{self.subject['model']}-{self.subject['representation']}{readout} {self.subject['fold']}"

    @property
    def is_classifier(self) -> bool:
        """Return whether the network outputs probabilities of its composers, and no vectors."""
        return str(self.build["method"]).startswith("probabilities")


def folder_name(readout: str) -> str:
    """Return the artifact folder that holds the package of a readout.

    Examples:
        >>> folder_name(""), folder_name("crops")
        ('model', 'model-crops')
    """
    return f"model-{readout}" if readout else "model"


def rename_keys(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of config.json with the keys of earlier versions renamed to those of `Config`.

    Examples:
        >>> rename_keys({"reading": "crops", "subject": {"draw": "work-0"}})
        {'readout': 'crops', 'subject': {'fold': 'work-0'}}
    """
    renamed = {RENAMED.get(key, key): value for key, value in plain.items()}
    if "subject" in renamed:
        renamed["subject"] = {RENAMED.get(key, key): value for key, value in renamed["subject"].items()}
    return renamed


def read(folder: Path, kind: type[M]) -> M:
    """Load the model of a package.

    Args:
        folder: the package, or the folder of its artifacts.
        kind: the class to instantiate: `Model` or a subclass.

    Raises:
        UserError: the folder holds no package, one of another version, or a damaged one.
    """
    artifacts = folder / "artifacts" if (folder / "artifacts" / CONFIG).is_file() else folder
    if not (artifacts / CONFIG).is_file():
        raise UserError(f"{folder} holds no model of symphony2vec: artifacts/{CONFIG} is missing")
    try:
        plain = json.loads((artifacts / CONFIG).read_text(encoding="utf-8"))
        if plain.get("format") != FORMAT:
            raise UserError(
                f"{folder} was made by another version of symphony2vec (format {plain.get('format', 1)}, this one "
                f"reads {FORMAT}); train it again, or install the version that made it"
            )
        config = Config(**rename_keys(plain))
        network = _build_network(config.build)
        network.load_state_dict(load_file(artifacts / WEIGHTS))
        return kind(
            network,
            config.build,
            Scaling.from_plain(config.scaling),
            build_frontend(config),
            _read_head(artifacts / HEAD),
            config.name,
            _fingerprint(config, artifacts / WEIGHTS),
            config.composers if config.is_classifier else None,
        )
    except DAMAGE as error:
        raise UserError(
            f"{folder}: the model cannot be loaded ({_first_line(error)}); it is damaged, or of another version"
        ) from None


def build_frontend(config: Config) -> Frontend:
    """Return the frontend that a config describes."""
    plain = config.frontend
    recipe = Recipe(plain["sample_rate_hz"], plain["duration_s"], Features(**plain["features"]))
    return Frontend(recipe, plain["representation"], LoudnessTarget(**plain["level"]), plain["minimum_fill"])


def _build_network(build: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network. Only networks of symphony2vec are instantiated: a package cannot run other code."""
    module = MOVED.sub("symphony2vec.models.", build["module"])
    if not module.startswith("symphony2vec."):
        raise ImportError(f"{module} is not a module of symphony2vec")
    kind = getattr(importlib.import_module(module), build["name"])
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"{module}.{build['name']} is not a network")
    return kind(**build["arguments"])


def _read_head(path: Path) -> Head | None:
    return Head.from_plain(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _fingerprint(config: Config, weights: Path) -> str:
    """Return a digest of all that determines the vectors, under the labels of format 2."""
    labelled = {"build": config.build, "scaling": config.scaling, "hearing": config.frontend}
    digest = hashlib.sha256(json.dumps(labelled, sort_keys=True).encode())
    with weights.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return (str(error).splitlines() or [type(error).__name__])[0]
