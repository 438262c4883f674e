"""What a model's name stands for: aliases, versions, runs, and the folder that holds the files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import client
from symphony2vec import registry, tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.registry import sources


def run_with(project: Project, *models: str) -> str:
    """A finished run with these model folders; what matters of them here is that they have an MLmodel."""
    subject = tracking.Subject("embeddings", "pca", "mel", "work-0")
    with tracking.run(project, subject, {}, project.params) as opened:
        for name in models:
            packed = project.root / "packed" / name
            (packed / "artifacts").mkdir(parents=True, exist_ok=True)
            (packed / "MLmodel").write_text("flavors: {}\n")
            (packed / "artifacts" / "config.json").write_text("{}")
            opened.folder(packed, name)
    return opened.run_id


def registered(project: Project, run_id: str, alias: str = "champion", model: str = "model") -> str:
    """A version of the registered model that bears an alias."""
    known = client(project)
    if not sources.aliases(known):
        known.create_registered_model(registry.MODEL)
    made = known.create_model_version(registry.MODEL, source=f"runs:/{run_id}/{model}", run_id=run_id)
    known.set_registered_model_alias(registry.MODEL, alias, made.version)
    return str(made.version)


def test_every_name_of_one_model_leads_to_the_very_folder_of_its_run(tracked):
    run_id = run_with(tracked, "model", "model-crops")
    registered(tracked, run_id)
    home = tracked.mlruns / "artifacts" / "embeddings" / run_id / "artifacts"
    version, run = "models:/symphony2vec/1", f"runs:/{run_id}/model"
    for name, exact in {
        "champion": version,
        "models:/symphony2vec@champion": version,
        version: version,
        run: run,
        f"runs:/{run_id}": run,
        run_id: run,
    }.items():
        assert registry.folder(tracked, name) == (home / "model", exact), name
    assert registry.folder(tracked, f"runs:/{run_id}/model-crops")[0] == home / "model-crops"
    assert not (tracked.mlruns / "downloaded").exists()


def test_an_alias_is_the_version_that_bears_it_now(tracked):
    run_id = run_with(tracked, "model", "model-crops")
    registered(tracked, run_id, "challenger")
    registered(tracked, run_id, "champion", "model-crops")
    assert registry.folder(tracked, "challenger")[1] == "models:/symphony2vec/1"
    client(tracked).set_registered_model_alias(registry.MODEL, "challenger", "2")
    assert registry.folder(tracked, "challenger")[1] == "models:/symphony2vec/2"
    assert registry.folder(tracked, "challenger")[0].name == "model-crops"


def test_a_registry_without_a_champion_says_how_to_make_one(tracked):
    with pytest.raises(UserError, match=r"called champion \(nothing is registered.*; `symphony2vec promote RUN` makes"):
        registry.folder(tracked, "champion")
    registered(tracked, run_with(tracked, "model"), "challenger")
    with pytest.raises(UserError, match=r"called champion \(there is challenger\); `symphony2vec promote RUN"):
        registry.folder(tracked, "champion")
    with pytest.raises(UserError, match=r"no version of 'other' in MLflow is called champion") as said:
        registry.folder(tracked, "models:/other@champion")
    assert "promote" not in str(said.value)


@pytest.mark.parametrize("name", ["models:/symphony2vec/7", "models:/other/1", f"runs:/{'e' * 32}/model", "e" * 32])
def test_a_version_or_run_that_mlflow_does_not_know_is_named(tracked, name):
    registered(tracked, run_with(tracked, "model"))
    exact = f"runs:/{name}/model" if sources.RUN_ID.fullmatch(name) else name
    with pytest.raises(UserError, match=f"^MLflow knows no {exact}; "):
        registry.folder(tracked, name)


@pytest.mark.parametrize("name", ["", "a b", "models:/symphony2vec", "models:/symphony2vec/Production", "s3://b/model"])
def test_what_is_no_name_of_a_model_is_refused(tracked, name):
    with pytest.raises(UserError, match=rf"^'{name}' names no model; it is an alias such as champion"):
        registry.folder(tracked, name)


def test_a_run_without_a_model_says_so(tracked):
    run_id = run_with(tracked, "model")
    with pytest.raises(UserError, match=rf"^runs:/{run_id}/model-crops holds no model .* no file MLmodel"):
        registry.folder(tracked, f"runs:/{run_id}/model-crops")


def test_the_run_of_a_version_may_be_deleted_and_its_files_still_serve(tracked):
    run_id = run_with(tracked, "model")
    registered(tracked, run_id)
    client(tracked).delete_run(run_id)
    assert (registry.folder(tracked, "champion")[0] / "artifacts" / "config.json").is_file()


# Files that lie elsewhere


@pytest.fixture
def elsewhere(tracked: Project, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project whose artifacts lie in a store that this machine must download from; counts the downloads."""
    import mlflow.artifacts
    from mlflow.utils import uri

    fetched: list[str] = []
    download = mlflow.artifacts.download_artifacts

    def counted(*, artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        fetched.append(artifact_uri)
        return str(download(artifact_uri=artifact_uri, dst_path=dst_path, tracking_uri=tracking_uri))

    monkeypatch.setattr(uri, "is_local_uri", lambda *_, **__: False)
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", counted)
    return tracked, fetched


def test_what_lies_elsewhere_is_downloaded_once_and_whole(elsewhere):
    project, fetched = elsewhere
    run_id = run_with(project, "model")
    registered(project, run_id)
    first, exact = registry.folder(project, "champion")
    again, _ = registry.folder(project, run_id)
    assert (first, exact) == (again, "models:/symphony2vec/1")
    assert fetched == [f"runs:/{run_id}/model"]
    assert first.is_relative_to(project.mlruns / "downloaded")
    assert {path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()} == {
        "MLmodel",
        "artifacts/config.json",
    }


def test_a_model_that_was_added_to_is_downloaded_again(elsewhere):
    project, fetched = elsewhere
    run_id = run_with(project, "model")
    first, _ = registry.folder(project, run_id)
    subject = {"stage": "embeddings", "model": "pca", "representation": "mel", "fold": "work-0"}
    head = project.root / "head.json"
    head.write_text("{}")
    with tracking.reopen(project, {"run_id": run_id, **subject}) as opened:
        opened.file(head, "model/artifacts")
    second, _ = registry.folder(project, run_id)
    assert len(fetched) == 2
    assert (second / "artifacts" / "head.json").is_file()
    assert not (first / "artifacts" / "head.json").exists()


def test_a_download_that_breaks_off_leaves_nothing_and_is_one_line(elsewhere, monkeypatch):
    import mlflow.artifacts

    project, _ = elsewhere
    run_id = run_with(project, "model")

    def broken(*, artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        Path(dst_path, "MLmodel").write_text("half")
        raise ConnectionError("the line is cut\nand a second line")

    with monkeypatch.context() as patched:
        patched.setattr(mlflow.artifacts, "download_artifacts", broken)
        with pytest.raises(UserError, match=r"cannot be downloaded: the line is cut$"):
            registry.folder(project, run_id)
    assert not [path for path in (project.mlruns / "downloaded").iterdir() if path.is_dir()]
    assert (registry.folder(project, run_id)[0] / "artifacts" / "config.json").is_file()


def test_files_that_a_server_keeps_on_its_own_machine_are_named_as_the_reason(tracked):
    run_id = run_with(tracked, "model")
    shutil.rmtree(tracked.mlruns / "artifacts" / "embeddings" / run_id)
    with pytest.raises(UserError, match=r"start it with --artifacts-destination$"):
        registry.folder(tracked, run_id)
