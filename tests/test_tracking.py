from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import client, runs
from symphony2vec import tracking
from symphony2vec.artifacts import Project
from symphony2vec.errors import UserError

SUBJECT = tracking.Subject("embeddings", "pca", "mel")

WRITER = """
import sys
from pathlib import Path
from symphony2vec import tracking
from symphony2vec.artifacts import Project
from symphony2vec.artifacts import Project
project = Project(Path(sys.argv[1]))
subject = tracking.Subject("embeddings", "pca", sys.argv[2])
with tracking.run(project, subject, {"dimensions": 1}, project.params) as run:
    run.metrics({"explained_variance": 0.5})
"""


@pytest.fixture(autouse=True)
def _own_database(monkeypatch):
    monkeypatch.delenv(tracking.URI, raising=False)


def test_several_first_writers_at_once_all_succeed(project):
    def write(name):
        return subprocess.run([sys.executable, "-c", WRITER, str(project.root), name], capture_output=True, text=True)

    with ThreadPoolExecutor(3) as pool:
        finished = list(pool.map(write, ("mel", "mfcc", "chroma")))
    assert [one.returncode for one in finished] == [0, 0, 0], finished[0].stderr[-500:]
    assert len(runs(project)) == 3


def test_everything_lies_below_mlruns(project):
    with tracking.run(project, SUBJECT, {}, project.params) as opened:
        opened.file(project.params)
    uri = client(project).get_run(opened.run_id).info.artifact_uri
    assert (project.mlruns / "mlflow.db").is_file()
    assert uri.startswith((project.mlruns / "artifacts" / "embeddings").as_uri())
    assert {path.name for path in project.root.iterdir()} == {"params.yaml", "dvc.yaml", "mlruns"}


def test_a_run_that_raises_is_failed_and_says_why(project):
    with pytest.raises(ZeroDivisionError), tracking.run(project, SUBJECT, {}, project.params) as opened:
        raise ZeroDivisionError("no clips")
    run = client(project).get_run(opened.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == "ZeroDivisionError: no clips"


def test_the_data_set_carries_dvcs_hash_and_the_run_its_lock_and_stage(project, monkeypatch):
    digest = "0123456789abcdef0123456789abcdef.dir"
    lock = f"schema: '2.0'\nstages:\n  features:\n    outs:\n    - path: out/features\n      md5: {digest}\n"
    (project.root / "dvc.lock").write_text(lock)
    monkeypatch.setenv("DVC_STAGE", "embeddings@pca-mel")
    project.feature("mel").parent.mkdir(parents=True)
    project.feature("mel").write_bytes(b"")
    with tracking.run(project, SUBJECT, {"dimensions": 40}, project.feature("mel")) as opened:
        pass
    (found,) = runs(project, f"dataset.digest = '{digest}'")
    assert found.info.run_id == opened.run_id
    assert "out/features/mel.npy" in {seen.dataset.name for seen in found.inputs.dataset_inputs}
    assert found.data.tags["dvc.stage"] == "embeddings@pca-mel"
    assert found.data.tags["dvc.lock.md5"] == tracking.lock_hash(project)


def test_the_commit_says_when_files_differ_from_it(project):
    def git(*words):
        settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *settings, *words], cwd=project.root, check=True, capture_output=True)

    assert tracking.commit(project) == ""
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert len(tracking.commit(project)) == 40
    project.params.write_text("changed: true\n")
    assert tracking.commit(project).endswith("+changes")


def test_a_server_that_is_down_is_one_line(project, monkeypatch):
    monkeypatch.setenv(tracking.URI, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(
            UserError, match=r"MLflow at http://127\.0\.0\.1:9: .*; check the server, or unset MLFLOW_TRACKING_URI"
        ),
        tracking.run(project, SUBJECT, {}, project.params),
    ):
        pass


def test_two_projects_in_one_process_keep_their_runs_apart(project, tmp_path_factory):
    other = Project(tmp_path_factory.mktemp("other"))
    for one in (project, other):
        (one.root / "params.yaml").write_text("")
        with tracking.run(one, SUBJECT, {}, one.params):
            pass
    assert [len(runs(one)) for one in (project, other)] == [1, 1]


def test_an_interrupted_run_is_killed_not_running(project):
    with pytest.raises(KeyboardInterrupt), tracking.run(project, SUBJECT, {}, project.params) as opened:
        raise KeyboardInterrupt
    assert client(project).get_run(opened.run_id).info.status == "KILLED"
