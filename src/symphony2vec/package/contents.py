"""What a package holds, how it is logged with a run, and how it is read back."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import soundfile
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from symphony2vec.artifacts import read_json, write_json
from symphony2vec.audio.loudness import Level
from symphony2vec.clips import SIDES
from symphony2vec.errors import UserError
from symphony2vec.features import Recipe
from symphony2vec.package import card, example
from symphony2vec.package.head import Head
from symphony2vec.package.model import Hearing, Model
from symphony2vec.params import Features, Params
from symphony2vec.scaling import Scaling

if TYPE_CHECKING:
    from symphony2vec.tracking import Run
    from symphony2vec.training.draws import Task

M = TypeVar("M", bound=Model)
FORMAT = 2  # 1 took spectrograms
# What loading imports: the network, and of the package what its modules rest on.
REQUIREMENTS = (
    "av joblib librosa mlflow numpy pandas pydantic pyloudnorm ruamel.yaml safetensors scikit-learn soundfile soxr "
    "threadpoolctl torch tqdm"
).split()
SOURCE = Path(__file__).resolve().parents[1]
LOADER = Path(__file__).with_name("loader.py")
CONFIG, WEIGHTS, EXAMPLE, GOLDEN, HEAD = "config.json", "weights.safetensors", "example.flac", "golden.npy", "head.json"
CARD = "card.md"
# What the reading of a package that is not as it was written raises.
DAMAGE = (ImportError, AttributeError, LookupError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)


@dataclass(frozen=True)
class Config:
    """What config.json says.

    subject: stage, model, representation, draw; reading; build: how the network is made again and asked: module, name,
    arguments, method (takes (B, F, T), or with "flatten" (B, F T), and gives (B, D)), crop (where it takes the middle
    crop alone); scaling; hearing; composers; data: what it was trained on, for the card.
    """

    subject: Mapping[str, str]
    reading: str
    build: Mapping[str, Any]
    scaling: Mapping[str, Any]
    hearing: Mapping[str, Any]
    composers: list[str]
    data: Mapping[str, Any]
    format: int = FORMAT

    @property
    def name(self) -> str:
        """For people, as in "vae-mel work-0"."""
        reading = f" {self.reading}" if self.reading else ""
        return f"{self.subject['model']}-{self.subject['representation']}{reading} {self.subject['draw']}"

    @property
    def gives_vectors(self) -> bool:
        """False of a classifier, which gives the probabilities of its composers."""
        return not str(self.build["method"]).startswith("probabilities")


def log(
    task: Task, network: nn.Module, build: Mapping[str, Any], scaling: Scaling, representation: str, reading: str = ""
) -> None:
    """Log `network` with the run of a task, as the artifact folder `model`, or `model-<reading>`.

    Args:
        task: whose run gets the package.
        network: its weights are taken.
        build: see `Config`.
        scaling: of the values before they enter the network.
        representation: what the network hears: mel, mfcc or chroma.
        reading: the name of the reading that `build` asks for; "" for the one that counts.
    """
    subject = {name: getattr(task.subject, name) for name in ("stage", "model", "representation", "draw")}
    hearing = _hearing(task.params, representation)
    config = Config(subject, reading, build, scaling.as_plain(), hearing, task.composers, _data(task))
    with tempfile.TemporaryDirectory() as place:
        saved = save(Path(place), network, config)
        task.opened.folder(saved, folder_name(reading))
    write_json(task.folder / f"{folder_name(reading)}.json", asdict(config))


def complete(opened: Run, noted: Path, head: Head | None, scores: Mapping[str, Any]) -> None:
    """Add the probe, and a card with its figures, to a package that is logged already.

    Args:
        opened: the run that holds the package.
        noted: the file <package>.json that `log` left in the folder of the draw.
        head: the fitted probe; a classifier has none.
        scores: what the probe found of this reading.
    """
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / CARD).write_text(card.text(read_json(noted, "probe"), scores), encoding="utf-8")
        opened.file(Path(place) / CARD, noted.stem)
        if head is not None:
            (Path(place) / HEAD).write_text(json.dumps(head.as_plain()), encoding="utf-8")
            opened.file(Path(place) / HEAD, f"{noted.stem}/artifacts")


def folder_name(reading: str) -> str:
    """The artifact folder of a run that holds the package of one reading."""
    return f"model-{reading}" if reading else "model"


def save(place: Path, network: nn.Module, config: Config) -> Path:
    """Write a package below an empty folder; returns the package's own folder."""
    import mlflow.pyfunc
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, place / WEIGHTS)
    (place / CONFIG).write_text(json.dumps(asdict(config)), encoding="utf-8")
    hearing = _heard_by(config)
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
        config = Config(**plain)
        network = _network(config.build)
        network.load_state_dict(load_file(inside / WEIGHTS))
        return kind(
            network,
            config.build,
            Scaling.from_plain(config.scaling),
            _heard_by(config),
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
    if not str(build["module"]).startswith("symphony2vec."):
        raise ImportError(f"{build['module']} is no module of symphony2vec")
    kind = getattr(importlib.import_module(build["module"]), build["name"])
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"{build['module']}.{build['name']} is no network")
    return kind(**build["arguments"])


def _first_line(fault: Exception) -> str:
    if isinstance(fault, KeyError):
        return f"{fault} is missing"
    return (str(fault).splitlines() or [type(fault).__name__])[0]


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, DataType

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
        "level": asdict(Level(audio.loudness_lufs, audio.peak_dbfs, audio.silence_db)),
        "features": params.features.model_dump(),
    }


def _heard_by(config: Config) -> Hearing:
    own = config.hearing
    recipe = Recipe(own["sample_rate_hz"], own["duration_s"], Features(**own["features"]))
    return Hearing(recipe, own["representation"], Level(**own["level"]), own["minimum_fill"])


def _head(path: Path) -> Head | None:
    return Head.from_plain(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _fingerprint(inside: Path, plain: Mapping[str, Any]) -> str:
    decides = {name: plain[name] for name in ("build", "scaling", "hearing")}
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
    with (inside / WEIGHTS).open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _data(task: Task) -> dict[str, Any]:
    """What the card says of the data: clips and works of each side, by composer, and the licences of the music."""
    table = task.clips
    sides = {
        side: {"clips": len(own), "works": len(own.drop_duplicates(["composer", "work"]))}
        for side in SIDES
        for own in [table[table["split"] == side]]
    }
    return {
        "corpus": task.params.corpus.name,
        "sides": sides,
        "composers": {str(name): int(count) for name, count in table["composer"].value_counts().sort_index().items()},
        "orchestration": task.params.audio.orchestration,
        "licences": task.licences,
    }
