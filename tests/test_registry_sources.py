"""What a model's name means: aliases, versions, runs, and the folder of its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import client, package_of
from promoted import save_package
from symphony2vec import params, registry, tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.registry import promotion, sources


def run_with(project: Project, *models: str) -> str:
    """Return the id of a finished run with these model folders, which have little more than an MLmodel."""
    identity = tracking.RunIdentity("embeddings", "pca", "mel", "work-0")
    with tracking.start_run(project, identity, {}, project.params) as opened:
        for name in models:
            packed = project.root / "packed" / name
            (packed / "artifacts").mkdir(parents=True, exist_ok=True)
            (packed / "MLmodel").write_text("flavors: {}\n")
            (packed / "artifacts" / "config.json").write_text("{}")
            opened.log_model(packed, name)
    return opened.run_id


def register(project: Project, run_id: str, alias: str = "champion", model: str = "model") -> str:
    """Return a new version of the registered model, which has an alias."""
    mlflow_client = client(project)
    if not sources.read_aliases(mlflow_client):
        mlflow_client.create_registered_model(registry.MODEL)
    version = mlflow_client.create_model_version(registry.MODEL, source=f"runs:/{run_id}/{model}", run_id=run_id)
    mlflow_client.set_registered_model_alias(registry.MODEL, alias, version.version)
    return str(version.version)


def test_every_name_of_a_model_gives_the_folder_of_its_run(tracked):
    run_id = run_with(tracked, "model", "model-crops")
    register(tracked, run_id)
    home = package_of(tracked, run_id)
    assert home.is_relative_to(tracked.mlruns / "artifacts" / "embeddings")
    version, run = "models:/symphony2vec/1", f"runs:/{run_id}/model"
    for name, exact in {
        "champion": version,
        "models:/symphony2vec@champion": version,
        version: version,
        run: run,
        f"runs:/{run_id}": run,
        run_id: run,
    }.items():
        assert registry.locate_model(tracked, name) == (home, exact), name
    assert registry.locate_model(tracked, f"runs:/{run_id}/model-crops")[0] == package_of(
        tracked, run_id, "model-crops"
    )
    assert not (tracked.mlruns / "downloaded").exists()


def test_an_alias_means_the_version_that_has_it_now(tracked):
    run_id = run_with(tracked, "model", "model-crops")
    register(tracked, run_id, "challenger")
    register(tracked, run_id, "champion", "model-crops")
    assert registry.locate_model(tracked, "challenger")[1] == "models:/symphony2vec/1"
    client(tracked).set_registered_model_alias(registry.MODEL, "challenger", "2")
    assert registry.locate_model(tracked, "challenger")[1] == "models:/symphony2vec/2"
    assert registry.locate_model(tracked, "challenger")[0] == package_of(tracked, run_id, "model-crops")


def test_a_registry_without_a_champion_says_how_to_make_one(tracked):
    with pytest.raises(
        UserError, match=r"has the alias champion \(the model is not registered.*; `symphony2vec promote RUN` sets"
    ):
        registry.locate_model(tracked, "champion")
    register(tracked, run_with(tracked, "model"), "challenger")
    with pytest.raises(
        UserError, match=r"has the alias champion \(its aliases: challenger\); `symphony2vec promote RUN"
    ):
        registry.locate_model(tracked, "champion")
    with pytest.raises(UserError, match=r"no version of 'other' in MLflow has the alias champion") as error:
        registry.locate_model(tracked, "models:/other@champion")
    assert "promote" not in str(error.value)


@pytest.mark.parametrize("name", ["models:/symphony2vec/7", "models:/other/1", f"runs:/{'e' * 32}/model", "e" * 32])
def test_an_unknown_version_or_run_is_named(tracked, name):
    register(tracked, run_with(tracked, "model"))
    exact = f"runs:/{name}/model" if sources.RUN_ID.fullmatch(name) else name
    with pytest.raises(UserError, match=f"^MLflow has no {exact}; "):
        registry.locate_model(tracked, name)


@pytest.mark.parametrize("name", ["", "a b", "models:/symphony2vec", "models:/symphony2vec/Production", "s3://b/model"])
def test_an_invalid_name_is_refused(tracked, name):
    with pytest.raises(UserError, match=rf"^'{name}' is not the name of a model; expected an alias such as champion"):
        registry.locate_model(tracked, name)


def test_a_run_without_a_model_says_so(tracked):
    run_id = run_with(tracked, "model")
    with pytest.raises(UserError, match=rf"^runs:/{run_id}/model-crops has no model .* no file MLmodel"):
        registry.locate_model(tracked, f"runs:/{run_id}/model-crops")


def log_as_earlier(project: Project, packed: Path) -> str:
    """Return the id of a finished run with a package among its artifacts, where earlier versions logged it."""
    with tracking.start_run(
        project, tracking.RunIdentity("embeddings", "pca", "mel", "work-0"), {}, project.params
    ) as opened:
        client(project).log_artifacts(opened.run_id, str(packed), "model")
    return opened.run_id


def test_packages_and_versions_of_earlier_releases_are_found_and_completed(tracked, tmp_path):
    packed = save_package(tmp_path)
    run_id = log_as_earlier(tracked, packed)
    register(tracked, run_id)
    folder = tracked.mlruns / "artifacts" / "embeddings" / run_id / "artifacts" / "model"
    assert registry.locate_model(tracked, "champion")[0] == registry.locate_model(tracked, run_id)[0] == folder
    record = {"stage": "embeddings", "model": "pca", "representation": "mel", "fold": "work-0", "run_id": run_id}
    (tmp_path / "head.json").write_text("{}")
    with tracking.resume_run(tracked, record) as opened:
        opened.log_model_file(tmp_path / "head.json", "model", "artifacts")
        opened.log_metrics({"test_accuracy": 0.5}, model="model")
    assert (folder / "artifacts" / "head.json").is_file()
    assert client(tracked).get_run(run_id).data.metrics["test_accuracy"] == 0.5
    decision = promotion.promote(tracked, params.read(tracked.params), "pca-mel")
    assert (decision.version, decision.is_champion_already) == ("1", True)


def test_a_version_can_be_used_after_its_run_was_deleted(tracked):
    run_id = run_with(tracked, "model")
    register(tracked, run_id)
    client(tracked).delete_run(run_id)
    assert (registry.locate_model(tracked, "champion")[0] / "artifacts" / "config.json").is_file()


# Files on a server


@pytest.fixture
def remote(tracked: Project, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a project whose artifacts must be downloaded, and the list of its downloads."""
    downloads: list[str] = []
    download = sources.download_artifacts

    def count_download(*, artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        downloads.append(artifact_uri)
        return str(download(artifact_uri=artifact_uri, dst_path=dst_path, tracking_uri=tracking_uri))

    monkeypatch.setattr(sources, "is_local_uri", lambda *_, **__: False)
    monkeypatch.setattr(sources, "download_artifacts", count_download)
    return tracked, downloads


def test_a_remote_model_is_downloaded_once_and_completely(remote):
    project, downloads = remote
    run_id = run_with(project, "model")
    register(project, run_id)
    first, exact = registry.locate_model(project, "champion")
    again, _ = registry.locate_model(project, run_id)
    assert (first, exact) == (again, "models:/symphony2vec/1")
    assert downloads == [package_of(project, run_id).as_uri()]
    assert first.is_relative_to(project.mlruns / "downloaded")
    assert {path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()} == {
        "MLmodel",
        "artifacts/config.json",
    }


def test_a_changed_model_is_downloaded_again(remote):
    project, downloads = remote
    run_id = run_with(project, "model")
    first, _ = registry.locate_model(project, run_id)
    identity = {"stage": "embeddings", "model": "pca", "representation": "mel", "fold": "work-0"}
    head = project.root / "head.json"
    head.write_text("{}")
    with tracking.resume_run(project, {"run_id": run_id, **identity}) as opened:
        opened.log_model_file(head, "model", "artifacts")
    second, _ = registry.locate_model(project, run_id)
    assert len(downloads) == 2
    assert (second / "artifacts" / "head.json").is_file()
    assert not (first / "artifacts" / "head.json").exists()


def test_a_failed_download_leaves_nothing_and_is_reported_in_one_line(remote, monkeypatch):
    project, _ = remote
    run_id = run_with(project, "model")

    def fail(*, artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        Path(dst_path, "MLmodel").write_text("half")
        raise ConnectionError("the line is cut\nand a second line")

    with monkeypatch.context() as patched:
        patched.setattr(sources, "download_artifacts", fail)
        with pytest.raises(UserError, match=r"cannot be downloaded: the line is cut$"):
            registry.locate_model(project, run_id)
    assert not [path for path in (project.mlruns / "downloaded").iterdir() if path.is_dir()]
    assert (registry.locate_model(project, run_id)[0] / "artifacts" / "config.json").is_file()


def test_files_on_the_machine_of_a_server_are_explained(tracked):
    run_id = run_with(tracked, "model")
    shutil.rmtree(package_of(tracked, run_id))
    with pytest.raises(UserError, match=r"start it with --artifacts-destination$"):
        registry.locate_model(tracked, run_id)
