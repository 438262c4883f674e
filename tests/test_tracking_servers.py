"""Runs in a PostgreSQL database, straight and through an MLflow server, and artifacts in an S3-compatible store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import servers
from conftest import client, runs
from symphony2vec import params, tracking
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.project import Project, SplitFold, write_array, write_table
from test_tracking import WRITER

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database(postgres_url: str) -> str:
    """As SQLAlchemy takes it."""
    return postgres_url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.s3(tmp_path_factory.mktemp("s3"), "mlflow") as url:
        yield url


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in servers.SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def clips(project: Project) -> Project:
    """Sixty clips of noise by two composers, in one fold."""
    sides = np.repeat(["train", "validation", "test"], [40, 8, 12])
    table = pd.DataFrame({"clip": range(60), "composer": ["a", "b"] * 30, "work": sides, "movement": "1"})
    table = table.assign(file="x.flac", start_s=0.0)
    write_table(project.clips, table)
    write_table(project.fold(SplitFold("work", 0)), table.assign(group=sides, split=sides, split_by="work"))
    write_table(project.movements, table[:1].assign(kind="recording", licence="CC0"))
    noise = np.random.default_rng(0).normal(-40.0, 10.0, (60, 64, 431))
    write_array(project.feature("mel"), noise.clip(-80.0, 0.0).astype(np.float32))
    return project


@pytest.fixture
def five(changed: Callable[..., params.Params]) -> params.Params:
    """An embedding of five dimensions."""
    return changed(embeddings__dimensions=5)


def trained(project: Project, five: params.Params) -> Any:
    """The one finished run of a trained PCA."""
    embeddings.run(project, five, "pca", "mel")
    (run,) = runs(project, "params.model = 'pca'")
    assert run.info.status == "FINISHED"
    assert run.data.params["dimensions"] == "5"
    assert 0.0 < run.data.metrics["explained_variance"] <= 1.0
    return run


def fetched(project: Project, run: Any, folder: Path) -> set[str]:
    """Download all that a run keeps; the names of the files."""
    folder.mkdir()
    client(project).download_artifacts(run.info.run_id, "", str(folder))
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_first_writers_of_an_empty_database_all_succeed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").touch()
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, database)
    words = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*words, name], stderr=subprocess.PIPE, text=True) for name in ("mel", "mfcc")]
    told = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], told
    assert len(runs(Project(tmp_path), "params.representation != 'none'")) == 2


def test_runs_go_straight_to_postgresql_and_their_artifacts_to_s3(
    clips: Project, database: str, s3: str, five: params.Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied(database)
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, database)
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://mlflow/straight/")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3)
    run = trained(clips, five)
    assert run.info.artifact_uri == f"s3://mlflow/straight/embeddings/{run.info.run_id}/artifacts"
    files = fetched(clips, run, tmp_path / "fetched")
    assert files
    prefix = f"straight/embeddings/{run.info.run_id}/artifacts/"
    assert {key.removeprefix(prefix) for key in servers.stored(s3, "mlflow") if key.startswith(prefix)} == files
    assert not (clips.mlruns / "mlflow.db").exists()


def emptied(database: str) -> None:
    """Forget the experiments of earlier tests: where its artifacts go is decided once in an experiment's life."""
    import psycopg

    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        if connection.execute("SELECT to_regclass('experiments')").fetchone() == (None,):
            return
        connection.execute("UPDATE experiments SET name = name || '-' || experiment_id")


def test_without_another_word_artifacts_stay_in_the_project_that_made_them(
    project: Project, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied(database)
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, database)
    monkeypatch.chdir("/")
    with tracking.start_run(
        project, tracking.RunIdentity("ali", "paper", "mel", "work-0"), {}, project.params
    ) as opened:
        opened.log_artifact(project.params)
    (run,) = runs(project, stage="ali")
    assert run.info.artifact_uri.startswith((project.mlruns / "artifacts" / "ali").as_uri())


def test_a_server_keeps_runs_in_postgresql_and_artifacts_in_s3(
    clips: Project, database: str, s3: str, five: params.Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied(database)
    words = ["--backend-store-uri", database, "--artifacts-destination", "s3://mlflow/served"]
    with servers.mlflow_server(tmp_path, *words, MLFLOW_S3_ENDPOINT_URL=s3) as url:
        monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, url)
        for name in servers.SECRETS:  # the server alone has the keys
            monkeypatch.delenv(name)
        run = trained(clips, five)
        files = fetched(clips, run, tmp_path / "fetched")
    assert files
    kept = {key.split(f"{run.info.run_id}/artifacts/")[-1] for key in servers.stored(s3, "mlflow") if "served/" in key}
    assert kept == files
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, database)
    assert client(clips).get_run(run.info.run_id).data.metrics == run.data.metrics
    vectors = np.load(clips.out("embeddings", "work-0", "pca-mel", "vectors.npy"))
    assert vectors.shape == (60, 5)
    assert os.environ[tracking.TRACKING_URI_VARIABLE] == database
