"""The files of a package, and how a model is loaded from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from symphony2vec import extras
from symphony2vec.audio.loudness import LoudnessTarget
from symphony2vec.errors import UserError
from symphony2vec.features.recipe import Recipe
from symphony2vec.package.attributes import Attribute
from symphony2vec.package.head import Head
from symphony2vec.package.model import Frontend, Model
from symphony2vec.package.scaling import CROP, Scaling
from symphony2vec.package.session import OnnxNetwork
from symphony2vec.params import Features

M = TypeVar("M", bound=Model)
PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"  # the models that are installed with symphony2vec
FORMAT = 2  # format 1 took spectrograms
CONFIG, WEIGHTS, EXAMPLE, GOLDEN, HEAD = "config.json", "weights.safetensors", "example.flac", "golden.npy", "head.json"
CARD, ONNX, ATTRIBUTES = "card.md", "model.onnx", "attributes.json"
RENAMED = {"draw": "fold", "reading": "readout", "hearing": "frontend"}  # keys of config.json in earlier versions
# The exceptions that reading a damaged package can raise.
DAMAGE = (ImportError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Config:
    """The contents of config.json.

    Attributes:
        subject: stage, model, representation, and fold, which is "" for a model that is installed with symphony2vec.
        readout: the name of the readout, "" for the main one.
        build: how the network is built and called: module, name, arguments, method (maps (B, F, T), or with "flatten"
            (B, F T), to (B, D)), crop (the bands of the middle crop, for networks that see only that).
        scaling: see `Scaling.as_plain`.
        frontend: see `Frontend`.
        composers: the classes.
        data: what the network was trained on, for the card; of a model that is installed with symphony2vec also
            "fold", and "works": composer and title of each training work.
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
        entry = f"{self.subject['model']}-{self.subject['representation']}"
        return " ".join(part for part in (entry, self.readout, self.subject["fold"]) if part)

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


def read(folder: Path, kind: type[M], network: Callable[[np.ndarray], np.ndarray] | None = None) -> M:
    """Load the model of a package.

    Args:
        folder: the package, or the folder of its artifacts.
        kind: the class to instantiate: `Model` or a subclass.
        network: in place of the one that the package holds.

    Raises:
        UserError: the folder holds no package, one of another version, or a damaged one.
    """
    artifacts = _artifacts(folder)
    try:
        config = read_config(folder)
        return kind(
            _load_network(artifacts, config) if network is None else network,
            config.build,
            Scaling.from_plain(config.scaling),
            build_frontend(config),
            _read_head(artifacts / HEAD),
            config.name,
            _fingerprint(config, artifacts),
            config.composers if config.is_classifier else None,
            _read_attributes(artifacts / ATTRIBUTES),
        )
    except DAMAGE as error:
        raise UserError(_describe(folder, error)) from None


def read_config(folder: Path) -> Config:
    """Return the config of a package; see `read`."""
    path = _artifacts(folder) / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} holds no model of symphony2vec: artifacts/{CONFIG} is missing")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain.get("format") != FORMAT:
            raise UserError(
                f"{folder} was made by another version of symphony2vec (format {plain.get('format', 1)}, this one "
                f"reads {FORMAT}); train it again, or install the version that made it"
            )
        return Config(**rename_keys(plain))
    except DAMAGE as error:
        raise UserError(_describe(folder, error)) from None


def _artifacts(folder: Path) -> Path:
    return folder / "artifacts" if (folder / "artifacts" / CONFIG).is_file() else folder


def _describe(folder: Path, error: Exception) -> str:
    return f"{folder}: the model cannot be loaded ({_first_line(error)}); it is damaged, or of another version"


def build_frontend(config: Config) -> Frontend:
    """Return the frontend that a config describes."""
    plain = config.frontend
    recipe = Recipe(plain["sample_rate_hz"], plain["duration_s"], Features(**plain["features"]))
    return Frontend(recipe, plain["representation"], LoudnessTarget(**plain["level"]), plain["minimum_fill"])


def _load_network(artifacts: Path, config: Config) -> OnnxNetwork:
    """Return the network of a package; that of an earlier version, without ONNX, is exported now with PyTorch."""
    if not (artifacts / WEIGHTS).is_file():
        return OnnxNetwork((artifacts / ONNX).read_bytes())
    exporting = extras.load("symphony2vec.package.exporting")
    network = exporting.build_network(config.build, artifacts / WEIGHTS)
    return OnnxNetwork(exporting.export(network, config.build["method"], input_shape(config)))


def input_shape(config: Config) -> tuple[int, ...]:
    """Return the shape of the network's input, without the clips: (F, T) or (F T,)."""
    recipe = build_frontend(config).recipe
    shape = recipe.shapes[config.frontend["representation"]]
    shape = (CROP, CROP) if "crop" in config.build else shape
    return (shape[0] * shape[1],) if config.build.get("flatten") else shape


def _read_head(path: Path) -> Head | None:
    return Head.from_plain(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _read_attributes(path: Path) -> list[Attribute]:
    plain = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [Attribute.from_plain(entry) for entry in plain]


def _fingerprint(config: Config, artifacts: Path) -> str:
    """Return a digest of all that determines the vectors, under the labels of format 2."""
    labelled = {"build": config.build, "scaling": config.scaling, "hearing": config.frontend}
    digest = hashlib.sha256(json.dumps(labelled, sort_keys=True).encode())
    weights = artifacts / WEIGHTS  # of earlier versions
    with (weights if weights.is_file() else artifacts / ONNX).open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return (str(error).splitlines() or [type(error).__name__])[0]
