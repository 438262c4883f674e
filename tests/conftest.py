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
from symphony2vec.artifacts import Project

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
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, to copy: making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.URI, raising=False)
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
    monkeypatch.delenv(tracking.URI, raising=False)
    return with_database(project, empty_database)


def with_database(project: Project, empty_database: Path) -> Project:
    """The project, given a copy of the database."""
    project.mlruns.mkdir()
    shutil.copyfile(empty_database, project.mlruns / "mlflow.db")
    return project


def client(project: Project) -> Any:
    """An MLflow client of the project's database."""
    from mlflow import MlflowClient

    return MlflowClient(tracking.uri(project))


def runs(project: Project, wanted: str = "", stage: str = "embeddings") -> list[Any]:
    """The runs of one stage."""
    known = client(project)
    experiment = known.get_experiment_by_name(stage).experiment_id
    return list(known.search_runs([experiment], filter_string=wanted))
