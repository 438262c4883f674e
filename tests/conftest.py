"""What the tests share: a project of their own to run in, and parameters to change one at a time."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from postgres import postgres, postgresql_programs
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


def client(project: Project) -> Any:
    """An MLflow client of the project's database."""
    from mlflow import MlflowClient

    return MlflowClient(tracking.uri(project))


def runs(project: Project, wanted: str = "", stage: str = "embeddings") -> list[Any]:
    """The runs of one stage."""
    known = client(project)
    experiment = known.get_experiment_by_name(stage).experiment_id
    return list(known.search_runs([experiment], filter_string=wanted))


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server that runs for the tests of one module; skipped without Debian's package."""
    if postgresql_programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with postgres() as url:
        yield url
