"""A project is a folder: moved, copied, read only, oddly named, under DVC or without git, it works as before."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow.artifacts
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from mlflow import MlflowClient
from ruamel.yaml import YAML

import servers
from conftest import RATE_HZ, ROOT, Trained, client, music, package_of, with_database
from symphony2vec import params, registry, tracking
from symphony2vec.audio import stage as audio
from symphony2vec.cli import cli
from symphony2vec.collection import table as tables
from symphony2vec.corpus import library, recordings
from symphony2vec.errors import UserError
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.project import Project, write_table
from symphony2vec.registry import candidates, gates
from symphony2vec.study.database import Database
from symphony2vec.tracking import sqlite_store

GIT = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
NAMES = ["feature%2Fbranch", "a%20b", "100%", "a?b", "a#b", "a?uri=true", "a;b", "semi:colon", "ünï с 🎵", 'it\'s "q"']
STAGES = """stages:
  embeddings:
    matrix: {model: [pca], representation: [mel], fold: [work-0]}
    cmd: symphony2vec embeddings ${item.model} ${item.representation} --fold ${item.fold}
    deps: [out/clips, out/features]
    params: [folds, embeddings.dimensions]
    outs:
      - out/embeddings/${item.fold}/${item.model}-${item.representation}
"""
RESULTS = {
    "entry": "pca-mel", "accuracy": 0.5, "spread": 0.1, "accuracy_low": 0.4, "accuracy_high": 0.6, "macro_f1": 0.5,
    "movement_accuracy": 0.5, "movement_accuracy_low": 0.4, "movement_accuracy_high": 0.6, "work_accuracy": 0.5,
    "work_accuracy_low": 0.4, "work_accuracy_high": 0.6, "majority": 0.5, "paper": "", "folds": 1, "clips": 6,
    "movements": 2, "works": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    for name in (tracking.TRACKING_URI_VARIABLE, sqlite_store.ARTIFACT_ROOT_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def promoted(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained project in which pca-mel is champion, and a table of results lies; only to be copied."""
    root = tmp_path_factory.mktemp("promoted") / "project"
    shutil.copytree(trained.project.root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        crown(Project(root), trained.record("embeddings", "pca-mel")["run_id"])
    import pandas as pd

    write_table(Project(root).out("report", "results.csv"), pd.DataFrame([RESULTS]))
    return root


def crown(project: Project, run_id: str) -> None:
    """Make the model of a run champion, without the gates."""
    with tracking.client(project) as known:
        if not registry.sources.read_aliases(known):
            known.create_registered_model(registry.MODEL)
        model = tracking.find_logged_model(known, run_id, "model")
        assert model is not None
        made = known.create_model_version(registry.MODEL, model.artifact_location, run_id, model_id=model.model_id)
        known.set_registered_model_alias(registry.MODEL, "champion", made.version)


def copied(source: Path, to: Path) -> Project:
    shutil.copytree(source, to, symlinks=True)
    return Project(to)


def call(project: Project, *words: str | Path) -> str:
    """What a command prints; its `UserError` is raised."""
    done = CliRunner().invoke(cli, ["--project", str(project.root), *map(str, words)], catch_exceptions=False,
                              standalone_mode=False)  # fmt: skip
    return done.output


def train(project: Project, dimensions: int, model: str = "pca") -> str:
    """Train a small model, and give the id of its run."""
    values = YAML(typ="safe").load(project.params.read_text(encoding="utf-8"))
    values["embeddings"]["dimensions"] = dimensions
    embeddings.run(project, params.check(values), model, "mel")
    return str(run_of(project, f"{model}-mel"))


def run_of(project: Project, model: str) -> str:
    return str(tracking.read_run_record(project, project.out("embeddings", "work-0", model))["run_id"])


def artifacts_of(project: Project, run_id: str) -> Path:
    return project.mlruns / "artifacts" / "embeddings" / run_id / "artifacts"


def stand(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder but sqlite's own, with its size and time of change."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def query(place: Path, seed: int = 91) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    soundfile.write(place / "query.flac", music(3.0, seed), RATE_HZ)
    return place / "query.flac"


# A project that was moved ---------------------------------------------------------------------------------------------


def test_case_place_1_a_moved_project_works(promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = copied(promoted, tmp_path / "there")
    before = stand(there.root)
    here = Project(tmp_path / "else" / "here")
    here.root.parent.mkdir()
    there.root.rename(here.root)
    assert "pca-mel" in call(here, "embed", query(tmp_path), "-o", tmp_path / "x.parquet")
    plain = MlflowClient(tracking.tracking_uri(here))  # as MLflow's UI and its servers look at it
    for model in ("pca-mel", "vae-mel"):
        run_id = run_of(here, model)
        assert plain.get_run(run_id).info.artifact_uri == artifacts_of(here, run_id).as_uri()
        assert (package_of(here, run_id) / "MLmodel").is_file()
    with monkeypatch.context() as patch:
        patch.setenv(tracking.TRACKING_URI_VARIABLE, tracking.tracking_uri(here))
        got = mlflow.artifacts.download_artifacts("models:/symphony2vec@champion", dst_path=str(tmp_path / "served"))
        uri = f"runs:/{run_of(here, 'vae-mel')}/model"
        assert (Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path / "run"))) / "MLmodel").is_file()
        assert registry.locate_model(here, "champion")[0] == package_of(here, run_of(here, "pca-mel"))
    assert (Path(got) / "MLmodel").is_file()
    call(here, "promote", "pca-mel")
    new = train(here, 3)
    assert (package_of(here, new) / "MLmodel").is_file()
    assert not there.root.exists()
    assert {name for name in before if "artifacts" in name} <= set(stand(here.root))


@pytest.mark.slow
def test_the_first_command_after_a_move_may_be_a_training_or_a_promotion(promoted: Path, tmp_path: Path) -> None:
    for word in ("train", "settle"):
        there, here = copied(promoted, tmp_path / f"{word}-there"), Project(tmp_path / f"{word}-here")
        there.root.rename(here.root)
        if word == "train":
            assert (package_of(here, train(here, 3)) / "MLmodel").is_file()
        else:
            assert call(here, "runs", "settle").strip() == tracking.tracking_uri(here)
        assert not there.root.exists()
        known = client(here)
        assert registry.sources.fetch_model(here, known, "models:/symphony2vec/1").is_relative_to(here.root)
        places_ = [one.artifact_location for one in known.search_experiments() if one.name != "Default"]
        assert places_
        assert all(place.startswith(f"{(here.mlruns / 'artifacts').as_uri()}/") for place in places_), places_


# A project that was copied --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_case_place_2_a_copy_stands_alone(promoted: Path, tmp_path: Path) -> None:
    first = copied(promoted, tmp_path / "A")
    call(first, "champions")
    second = copied(first.root, tmp_path / "B")
    before = stand(first.root)
    run_id = train(second, 3)
    crown(second, run_id)
    assert stand(first.root) == before
    assert (package_of(second, run_id) / "MLmodel").is_file()
    shutil.rmtree(first.root)
    assert run_id  # of B alone
    call(second, "embed", query(tmp_path), "-o", tmp_path / "x.parquet")
    assert tables.read(tmp_path / "x.parquet").vectors.shape[1] == 3
    assert registry.locate_model(second, "models:/symphony2vec/1")[0].is_relative_to(second.root)
    assert not first.root.exists()


@pytest.mark.slow
def test_what_an_earlier_version_wrote_into_the_original_is_brought_home(promoted: Path, tmp_path: Path) -> None:
    first = copied(promoted, tmp_path / "A")
    call(first, "champions")
    second = copied(first.root, tmp_path / "B")
    run_id = run_of(second, "vae-mel")
    package = package_of(first, run_id).relative_to(first.root)
    shutil.rmtree((second.root / package).parent)  # as if it had been trained in B, into A
    before = stand(first.root)
    assert call(second, "runs", "settle").strip() == tracking.tracking_uri(second)
    assert stand(first.root) == before
    shutil.rmtree(first.root)
    assert (registry.locate_model(second, run_id)[0] / "artifacts" / "model.onnx").is_file()


def test_artifacts_that_were_sent_elsewhere_from_the_first_stay_there(
    tracked: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk" / "mlruns" / "artifacts"
    monkeypatch.setenv(sqlite_store.ARTIFACT_ROOT_VARIABLE, disk.as_uri())
    run_id = logged(tracked)
    assert registry.locate_model(tracked, run_id)[0].is_relative_to(disk)
    monkeypatch.delenv(sqlite_store.ARTIFACT_ROOT_VARIABLE)
    assert registry.locate_model(tracked, run_id)[0].is_relative_to(disk)
    assert not (tracked.mlruns / "artifacts").exists()


def logged(project: Project) -> str:
    """A run with the least that is a model; its id."""
    packed = project.root / "packed"
    packed.mkdir(exist_ok=True)
    (packed / "MLmodel").write_text("flavors: {}\n")
    with tracking.start_run(
        project, tracking.RunIdentity("embeddings", "pca", "mel", "work-0"), {}, project.params
    ) as opened:
        opened.log_model(packed, "model")
    return opened.run_id


# The name of the folder -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_case_place_3_everything_is_inside_a_project_of_any_name(
    name: str, tmp_path: Path, empty_database: Path
) -> None:
    home = tmp_path / "home"
    root = home / name
    root.mkdir(parents=True)
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / file, root / file)
    project = with_database(Project.around(root), empty_database)
    run_id = logged(project)
    crown(project, run_id)
    model = package_of(project, run_id)
    assert model.is_relative_to(project.mlruns / "artifacts" / "embeddings")
    assert registry.locate_model(project, "champion") == (model, "models:/symphony2vec/1")
    with closing(sqlite3.connect(project.mlruns / "mlflow.db")) as connection:
        assert connection.execute("SELECT run_uuid FROM runs").fetchall() == [(run_id,)]
    assert sqlite_store.sqlite_path(tracking.tracking_uri(project)) == project.mlruns / "mlflow.db"
    study = Database.from_url(project, None)
    assert not study.exists()
    assert study.storage.get_all_studies() == []
    assert study.exists()
    assert (project.mlruns / "optuna.db").is_file()
    moved = Project(home / f"{name} again")
    root.rename(moved.root)
    assert registry.locate_model(moved, "champion")[0].is_relative_to(moved.root)
    assert [path.name for path in home.iterdir()] == [moved.root.name]
    assert {path.name for path in moved.root.iterdir()} == {"params.yaml", "dvc.yaml", "mlruns", "packed"}


@pytest.mark.slow
def test_case_place_3_a_project_is_trained_and_used_under_an_odd_name(promoted: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    project = copied(promoted, home / "feature%2Fbranch ?#;")
    run_id = train(project, 3)
    crown(project, run_id)
    call(project, "embed", project.out("audio"), "-o", tmp_path / "x.parquet")
    assert tables.read(tmp_path / "x.parquet").vectors.shape[1] == 3
    assert "set outside symphony2vec" in call(project, "champions")
    assert "%252Fbranch %3F#" in call(project, "results")
    assert [path.name for path in home.iterdir()] == [project.root.name]


# A project that can only be read --------------------------------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], Project]]:
    """Gives a folder at another place, where nothing can be written."""
    mounted: list[Path] = []
    closed: list[Path] = []

    def mount(folder: Path) -> Project:
        if os.geteuid():
            for path in (folder, *folder.rglob("*")):
                path.chmod(path.stat().st_mode & ~0o222)
            closed.append(folder)
            return Project(folder)
        place = tmp_path / f"mounted-{len(mounted)}"
        place.mkdir()
        for words in (["--bind", str(folder), str(place)], ["-o", "remount,ro,bind", str(place)]):
            done = subprocess.run(["mount", *words], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
            mounted.append(place) if place not in mounted else None
        return Project(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)
    for folder in closed:
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.slow
def test_case_place_4_a_project_that_can_only_be_read_is_used(
    promoted: Path, tmp_path: Path, read_only: Callable[[Path], Project]
) -> None:
    source = copied(promoted, tmp_path / "source")
    with closing(sqlite3.connect(source.mlruns / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm"):
        (source.mlruns / f"mlflow.db{suffix}").unlink(missing_ok=True)
    before = stand(source.root)
    project = read_only(source.root)
    with pytest.raises(OSError, match=r"Read-only|Permission"):
        (project.mlruns / "x").touch()
    sound = query(tmp_path / "sounds")
    out = tmp_path / "x.parquet"
    assert "3 recordings" not in call(project, "embed", sound, project.out("audio"), "-o", out)
    assert call(project, "similar", query(tmp_path / "others", 5), "--in", out).startswith("recordings")
    assert "mean log probability over 3 passages" in call(project, "classify", sound)
    assert "set outside symphony2vec" in call(project, "champions")
    assert "pca-mel" in call(project, "results")
    assert stand(source.root) == before
    with pytest.raises((UserError, OSError), match=r"(?i)read-only|only be read|permission"):
        call(project, "promote", "pca-mel")


def test_case_place_4_what_the_log_of_the_database_holds_is_read(
    promoted: Path, tmp_path: Path, read_only: Callable[[Path], Project]
) -> None:
    source = copied(promoted, tmp_path / "source")
    with closing(sqlite3.connect(source.mlruns / "mlflow.db")) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("UPDATE registered_model_aliases SET alias = 'challenger'")
        writer.commit()
        project = copied(source.root, tmp_path / "copy")
    (project.mlruns / "mlflow.db-shm").unlink()
    assert (project.mlruns / "mlflow.db-wal").stat().st_size
    shutil.rmtree(source.root)
    folder, exact = registry.locate_model(read_only(project.root), "challenger")
    assert exact == "models:/symphony2vec/1"
    assert (folder / "MLmodel").is_file()


def test_a_reading_command_leaves_no_lock_and_no_folder_in_the_project(promoted: Path, tmp_path: Path) -> None:
    project = copied(promoted, tmp_path / "project")
    call(project, "runs", "settle")
    for lock in project.mlruns.glob(".*.lock"):
        lock.unlink()
    before = stand(project.root)
    call(project, "champions")
    call(project, "embed", query(tmp_path / "sounds"), "-o", tmp_path / "x.parquet")
    after = stand(project.root)
    assert {name: after[name] for name in after if not name.endswith("mlflow.db.lock")} == before


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_case_place_5_the_outputs_of_a_dvc_project_with_links_are_embedded(promoted: Path, tmp_path: Path) -> None:
    project = copied(promoted, tmp_path / "project")
    shell(project.root, "git", "init", "-q")
    (project.root / "dvc.yaml").unlink()
    shell(project.root, "dvc", "init", "-q")
    shell(project.root, "dvc", "config", "cache.type", "symlink")
    shell(project.root, "dvc", "add", "-q", "out/audio")
    (project.root / "dvc.yaml").write_text("stages: {}\n")
    sounds = [path for path in project.out("audio").iterdir() if path.suffix == ".flac"]
    assert len(sounds) == 8
    assert all(path.is_symlink() for path in sounds)
    out = tmp_path / "x.parquet"
    call(project, "embed", project.out("audio"), "-o", out)
    made = tables.read(out)
    assert set(made.table["path"]) == {str(path) for path in sounds}
    assert set(made.table["composer"]) == {"Ana Fantasía", "Берлиоз"}
    assert not Path(f"{out}.rejected.csv").exists()
    cache = stand(project.root / ".dvc" / "cache")
    values = params.read(project.params)
    sounds[0].unlink()
    sounds[0].with_suffix(".json").unlink(missing_ok=True)
    audio.run(project, values)  # by hand, without DVC, which takes the links away first
    assert stand(project.root / ".dvc" / "cache") == cache
    assert not sounds[0].is_symlink()


def test_case_place_5_links_into_a_store_are_the_users_own_files(tmp_path: Path) -> None:
    annex = tmp_path / "annex"
    album = annex / "Bach" / "Suite"
    album.mkdir(parents=True)
    keys = annex / ".git" / "annex" / "objects" / "X1" / "pQ" / "SHA256E-s1--ab.flac"
    shared = tmp_path / "cache" / "files" / "md5" / "0a" / ("b" * 30)
    for number, store in enumerate((keys / keys.name, shared)):
        store.parent.mkdir(parents=True)
        soundfile.write(store, music(1.0, number), RATE_HZ, format="FLAC")
        store.chmod(0o444)
        (album / f"{number + 1} Allegro.flac").symlink_to(os.path.relpath(store, album))
    (album / "3 Largo.flac").symlink_to("../../.git/annex/objects/ZZ/ZZ/SHA256E-s9--cd.flac/SHA256E-s9--cd.flac")
    (album / "4 Presto.flac").symlink_to(f"{tmp_path}/cache/files/md5/1c/{'d' * 30}")
    (tmp_path / "secret.flac").write_bytes(b"x")
    (album / "5 Giga.flac").symlink_to(tmp_path / "secret.flac")
    survey = recordings.survey(annex, by="folders")
    assert [one.path for one in survey.recordings] == ["Bach/Suite/1 Allegro.flac", "Bach/Suite/2 Allegro.flac"]
    assert {one.path.rpartition("/")[2]: one.reason for one in survey.unidentified} == {
        "3 Largo.flac": "cannot be opened: No such file or directory; `git annex get` brings its content",
        "4 Presto.flac": "cannot be opened: No such file or directory; `dvc pull` brings its content",
        "5 Giga.flac": "a link that leads outside the folder; import the folder that it leads to",
    }


def test_case_place_5_links_are_followed_where_nothing_is_imported(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    for path in (home / "real" / "1.flac", other / "2.flac", other / "sub" / "3.flac", home / ".hidden" / "4.flac"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    links = {
        "away": other, "away-again": other, "within": home / "real", "up": tmp_path, "self": home,
        "shown": home / ".hidden", "file.flac": other / "2.flac", "loop.flac": home / "loop.flac",
        "gone.flac": home / "nowhere.flac",
    }  # fmt: skip
    for name, target in links.items():
        (home / name).symlink_to(target)
    (other / "back").symlink_to(home)
    (other / "sub" / "round").symlink_to(other)
    found, faults, _ = library.find(home, follow=True)
    assert found == ["away/2.flac", "away/sub/3.flac", "file.flac", "real/1.flac", "shown/4.flac"]
    assert {fault.path: fault.reason for fault in faults} == {
        "gone.flac": "cannot be opened: No such file or directory",
        "loop.flac": "a link that leads to itself",
    }


# DVC beside MLflow ----------------------------------------------------------------------------------------------------


def shell(folder: Path, *words: str) -> str:
    """What a program prints; DVC, git and the stages see the code under test, and no other tracking server."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "GIT_"))}
    environment |= {
        "DVC_NO_ANALYTICS": "1",
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    program = {"dvc": [str(servers.program("dvc"))], "git": ["git", *GIT]}.get(words[0], [words[0]])
    done = subprocess.run([*program, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout + done.stderr


@pytest.fixture
def versioned(promoted: Path, tmp_path: Path) -> Project:
    """The project under git and DVC, whose one stage is the training of pca-mel; nothing of that is committed yet."""
    project = copied(promoted, tmp_path / "versioned")
    shutil.rmtree(project.out("embeddings"))
    shutil.rmtree(project.out("probe"))
    (project.root / "dvc.yaml").unlink()
    shell(project.root, "git", "init", "-q")
    (project.root / ".gitignore").write_text(
        "/out/embeddings/\n/out/probe/\n/out/.partial/\n/out/report/\n/data/\n/mlruns/\n"
    )
    shell(project.root, "dvc", "init", "-q")
    shell(project.root, "dvc", "add", "-q", "out/clips", "out/features", "out/audio")
    (project.root / "dvc.yaml").write_text(STAGES)
    shell(project.root, "git", "add", ".")
    shell(project.root, "git", "commit", "-qm", "data")
    return project


def set_dimensions(project: Project, dimensions: int) -> None:
    yaml = YAML()
    values: Any = yaml.load(project.params)
    values["embeddings"]["dimensions"] = dimensions
    yaml.dump(values, project.params)


@pytest.mark.slow
def test_case_dvc_1_an_experiment_in_a_temporary_folder_leaves_its_run_in_the_project(versioned: Project) -> None:
    shell(versioned.root, "dvc", "exp", "run", "-q", "--temp", "-n", "five", "-S", "embeddings.dimensions=5")
    assert not versioned.out("embeddings", "work-0", "pca-mel").exists()
    shell(versioned.root, "dvc", "exp", "apply", "five")
    run_id = run_of(versioned, "pca-mel")
    assert np.load(versioned.out("embeddings", "work-0", "pca-mel", "vectors.npy")).shape[1] == 5
    run = client(versioned).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["dvc.exp_name"] == "five"
    assert (package_of(versioned, run_id) / "MLmodel").is_file()
    sources = [one.dataset.source for one in run.inputs.dataset_inputs]
    assert any(str(versioned.feature("mel")) in source for source in sources)
    assert all(".dvc/tmp" not in source for source in sources)
    call(versioned, "probe", "embeddings", "pca-mel")
    found = candidates.find_candidate(client(versioned), "pca-mel", "", versioned)
    assert found.run_id == run_id
    assert "probe/works.csv" in {one.path for one in client(versioned).list_artifacts(run_id, "probe")}


@pytest.mark.parametrize("inside", ["", "study"])
def test_a_working_copy_of_an_experiment_belongs_to_its_project(tmp_path: Path, inside: str) -> None:
    home, copy = tmp_path / "p" / inside, tmp_path / "p" / ".dvc" / "tmp" / "exps" / "tmpx1" / inside
    for folder in (home, copy):
        folder.mkdir(parents=True)
        for name in ("params.yaml", "dvc.yaml"):
            (folder / name).touch()
    assert Project.around(copy).home == home
    assert Project.around(copy).mlruns == home / "mlruns"
    assert Project.around(home).home == home
    (home / "dvc.yaml").unlink()
    assert Project.around(copy).home == copy


@pytest.mark.slow
def test_case_dvc_2_the_model_that_out_holds_is_promoted(
    versioned: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {}
    for dimensions in (4, 3):
        set_dimensions(versioned, dimensions)
        train(versioned, dimensions)
        shell(versioned.root, "dvc", "commit", "-q", "-f", "embeddings@pca-mel-work-0")
        shell(versioned.root, "git", "add", ".")
        shell(versioned.root, "git", "commit", "-qm", f"{dimensions} dimensions")
        ids[dimensions] = run_of(versioned, "pca-mel")
    capsys.readouterr()
    assert candidates.find_candidate(client(versioned), "pca-mel", "", versioned).run_id == ids[3]
    assert capsys.readouterr().err == ""
    shell(versioned.root, "git", "checkout", "-q", "HEAD~")
    shell(versioned.root, "dvc", "checkout", "-q")
    for words in ("pca-mel", "pca-mel work-0"):
        assert candidates.find_candidate(client(versioned), words, "", versioned).run_id == ids[4]
        note = capsys.readouterr().err
        assert note.startswith(
            f"symphony2vec: '{words}' is run {ids[4][:12]}, which made the model in out/; "
            f"the newest run of that name is {ids[3][:12]}"
        )
    assert candidates.find_candidate(client(versioned), ids[3], "", versioned).run_id == ids[3]
    call(versioned, "probe", "embeddings", "pca-mel")
    monkeypatch.setattr(gates, "check_package", lambda _: gates.Verdict("smoke", True, "asked in other tests"))
    with pytest.raises(UserError, match="at least 3 shared folds are needed"):
        call(versioned, "promote", "pca-mel")
    (challenger,) = client(versioned).search_model_versions(f"run_id = '{ids[4]}'")
    assert registry.locate_model(versioned, "challenger")[1] == f"models:/symphony2vec/{challenger.version}"


def test_case_dvc_2_a_run_that_is_elsewhere_is_said(promoted: Path, tmp_path: Path, empty_database: Path) -> None:
    project = copied(promoted, tmp_path / "pulled")
    shutil.rmtree(project.mlruns)
    with_database(project, empty_database)
    elsewhere = r"^out/embeddings/work-0/pca-mel was trained elsewhere: this MLflow has no run that produced it"
    with pytest.raises(UserError, match=elsewhere):
        call(project, "promote", "pca-mel")
    shutil.rmtree(project.out("probe"))
    call(project, "probe", "embeddings", "pca-mel")  # leaves a run that stands for it, and has no model
    with pytest.raises(UserError, match=rf"{elsewhere}.* to train it here$"):
        call(project, "promote", "pca-mel")
    train(project, 3)
    assert candidates.find_candidate(client(project), "pca-mel", "", project).run_id == run_of(project, "pca-mel")


# Without git ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unpacked(promoted: Path, tmp_path: Path) -> Project:
    """The project as from a zip file, with an environment that is ready."""
    project = copied(promoted, tmp_path / "outer" / "symphony2vec-main")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, project.root / name)
    shutil.copytree(ROOT / ".dvc", project.root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    (project.root / ".venv").mkdir()
    (project.root / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (project.root / ".venv" / ".ready").touch()
    (project.root / "dvc.yaml").write_text("stages: {one: {cmd: echo made > made.txt, outs: [made.txt]}}\n")
    return project


@pytest.mark.slow
def test_case_zip_the_pipeline_runs_without_git(unpacked: Project) -> None:
    told = shell(unpacked.root, "make", "run")
    assert (unpacked.root / "made.txt").read_text() == "made\n"
    assert "pca-mel" in told
    assert tracking.git_commit(unpacked) == ""
    shell(unpacked.root.parent, "git", "init", "-q")  # of somebody's home folder, which knows nothing of the project
    (unpacked.root.parent / "notes").touch()
    shell(unpacked.root.parent, "git", "add", "notes")
    shell(unpacked.root.parent, "git", "commit", "-qm", "notes")
    assert tracking.git_commit(unpacked) == ""
    (unpacked.root / "made.txt").unlink()
    shell(unpacked.root, "make", "run")
    assert (unpacked.root / "made.txt").is_file()
    shell(unpacked.root, "git", "init", "-q")
    shell(unpacked.root, "git", "add", "params.yaml")
    shell(unpacked.root, "git", "commit", "-qm", "start")
    shell(unpacked.root, "make", "scm")
    assert "no_scm" not in (unpacked.root / ".dvc" / "config.local").read_text()
    assert tracking.git_commit(unpacked)


def test_results_name_make_ui_only_beside_a_makefile(promoted: Path, tmp_path: Path) -> None:
    project = copied(promoted, tmp_path / "project")
    assert "make ui" not in call(project, "results")
    (project.root / "Makefile").touch()
    assert "MLflow UI   make ui" in call(project, "results")


def test_case_zip_the_whole_study_says_at_once_that_it_needs_git(unpacked: Project) -> None:
    shutil.rmtree(unpacked.root / ".venv")
    with pytest.raises(RuntimeError, match="make paper needs git") as said:
        shell(unpacked.root, "make", "-s", "paper")
    assert len(str(said.value).strip().splitlines()) == 2  # the line, and make's own
    assert not (unpacked.root / ".venv").exists()
