"""What the tests share: a project of their own to run in, and parameters to change one at a time."""

from __future__ import annotations

import copy
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

from postgres import postgres, postgresql_programs
from symphony2vec import params, tracking
from symphony2vec.audio import stage as audio
from symphony2vec.clips import stage as clips
from symphony2vec.corpus import catalogue
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.features import stage as features
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.project import Project, read_table, write_table

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file, so that no process ends with it alone."""
    items.sort(key=lambda item: item.path.name != "test_report.py")


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """The plain values of the committed params.yaml."""
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def changed(settings: dict[str, Any]) -> Callable[..., params.Params]:
    """Parameters with some keys changed: changed(clips__overlap=0.5)."""

    def change(**changes: Any) -> params.Params:
        values = copy.deepcopy(settings)
        for name, value in changes.items():
            *sections, key = name.split("__")
            place = values
            for section in sections:
                place = place[section]
            place[key] = value
        return params.check(values)

    return change


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with the committed params.yaml and dvc.yaml."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    return Project(tmp_path)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, to copy: making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        made = Project(tmp_path_factory.mktemp("database"))
        with tracking.client(made):
            pass
    database = made.mlruns / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


@pytest.fixture
def tracked(project: Project, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, with an MLflow database of its own."""
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    return with_database(project, empty_database)


def with_database(project: Project, empty_database: Path) -> Project:
    """The project, given a copy of the database."""
    project.mlruns.mkdir()
    shutil.copyfile(empty_database, project.mlruns / "mlflow.db")
    return project


def of_licence(project: Project, licence: str = "CC0") -> None:
    """Write the table of the movements that the clips come from: recordings of one licence."""
    rows = read_table(project.clips, "clips").drop(columns=["clip", "start_s"]).drop_duplicates("file")
    write_table(project.movements, rows.assign(kind="recording", licence=licence))


def lasting(frames: int, hop_samples: int = 512) -> float:
    """How long (s) a clip is that has so many frames, at 22,050 samples a second."""
    return (frames - 1) * hop_samples / 22050


def client(project: Project) -> Any:
    """An MLflow client of the project's database."""
    from mlflow import MlflowClient

    return MlflowClient(tracking.tracking_uri(project))


def package_of(project: Project, run_id: str, name: str = "model") -> Path:
    """The folder of a package, where MLflow keeps it."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    model = tracking.find_logged_model(client(project), run_id, name)
    assert model is not None
    return Path(local_file_uri_to_path(model.artifact_location))


def logged_names(project: Project, run_id: str) -> set[str]:
    """The names of a run's logged models, files and folders of artifacts."""
    known = client(project)
    run = known.get_run(run_id)
    models = known.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    assert {one.model_id for one in models} == {one.model_id for one in run.outputs.model_outputs}
    return {one.name for one in models} | {one.path for one in known.list_artifacts(run_id)}


def runs(project: Project, wanted: str = "", stage: str = "embeddings") -> list[Any]:
    """The runs of one stage."""
    known = client(project)
    experiment = known.get_experiment_by_name(stage).experiment_id
    return list(known.search_runs([experiment], filter_string=wanted))


# a small project with trained models --------------------------------------------------------------------------------

RATE_HZ = 22050
CLIP_S = 1.0
COMPOSERS = ("Ana Fantasía", "Берлиоз")


def music(duration_s: float, seed: int = 0, bright: bool = False, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Notes of a quarter of a second, (N,) float32; where it is bright their harmonics are stronger."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    pitches_hz = 220.0 * 2.0 ** (rng.integers(0, 24, int(duration_s * 4) + 2) / 12.0)
    phase = 2.0 * np.pi * np.cumsum(pitches_hz[(time_s * 4).astype(int)]) / rate_hz
    loud = [(0.8 if bright else 0.3) ** number for number in range(8)]
    wave = sum(share * np.sin((number + 1) * phase) for number, share in enumerate(loud))
    return np.asarray(0.1 * wave + 0.002 * rng.standard_normal(len(time_s)), dtype=np.float32)


@dataclass(frozen=True)
class Trained:
    """A project whose stages have run on a few short recordings of two composers, one bright and one not."""

    project: Project
    params: params.Params

    def record(self, stage: str, model: str) -> dict[str, Any]:
        """The run.json of one model, and the ID of its run."""
        return tracking.read_run_record(self.project, self.project.out(stage, "work-0", model))

    def package(self, stage: str = "embeddings", model: str = "vae-mel", name: str = "model") -> Path:
        """The folder of a model's package, where MLflow keeps it."""
        return package_of(self.project, self.record(stage, model)["run_id"], name)

    def vectors(self, stage: str = "embeddings", model: str = "vae-mel", name: str = "vectors") -> np.ndarray:
        """What the stage wrote of all clips."""
        values: np.ndarray = np.load(self.project.out(stage, "work-0", model, f"{name}.npy"))
        return values

    def rows_of(self) -> dict[Path, np.ndarray]:
        """The rows of the clips of each sound of the pipeline."""
        groups = read_table(self.project.clips, "clips").groupby("file").indices
        return {self.project.out("audio", str(file)): rows for file, rows in groups.items()}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any], empty_database: Path) -> Trained:
    """PCA and VAE, trained on a real pipeline and probed; tests add to it, and change nothing of it."""
    root = tmp_path_factory.mktemp("trained")
    values = copy.deepcopy(settings)
    values["corpus"]["name"] = "made_up"
    values["clips"] |= {"duration_s": CLIP_S}
    for own in (values["embeddings"]["vae"], *values["classifiers"].values()):
        own |= {"batch": 8, "epochs": 2}
    values["embeddings"]["dimensions"] = 4
    for name in ("paper", "encoder"):
        values["ali"][name] |= {
            "batch": 8,
            "epochs": 3,
            "learning_rate": 0.002,
        }
    values["probe"] |= {"bootstrap_resamples": 100, "inverse_regularisation": [0.1, 1.0]}
    shutil.copyfile(ROOT / "dvc.yaml", root / "dvc.yaml")
    made, chosen = Trained(Project(root), params.check(values)), params.check(values)
    YAML().dump(values, made.project.params)
    made.project.mlruns.mkdir()
    shutil.copyfile(empty_database, made.project.mlruns / "mlflow.db")
    folder = made.project.corpus("made_up")
    folder.mkdir(parents=True)
    rows = []
    for seed, length_s in enumerate((3.95, 3.5, 4.3, 3.2) * 2):
        wave = music(length_s, seed, bright=seed > 3)
        soundfile.write(folder / f"{seed}.flac", wave, RATE_HZ)
        title = (COMPOSERS[seed // 4], f"Sonata {seed}", "1")
        rows.append(catalogue.Movement(*title, f"{seed}.flac", "recording", ("CC0", "CC BY 4.0")[seed // 4], "here"))
    catalogue.write(folder, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        patch.setenv("SYMPHONY2VEC_WORKERS", "1")
        for stage in (audio, clips, features):
            stage.run(made.project, chosen)
        for model, representation in (("pca", "mel"), ("vae", "mel"), ("pca", "mfcc")):
            embeddings.run(made.project, chosen, model, representation)
        probe.run(made.project, chosen)
    return made


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server that runs for the tests of one module; skipped without Debian's package."""
    if postgresql_programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with postgres() as url:
        yield url
