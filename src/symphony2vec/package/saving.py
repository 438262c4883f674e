"""Writing a package, logging it with an MLflow run, and adding the probe to it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import numpy as np
import soundfile
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, DataType
from torch import nn

from symphony2vec.audio.loudness import LoudnessTarget
from symphony2vec.clips.splits import SPLITS
from symphony2vec.package import card, example, exporting
from symphony2vec.package.contents import (
    ATTRIBUTES,
    CARD,
    CONFIG,
    EXAMPLE,
    GOLDEN,
    HEAD,
    ONNX,
    Config,
    build_frontend,
    folder_name,
    input_shape,
    read,
    read_config,
    rename_keys,
)
from symphony2vec.package.head import Head
from symphony2vec.package.model import Model
from symphony2vec.package.scaling import Scaling
from symphony2vec.params import Params
from symphony2vec.project import read_json

if TYPE_CHECKING:
    from symphony2vec.models.training.folds import Task
    from symphony2vec.tracking import Run

# The libraries that loading and running a package imports.
REQUIREMENTS = (
    "av joblib librosa mlflow numpy onnxruntime pandas pydantic pyloudnorm ruamel.yaml scikit-learn scipy soundfile "
    "soxr threadpoolctl tqdm"
).split()
SOURCE = Path(__file__).resolve().parents[1]
PARTS = (CONFIG, ONNX, EXAMPLE, GOLDEN, ATTRIBUTES)
TOLERANCE = 1e-5  # of the norm of the example's vectors
LOADER = SOURCE / "serving" / "loader.py"


def log(
    task: Task, network: nn.Module, build: Mapping[str, Any], scaling: Scaling, representation: str, readout: str = ""
) -> None:
    """Write the package of a trained network to the task's folder, and log it with its run.

    Both are named `model`, or `model-<readout>`. That of the run is a logged model of MLflow, which the stage `probe`
    completes.

    Args:
        task: the task whose run gets the package.
        network: the trained network.
        build: see `Config`.
        scaling: of the network's input.
        representation: of the input: mel, mfcc or chroma.
        readout: the name of the readout that `build` calls; "" for the main one.
    """
    frontend = frontend_config(task.params, representation)
    config = Config(_subject(task), readout, build, scaling.as_plain(), frontend, task.composers, _describe_data(task))
    with tempfile.TemporaryDirectory() as scratch:  # the project's path may hold % or #, which MLflow takes for a URI's
        files = Path(scratch) / "files"
        files.mkdir()
        write_files(files, network, config)
        shutil.copytree(files, task.folder / folder_name(readout))
        task.run.log_model(wrap(files, Path(scratch) / "model"), folder_name(readout))


def log_pretrained(task: Task, package: Path) -> None:
    """Write an installed package to the task's folder under the name of the task, and log it with the task's run."""
    config = replace(read_config(package), subject=_subject(task), readout="")
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch) / "files"
        files.mkdir()
        (files / CONFIG).write_text(json.dumps(asdict(config)), encoding="utf-8")
        for name in (ONNX, EXAMPLE, GOLDEN, ATTRIBUTES):
            shutil.copyfile(package / "artifacts" / name, files / name)
        shutil.copytree(files, task.folder / folder_name(""))
        task.run.log_model(wrap(files, Path(scratch) / "model"), folder_name(""))


def complete(run: Run, files: Path, head: Head | None, scores: Mapping[str, Any]) -> None:
    """Add the probe, and a card with its accuracy, to a logged package.

    Args:
        run: the run that holds the package.
        files: the package that `log` wrote to the folder of the fold.
        head: the fitted probe; None for a classifier.
        scores: the probe's scores for this readout.
    """
    config, package = rename_keys(read_json(files / CONFIG, "probe")), files.name
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / CARD).write_text(card.text(config, scores), encoding="utf-8")
        run.log_model_file(Path(scratch) / CARD, package)
        if head is not None:
            (Path(scratch) / HEAD).write_text(json.dumps(head.as_plain()), encoding="utf-8")
            run.log_model_file(Path(scratch) / HEAD, package, "artifacts")


def write_files(folder: Path, network: nn.Module, config: Config) -> None:
    """Write config, the network in ONNX, an example and its vectors to an empty folder.

    Raises:
        RuntimeError: ONNX Runtime and PyTorch give the example other vectors.
    """
    method = config.build["method"]
    (folder / ONNX).write_bytes(exporting.export(network, method, input_shape(config)))
    (folder / CONFIG).write_text(json.dumps(asdict(config)), encoding="utf-8")
    recipe = build_frontend(config).recipe
    wave = example.sound(recipe.rate_hz, 1.25 * recipe.duration_s)
    soundfile.write(folder / EXAMPLE, wave, recipe.rate_hz, subtype="PCM_16")
    vectors, expected = (
        read(folder, Model, backend).embed_file(folder / EXAMPLE).vectors
        for backend in (None, exporting.TorchNetwork(network, method))
    )
    difference, norm = np.linalg.norm(vectors - expected), np.linalg.norm(expected)
    if not difference <= TOLERANCE * norm:
        raise RuntimeError(
            f"{config.name}: vectors of ONNX Runtime and PyTorch, of norm {norm:g}, differ by {difference:g}"
        )
    np.save(folder / GOLDEN, vectors)


def wrap(files: Path, package: Path) -> Path:
    """Write the files of a package as an MLflow model with code, requirements and a model card; return its folder."""
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    plain = read_json(files / CONFIG, "probe")
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch) / SOURCE.name
        shutil.copytree(SOURCE, code, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
        mlflow.pyfunc.save_model(
            package,
            python_model=str(LOADER),
            artifacts={Path(name).stem: str(files / name) for name in PARTS if (files / name).is_file()},
            code_paths=[str(code)],
            signature=_signature(),
            input_example=example.request(plain["frontend"]["sample_rate_hz"]),
            pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in REQUIREMENTS],
        )
    (package / CARD).write_text(card.text(plain, None), encoding="utf-8")
    return package


def frontend_config(params: Params, representation: str) -> dict[str, Any]:
    """Return the frontend of params.yaml as the plain values of `Config.frontend`."""
    audio, clips = params.audio, params.clips
    return {
        "representation": representation,
        "sample_rate_hz": audio.sample_rate_hz,
        "duration_s": clips.duration_s,
        "minimum_fill": clips.minimum_fill,
        "level": asdict(LoudnessTarget(audio.loudness_lufs, audio.peak_dbfs, audio.silence_db)),
        "features": params.features.model_dump(),
    }


def _subject(task: Task) -> dict[str, str]:
    return {name: getattr(task.identity, name) for name in ("stage", "model", "representation", "fold")}


def _signature() -> Any:
    doubles = Array(DataType.double)
    inputs = [
        ColSpec(DataType.string, "audio", required=False),
        ColSpec(doubles, "waveform", required=False),
        ColSpec(DataType.double, "sample_rate", required=False),
    ]
    outputs = [
        *(ColSpec(doubles, name) for name in ("starts_s", "ends_s")),
        *(ColSpec(Array(doubles), name, required=False) for name in ("vectors", "probabilities")),
        ColSpec(Array(DataType.string), "composers", required=False),
        ColSpec(DataType.string, "note", required=False),
    ]
    params = [ParamSpec("form", DataType.string, "clips"), ParamSpec("hop_s", DataType.double, 0.5)]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs), params=ParamSchema(params))


def _describe_data(task: Task) -> dict[str, Any]:
    """Return the data section of the card: clips and works by split, clips by composer, and the licences."""
    table = task.clips
    splits = {}
    for name in SPLITS:
        clips = table[table["split"] == name]
        splits[name] = {"clips": len(clips), "works": len(clips.drop_duplicates(["composer", "work"]))}
    return {
        "corpus": task.params.corpus.name,
        "sides": splits,
        "composers": {str(name): int(count) for name, count in table["composer"].value_counts().sort_index().items()},
        "orchestration": task.params.audio.orchestration,
        "licences": task.licences,
    }
