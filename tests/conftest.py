"""What the tests share: a project of their own to run in, and parameters to change one at a time."""

from __future__ import annotations

import copy
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from symphony2vec import params, tracking
from symphony2vec.artifacts import Project, read_table, write_table

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """The plain values of the committed params.yaml."""
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def changed(settings: dict[str, Any]) -> Callable[..., params.Params]:
    """Parameters with some keys changed: changed(clips__seed=3)."""

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
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: its schema takes seconds to make, a copy takes none."""
    made = Project(tmp_path_factory.mktemp("database"))
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv(tracking.URI, raising=False)
        with tracking._spoken(made) as known:
            known.search_experiments(max_results=1)
    with closing(sqlite3.connect(made.mlruns / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return made.mlruns / "mlflow.db"


@pytest.fixture
def ready(project: Project, database: Path) -> Project:
    """A project whose database is made already."""
    project.mlruns.mkdir()
    shutil.copyfile(database, project.mlruns / "mlflow.db")
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

    return MlflowClient(tracking.uri(project))


def runs(project: Project, wanted: str = "", stage: str = "embeddings") -> list[Any]:
    """The runs of one stage."""
    known = client(project)
    experiment = known.get_experiment_by_name(stage).experiment_id
    return list(known.search_runs([experiment], filter_string=wanted))
