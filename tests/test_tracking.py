from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import client, runs, with_database
from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project, content_hash, key_of

IDENTITY = tracking.RunIdentity("embeddings", "pca", "mel", "work-0")

WRITER = """
import sys
from pathlib import Path
from symphony2vec import tracking
from symphony2vec.project import Project
project = Project(Path(sys.argv[1]))
identity = tracking.RunIdentity("embeddings", "pca", sys.argv[2], "work-0")
with tracking.start_run(project, identity, {"dimensions": 1}, project.params) as run:
    run.log_metrics({"explained_variance": 0.5})
"""


@pytest.fixture(autouse=True)
def _own_database(monkeypatch):
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)


@pytest.fixture
def project(project, empty_database):
    return with_database(project, empty_database)


@pytest.mark.slow
def test_several_first_writers_at_once_all_succeed(project):
    shutil.rmtree(project.mlruns)

    def write(name):
        return subprocess.run([sys.executable, "-c", WRITER, str(project.root), name], capture_output=True, text=True)

    with ThreadPoolExecutor(3) as pool:
        finished = list(pool.map(write, ("mel", "mfcc", "chroma")))
    assert [one.returncode for one in finished] == [0, 0, 0], finished[0].stderr[-500:]
    assert len(runs(project)) == 3


def test_everything_lies_below_mlruns(project):
    shutil.rmtree(project.mlruns)
    with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
        opened.log_artifact(project.params)
    uri = client(project).get_run(opened.run_id).info.artifact_uri
    assert (project.mlruns / "mlflow.db").is_file()
    assert uri.startswith((project.mlruns / "artifacts" / "embeddings").as_uri())
    assert {path.name for path in project.root.iterdir()} == {"params.yaml", "dvc.yaml", "mlruns"}


def test_a_run_that_raises_is_failed_and_says_why(project):
    with pytest.raises(ZeroDivisionError), tracking.start_run(project, IDENTITY, {}, project.params) as opened:
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
    with tracking.start_run(project, IDENTITY, {"dimensions": 40}, project.feature("mel")) as opened:
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

    assert tracking.git_commit(project) == ""
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert len(tracking.git_commit(project)) == 40
    project.params.write_text("changed: true\n")
    assert tracking.git_commit(project).endswith("+changes")


def test_asking_a_server_that_is_down_is_one_line(project, monkeypatch):
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, "http://127.0.0.1:9")
    line = r"^MLflow at http://127\.0\.0\.1:9: no answer: connection refused; check the server, or unset MLFLOW_TRACK"
    with pytest.raises(UserError, match=line), tracking.client(project) as asked:
        asked.search_experiments()


def test_two_projects_in_one_process_keep_their_runs_apart(project, tmp_path_factory):
    other = Project(tmp_path_factory.mktemp("other"))
    for one in (project, other):
        (one.root / "params.yaml").write_text("")
        with tracking.start_run(one, IDENTITY, {}, one.params):
            pass
    assert [len(runs(one)) for one in (project, other)] == [1, 1]


def test_an_interrupted_run_is_killed_not_running(project):
    with pytest.raises(KeyboardInterrupt), tracking.start_run(project, IDENTITY, {}, project.params) as opened:
        raise KeyboardInterrupt
    assert client(project).get_run(opened.run_id).info.status == "KILLED"


def test_a_run_says_which_model_and_which_draw_it_is(project):
    with tracking.start_run(project, IDENTITY, {"batch": 32}, project.params) as opened:
        pass
    found = client(project).get_run(opened.run_id)
    assert found.info.run_name == "pca-mel work-0"
    assert found.data.tags["fold"] == "work-0"
    assert found.data.tags["kind"] == "embedding"
    assert found.data.params == {"entry": "pca-mel", "model": "pca", "representation": "mel", "batch": "32"}


def test_numbers_keep_the_update_at_which_they_were_true(project):
    with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
        for update in (10, 20, 30):
            opened.log_metrics({"train_loss": 1.0 / update, "validation_loss": 2.0}, step=update)
        opened.log_metrics({"accuracy": np.float32(0.5)})
    history = client(project).get_metric_history(opened.run_id, "train_loss")
    assert [(one.step, one.value) for one in history] == [(10, 0.1), (20, 0.05), (30, 1.0 / 30)]
    assert client(project).get_run(opened.run_id).data.metrics["accuracy"] == 0.5


def test_images_become_artifacts(project):
    with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
        opened.log_image(np.zeros((4, 6, 3), np.uint8), "reconstructions", step=5)
    images = [one.path for one in client(project).list_artifacts(opened.run_id, "images")]
    (image,) = [path for path in images if path.endswith(".png")]
    assert image.startswith("images/reconstructions+step+5+")


# A training that was stopped


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ZeroDivisionError])
def test_a_stopped_run_goes_on_as_the_same_run(project, fault):
    begun = project.root / "begun.json"
    with pytest.raises(fault), tracking.start_run(project, IDENTITY, {"batch": 32}, project.params, begun) as first:
        first.log_metrics({"loss": 2.0}, step=1)
        raise fault
    with tracking.start_run(project, IDENTITY, {"batch": 32}, project.params, begun) as second:
        assert client(project).get_run(second.run_id).info.status == "RUNNING"
        second.log_metrics({"loss": 1.0}, step=2)
    (found,) = runs(project)
    assert found.info.run_id == first.run_id == second.run_id
    assert found.info.status == "FINISHED"
    assert "failure" not in found.data.tags
    assert [one.step for one in client(project).get_metric_history(found.info.run_id, "loss")] == [1, 2]


KILLED = """
import os, signal, sys
from pathlib import Path
from symphony2vec import tracking
from symphony2vec.project import Project
project = Project(Path(sys.argv[1]))
identity = tracking.RunIdentity("embeddings", "pca", "mel", "work-0")
with tracking.start_run(project, identity, {}, project.params, project.root / "begun.json"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_goes_on_as_the_same_run(project):
    assert subprocess.run([sys.executable, "-c", KILLED, str(project.root)], capture_output=True).returncode == -9
    (left,) = runs(project)
    assert left.info.status == "RUNNING"
    with tracking.start_run(project, IDENTITY, {}, project.params, project.root / "begun.json") as opened:
        pass
    (found,) = runs(project)
    assert (found.info.run_id, found.info.status) == (opened.run_id, "FINISHED")
    assert left.info.run_id == opened.run_id


def test_the_next_training_after_a_finished_one_is_a_run_of_its_own(project):
    begun = project.root / "begun.json"
    with tracking.start_run(project, IDENTITY, {}, project.params, begun) as first:
        assert json.loads(begun.read_text()) == {"run_id": first.run_id}
    ended = client(project).get_run(first.run_id).info.end_time
    begun.unlink()  # as a training does that has reached its end
    with tracking.start_run(project, IDENTITY, {}, project.params, begun) as second:
        assert client(project).get_run(first.run_id).info.status == "FINISHED"
    assert second.run_id != first.run_id
    assert client(project).get_run(first.run_id).info.end_time == ended
    assert len(runs(project)) == 2


def test_two_draws_that_both_stopped_keep_to_their_own_runs(project):
    stopped = {}
    for fold in ("work-0", "work-1"):
        begun = project.root / f"{fold}.json"
        identity = tracking.RunIdentity("embeddings", "pca", "mel", fold)
        with (
            pytest.raises(KeyboardInterrupt),
            tracking.start_run(project, identity, {}, project.params, begun) as opened,
        ):
            raise KeyboardInterrupt
        stopped[fold] = opened.run_id
    for fold, run_id in stopped.items():
        identity = tracking.RunIdentity("embeddings", "pca", "mel", fold)
        with tracking.start_run(project, identity, {}, project.params, project.root / f"{fold}.json") as opened:
            assert opened.run_id == run_id
            assert client(project).get_run(run_id).data.tags["fold"] == fold


def test_a_stopped_run_that_somebody_deleted_begins_anew(project):
    begun = project.root / "begun.json"
    with pytest.raises(KeyboardInterrupt), tracking.start_run(project, IDENTITY, {}, project.params, begun) as first:
        raise KeyboardInterrupt
    client(project).delete_run(first.run_id)
    with tracking.start_run(project, IDENTITY, {"batch": 1}, project.params, begun) as second:
        assert json.loads(begun.read_text()) == {"run_id": second.run_id}
    (found,) = runs(project)
    assert (found.info.run_id, found.data.params["batch"]) == (second.run_id, "1")
    assert second.run_id != first.run_id


# What later stages add


def produced(project: Project, content: str = "vectors") -> Path:
    """The folder of a finished run."""
    folder = project.out("embeddings", "work-0", "pca-mel")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model").mkdir(parents=True)
    (folder / "vectors.npy").write_text(content)
    (folder / "model" / "config.json").write_text("{}")
    with tracking.start_run(project, IDENTITY, {}, project.params) as opened:
        tracking.write_run_record(project, folder, opened, IDENTITY, "clips and sides")
    return folder


def recorded(project: Project) -> dict[str, Any]:
    """The record of a finished run."""
    return tracking.read_run_record(project, produced(project))


def test_a_record_names_its_run_its_subject_and_its_clips(project):
    folder = produced(project)
    record = tracking.read_run_record(project, folder)
    run = client(project).get_run(record.pop("run_id"))
    assert run.info.status == "FINISHED"
    assert record.pop("content") == run.data.tags["content"]
    identity = {"stage": "embeddings", "model": "pca", "representation": "mel", "fold": "work-0"}
    assert record == {"clips": "clips and sides", **identity}
    assert "run_id" not in json.loads((folder / "run.json").read_text())


def test_the_content_of_a_record_is_that_of_all_other_files_of_the_folder(project, tmp_path_factory):
    folder = produced(project)
    content = json.loads((folder / "run.json").read_text())["content"]
    shutil.copytree(folder, copied := tmp_path_factory.mktemp("copied") / "anything")
    (copied / "run.json").unlink()
    identity = {"stage": "embeddings", "model": "pca", "representation": "mel", "fold": "work-0"}
    assert key_of(identity, before := content_hash(copied)) == content
    for name in ("vectors.npy", "model/config.json"):
        text = (copied / name).read_text()
        (copied / name).write_text("other")
        assert content_hash(copied) != before, name
        (copied / name).write_text(text)
    (copied / "vectors.npy").rename(copied / "vectors-crops.npy")
    assert content_hash(copied) != before


def test_of_two_runs_with_the_same_results_the_record_names_the_later_one(project):
    first, second = (recorded(project) for _ in range(2))
    assert first["content"] == second["content"]
    assert first["run_id"] != second["run_id"]
    assert tracking.read_run_record(project, project.out("embeddings", "work-0", "pca-mel")) == second
    with tracking.client(project) as asked:
        assert tracking.find_run_id(asked, second | {"run_id": second["content"]}) == second["run_id"]


def test_a_folder_that_dvc_restored_is_again_that_of_its_run(project, tmp_path_factory):
    folder = produced(project)
    before = tracking.read_run_record(project, folder)
    shutil.copytree(folder, cached := tmp_path_factory.mktemp("cache") / "pca-mel")
    produced(project, "other vectors")
    assert tracking.read_run_record(project, folder)["run_id"] != before["run_id"]
    shutil.rmtree(folder)
    shutil.copytree(cached, folder)
    assert tracking.read_run_record(project, folder) == before


def test_a_training_ends_well_even_if_its_run_cannot_be_remembered(project, capsys):
    (project.mlruns / "produced").write_text("a file where the folder should be")
    record = recorded(project)
    assert "pca-mel work-0: mlruns/ does not record which run produced the folder" in capsys.readouterr().err
    (run,) = runs(project)
    with tracking.client(project) as asked:
        assert tracking.find_run_id(asked, record) == run.info.run_id


def test_a_folder_from_another_machine_is_found_by_its_content(project):
    record = recorded(project)
    shutil.rmtree(project.mlruns / "produced")
    elsewhere = tracking.read_run_record(project, project.out("embeddings", "work-0", "pca-mel"))
    assert elsewhere == record | {"run_id": record["content"]}
    with tracking.client(project) as asked:
        assert tracking.find_run_id(asked, elsewhere) == record["run_id"]
        assert tracking.find_run_id(asked, elsewhere | {"run_id": "0" * 32}) is None
    with tracking.resume_run(project, elsewhere) as opened:
        assert opened.run_id == record["run_id"]


def test_a_later_stage_adds_to_the_run_of_the_record(project):
    record = recorded(project)
    with tracking.resume_run(project, record) as opened:
        opened.log_metrics({"accuracy": 0.5})
    (found,) = runs(project)
    assert found.info.run_id == record["run_id"]
    assert found.info.status == "FINISHED"
    assert found.data.metrics["accuracy"] == 0.5


def test_a_run_that_the_server_does_not_know_is_stood_for_by_a_new_one(project):
    record = recorded(project) | {"run_id": "0" * 32}
    with tracking.resume_run(project, record) as opened:
        opened.log_metrics({"accuracy": 0.5})
    (found,) = runs(project, f"tags.stands_for = '{'0' * 32}'")
    assert found.info.run_id == opened.run_id
    assert found.info.run_name == "pca-mel work-0"


def test_parameters_are_flat_and_leave_out_what_a_run_has_no_part_in(changed):
    without = "ali embeddings labels meaning pretrained registry study folds temporal".split()
    found = tracking.flatten_params(changed(clips__max_per_composer=3), *without)
    assert found["clips.max_per_composer"] == 3
    assert found["classifiers.lstm.chunk_frames"] == 36
    assert not any(isinstance(value, dict) for value in found.values())
    assert {name.split(".")[0] for name in found} == {"corpus", "audio", "clips", "features", "classifiers", "probe"}
