"""How a package is written and logged with an MLflow run, and completed with its probe."""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import numpy as np
import soundfile
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, DataType
from safetensors.torch import save_file
from torch import nn

from symphony2vec.audio.loudness import LoudnessTarget
from symphony2vec.clips.stage import SPLITS
from symphony2vec.package import card, example
from symphony2vec.package.contents import (
    CARD,
    CONFIG,
    EXAMPLE,
    GOLDEN,
    HEAD,
    WEIGHTS,
    Config,
    folder_name,
    frontend,
    read,
)
from symphony2vec.package.head import Head
from symphony2vec.package.model import Model
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import Params
from symphony2vec.project import read_json, write_json

if TYPE_CHECKING:
    from symphony2vec.models.training.folds import Task
    from symphony2vec.tracking import Run

# What loading imports: the network, and of the package what its modules rest on.
REQUIREMENTS = (
    "av joblib librosa mlflow numpy pandas pydantic pyloudnorm ruamel.yaml safetensors scikit-learn soundfile soxr "
    "threadpoolctl torch tqdm"
).split()
SOURCE = Path(__file__).resolve().parents[1]
LOADER = SOURCE / "serving" / "loader.py"


def log(
    task: Task, network: nn.Module, build: Mapping[str, Any], scaling: Scaling, representation: str, readout: str = ""
) -> None:
    """Log `network` with the run of a task, as the artifact folder `model`, or `model-<readout>`.

    Args:
        task: whose run gets the package.
        network: its weights are taken.
        build: see `Config`.
        scaling: of the values before they enter the network.
        representation: what the network hears: mel, mfcc or chroma.
        readout: the name of the readout that `build` asks for; "" for the one that counts.
    """
    subject = {name: getattr(task.subject, name) for name in ("stage", "model", "representation", "fold")}
    hearing = _hearing(task.params, representation)
    config = Config(subject, readout, build, scaling.as_plain(), hearing, task.composers, _data(task))
    with tempfile.TemporaryDirectory() as place:
        saved = save(Path(place), network, config)
        task.run.folder(saved, folder_name(readout))
    write_json(task.folder / f"{folder_name(readout)}.json", asdict(config))


def complete(run: Run, noted: Path, head: Head | None, scores: Mapping[str, Any]) -> None:
    """Add the probe, and a card with its figures, to a package that is logged already.

    Args:
        run: the run that holds the package.
        noted: the file <package>.json that `log` left in the folder of the fold.
        head: the fitted probe; a classifier has none.
        scores: what the probe found of this readout.
    """
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / CARD).write_text(card.text(read_json(noted, "probe"), scores), encoding="utf-8")
        run.file(Path(place) / CARD, noted.stem)
        if head is not None:
            (Path(place) / HEAD).write_text(json.dumps(head.as_plain()), encoding="utf-8")
            run.file(Path(place) / HEAD, f"{noted.stem}/artifacts")


def save(place: Path, network: nn.Module, config: Config) -> Path:
    """Write a package below an empty folder; returns the package's own folder."""

    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, place / WEIGHTS)
    (place / CONFIG).write_text(json.dumps(asdict(config)), encoding="utf-8")
    hearing = frontend(config)
    wave = example.sound(hearing.recipe.rate_hz, 1.25 * hearing.recipe.duration_s)
    soundfile.write(place / EXAMPLE, wave, hearing.recipe.rate_hz, subtype="PCM_16")
    np.save(place / GOLDEN, read(place, Model).embed_file(place / EXAMPLE).vectors)
    saved = place / "model"
    files = {Path(name).stem: str(place / name) for name in (CONFIG, WEIGHTS, EXAMPLE, GOLDEN)}
    mlflow.pyfunc.save_model(
        saved,
        python_model=str(LOADER),
        artifacts=files,
        code_paths=[str(SOURCE)],
        signature=_signature(),
        input_example=example.request(hearing.recipe.rate_hz),
        pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in REQUIREMENTS],
    )
    (saved / CARD).write_text(card.text(asdict(config), None), encoding="utf-8")
    return saved


def _signature() -> Any:

    inputs = [
        ColSpec(DataType.string, "audio", required=False),
        ColSpec(Array(DataType.double), "waveform", required=False),
        ColSpec(DataType.double, "sample_rate", required=False),
    ]
    many, table = Array(DataType.double), Array(Array(DataType.double))
    outputs = [ColSpec(many, name) for name in ("starts_s", "ends_s")]
    outputs += [ColSpec(table, name, required=False) for name in ("vectors", "probabilities")]
    outputs.append(ColSpec(Array(DataType.string), "composers", required=False))
    outputs.append(ColSpec(DataType.string, "note", required=False))
    params = ParamSchema(
        [ParamSpec("form", DataType.string, "clips"), ParamSpec("hop_s", DataType.double, 0.5)],
    )
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs), params=params)


def _hearing(params: Params, representation: str) -> dict[str, Any]:
    audio, clips = params.audio, params.clips
    return {
        "representation": representation,
        "sample_rate_hz": audio.sample_rate_hz,
        "duration_s": clips.duration_s,
        "minimum_fill": clips.minimum_fill,
        "level": asdict(LoudnessTarget(audio.loudness_lufs, audio.peak_dbfs, audio.silence_db)),
        "features": params.features.model_dump(),
    }


def _data(task: Task) -> dict[str, Any]:
    """What the card says of the data: clips and works of each side, by composer, and the licences of the music."""
    table = task.clips
    sides = {
        side: {"clips": len(own), "works": len(own.drop_duplicates(["composer", "work"]))}
        for side in SPLITS
        for own in [table[table["split"] == side]]
    }
    return {
        "corpus": task.params.corpus.name,
        "sides": sides,
        "composers": {str(name): int(count) for name, count in table["composer"].value_counts().sort_index().items()},
        "orchestration": task.params.audio.orchestration,
        "licences": task.licences,
    }
