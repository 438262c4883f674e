"""The committed dvc.yaml in the hands of somebody who lives in DVC: what reruns, experiments, metrics, plots, pull."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

import servers
from conftest import ROOT, Trained, client
from symphony2vec import Embedder, params, tracking
from symphony2vec.clips import stage as clips
from symphony2vec.project import Project, write_table

pytestmark = pytest.mark.slow

GIT = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
DATA = ("audio", "clips", "features")  # outputs of stages that are not run here
MODEL = "embeddings@pca-mel-work-0"


def shell(folder: Path, *words: str, code: Path = ROOT / "src") -> str:
    """Return what a program prints; DVC and the stages run this code and log to the project's own MLflow."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "GIT_"))}
    environment |= {
        "DVC_NO_ANALYTICS": "1",
        "PYTHONPATH": str(code),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    program = {"dvc": [str(servers.program("dvc"))], "git": ["git", *GIT]}[words[0]]
    result = subprocess.run([*program, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def committed(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project under git and DVC with its outputs committed: two folds are there, and pca-mel is trained on one."""
    root = tmp_path_factory.mktemp("committed") / "project"
    shutil.copytree(trained.project.root, root)
    project = Project(root)
    values = trained.params.model_dump()
    clips.run(project, params.check({**values, "folds": ["work-0", "work-1"]}))
    for stage in ("embeddings", "classifiers", "ali", "temporal", "probe"):
        shutil.rmtree(project.out(stage), ignore_errors=True)
        project.out(stage).with_suffix(".json").unlink(missing_ok=True)
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shell(root, "git", "init", "-q")
    (root / ".gitignore").write_text("/out/\n/data/\n/mlruns/\n__pycache__/\n")
    shell(root, "dvc", "init", "-q")
    write_pipeline(root)
    shell(root, "dvc", "repro", "-q", code=root / "src")
    shell(root, "git", "add", ".")
    shell(root, "git", "commit", "-qm", "trained")
    return root


def write_pipeline(root: Path) -> None:
    """Write dvc.yaml with the stages of pca-mel and its probe; stages that copy stand for those of the data."""
    yaml = YAML()
    values = yaml.load(ROOT / "dvc.yaml")
    stages = values["stages"]
    kept = {name: stages[name] for name in ("embeddings", "probe")}
    kept["embeddings"]["matrix"] |= {"model": ["pca"], "representation": ["mel"]}
    others = ("out/classifiers", "out/ali", "out/temporal", "out/pretrained")
    kept["probe"]["deps"] = [path for path in kept["probe"]["deps"] if not path.startswith(others)]
    for name in DATA:
        shutil.copytree(root / "out" / name, root / "made" / name)
        kept[name] = {"cmd": f"cp -r made/{name} out/{name}", "deps": [f"made/{name}"], "outs": [f"out/{name}"]}
    values["stages"] = kept
    del values["plots"], values["artifacts"]["full-40"]
    yaml.dump(values, root / "dvc.yaml")


@pytest.fixture
def versioned(committed: Path, tmp_path: Path) -> Project:
    """A copy of the committed project."""
    shutil.copytree(committed, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def dvc(project: Project, *words: str) -> str:
    return shell(project.root, "dvc", *words, code=project.root / "src")


def changed_stages(project: Project) -> set[str]:
    """Return the stages that `dvc repro` would run, apart from those that follow them."""
    return set(json.loads(dvc(project, "status", "--json")))


def set_folds(project: Project, *folds: str) -> None:
    yaml = YAML()
    values = yaml.load(project.params)
    values["folds"] = list(folds)
    yaml.dump(values, project.params)


def metrics(project: Project) -> dict[str, float]:
    """Return the metrics of pca-mel on the first fold, as DVC reads them."""
    read = json.loads(dvc(project, "metrics", "show", "--json"))
    values: dict[str, float] = read[""]["data"]["out/probe/work-0.json"]["data"]["embeddings"]["pca-mel"]
    return values


def run_of(project: Project) -> Any:
    """Return the MLflow run that produced what out/ holds."""
    record = tracking.read_run_record(project, project.out("embeddings", "work-0", "pca-mel"))
    return client(project).get_run(record["run_id"])


# What reruns ----------------------------------------------------------------------------------------------------------


AFFECTED = {  # a file of the package, and the stages that a change of it makes rerun
    "figures/curves.py": set(),
    "figures/results.py": {"probe@work-0"},
    "figures/canvas.py": {"probe@work-0"},
    "package/card.py": {"probe@work-0"},
    "package/saving.py": set(),
    "serving/app.py": set(),
    "tracking/runs.py": set(),
    "models/pictures.py": set(),
    "models/ali/learner.py": set(),
    "models/embeddings/pca.py": {MODEL},
    "models/training/loop.py": {MODEL},
    "package/scaling.py": {MODEL},
}


def test_a_change_of_code_affects_the_stages_whose_outputs_it_makes(versioned: Project) -> None:
    found = {}
    for path in AFFECTED:
        file = versioned.root / "src" / "symphony2vec" / path
        text = file.read_text(encoding="utf-8")
        file.write_text(text + "# changed\n", encoding="utf-8")
        found[path] = changed_stages(versioned)
        file.write_text(text, encoding="utf-8")
    assert found == AFFECTED


def test_without_a_change_nothing_is_run_and_the_lock_stays(versioned: Project) -> None:
    before = (versioned.root / "dvc.lock").read_bytes()
    assert "Data and pipelines are up to date" in dvc(versioned, "repro")
    dvc(versioned, "repro", "--force", "--single-item", MODEL)
    assert (versioned.root / "dvc.lock").read_bytes() == before
    assert len(client(versioned).search_runs(["1"], "attributes.run_name = 'pca-mel work-0'")) >= 1


def test_a_new_fold_is_trained_and_probed_alone(versioned: Project) -> None:
    first = run_of(versioned).info.run_id
    set_folds(versioned, "work-0", "work-1")
    assert changed_stages(versioned) == {"embeddings@pca-mel-work-1", "probe@work-1"}
    ran = [line for line in dvc(versioned, "repro").splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'embeddings@pca-mel-work-1':", "Running stage 'probe@work-1':"]
    assert run_of(versioned).info.run_id == first
    assert versioned.out("probe", "work-1", "embeddings", "pca-mel", "scores.json").is_file()


# Experiments ----------------------------------------------------------------------------------------------------------


def test_dvc_and_mlflow_show_the_same_numbers_of_every_experiment(versioned: Project) -> None:
    for dimensions in (3, 2):
        dvc(versioned, "exp", "run", "-q", "-n", f"d{dimensions}", "-S", f"embeddings.dimensions={dimensions}")
        shown, run = metrics(versioned), run_of(versioned)
        assert set(shown) == {
            f"{level}_{name}"
            for level in ("test", "test_movement", "test_work")
            for name in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1")
        }
        assert shown == pytest.approx({name: run.data.metrics[name] for name in shown}, abs=0.0)
        assert run.data.params["dimensions"] == str(dimensions)
        assert run.data.tags["dvc.exp_name"] == f"d{dimensions}"
    table = json.loads(dvc(versioned, "exp", "show", "--json"))
    assert {experiment["name"] for experiment in table[1]["experiments"] or []} == {"d2", "d3"}
    differences = dvc(versioned, "metrics", "diff", "--all", "d3", "d2")
    assert "embeddings.pca-mel.test_accuracy" in differences
    dvc(versioned, "exp", "apply", "-q", "d3")
    assert run_of(versioned).data.params["dimensions"] == "3"
    assert np.load(versioned.out("embeddings", "work-0", "pca-mel", "vectors.npy")).shape[1] == 3
    dvc(versioned, "exp", "branch", "d2", "two-dimensions")
    shell(versioned.root, "git", "checkout", "-qf", "two-dimensions")
    dvc(versioned, "checkout", "-q")
    assert run_of(versioned).data.params["dimensions"] == "2"


def test_queued_experiments_of_two_workers_log_to_the_projects_mlflow(versioned: Project) -> None:
    dvc(versioned, "exp", "run", "-q", "--queue", "-S", "embeddings.dimensions=2,3")
    dvc(versioned, "queue", "start", "-j", "2")
    try:
        wait(lambda: "Success" in (status := dvc(versioned, "queue", "status")) and status.count("Success") == 2)
    finally:
        dvc(versioned, "queue", "stop", "--kill")
    found = {run.data.params["dimensions"]: run for run in finished_runs(versioned)}
    assert {"2", "3"} <= set(found)
    assert all("dvc.exp_name" in found[dimensions].data.tags for dimensions in ("2", "3"))
    names = dvc(versioned, "exp", "list", "--name-only").split()
    assert len(names) == 2
    for name in names:
        dvc(versioned, "exp", "apply", "-q", name)
        assert run_of(versioned).data.tags["dvc.exp_name"] == name


def finished_runs(project: Project) -> list[Any]:
    experiment = client(project).get_experiment_by_name("embeddings")
    return list(client(project).search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'"))


def wait(ready: Callable[[], bool], timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s"
        time.sleep(2.0)


# Plots and pull -------------------------------------------------------------------------------------------------------


def test_dvc_plots_draws_what_the_report_writes(versioned: Project) -> None:
    values = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    yaml, pipeline = YAML(), versioned.root / "dvc.yaml"
    reduced = yaml.load(pipeline)
    reduced["plots"] = values["plots"]
    yaml.dump(reduced, pipeline)
    folder = versioned.out("report")
    write_table(folder / "results.csv", pd.DataFrame({"entry": ["pca-mel", "vae-mel"], "accuracy": [0.5, 0.4]}))
    write_table(folder / "confusion.csv", pd.DataFrame({"composer": ["A", "B"], "predicted": ["A", "A"]}))
    curves = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "validation_loss": [2.5, 1.5]})
    write_table(folder / "curves" / "embeddings-vae-mel.csv", curves)
    shutil.copytree(ROOT / ".dvc" / "plots", versioned.root / ".dvc" / "plots")
    dvc(versioned, "plots", "show", "-q")
    page = (versioned.root / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert page.count("vegaEmbed(") == 3
    assert '"validation_loss": "1.5"' in page


def test_pull_brings_numbers_and_packages_without_training(versioned: Project, tmp_path: Path) -> None:
    store, there = tmp_path / "store", tmp_path / "there"
    dvc(versioned, "remote", "add", "-q", "--default", "store", str(store))
    dvc(versioned, "push", "-q")
    shell(versioned.root, "git", "commit", "-qam", "remote")
    shell(tmp_path, "git", "clone", "-q", str(versioned.root), str(there))
    pulled = Project(there)
    dvc(pulled, "pull", "-q")
    assert changed_stages(pulled) == set()
    assert metrics(pulled) == metrics(versioned)
    package = Path("embeddings", "work-0", "pca-mel", "model")
    vectors = Embedder.load(str(pulled.out(*package.parts))).embed_file(pulled.out(*package.parts, "example.flac"))
    np.testing.assert_allclose(vectors.vectors, np.load(pulled.out(*package.parts, "golden.npy")), rtol=1e-5, atol=1e-6)


# The declarations -----------------------------------------------------------------------------------------------------


def test_no_training_depends_on_code_that_cannot_change_its_numbers() -> None:
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in ("classifiers", "classifiers-crop", "embeddings", "ali", "temporal"):
        code = [path for path in stages[name]["deps"] if path.startswith("src/")]
        assert code
        assert not [path for path in code if "figures" in path or "serving" in path or "tracking" in path]
        assert [path for path in code if "package" in path] == ["src/symphony2vec/package/scaling.py"]
        assert all(isinstance(out, str) for out in stages[name]["outs"]), "no private cache: no persist"


def test_mlflow_opens_a_run_as_a_training_with_its_command(trained: Trained) -> None:
    experiment = client(trained.project).get_experiment_by_name("embeddings")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    run = client(trained.project).get_run(trained.record("embeddings", "vae-mel")["run_id"])
    assert run.data.tags["mlflow.source.name"] == "symphony2vec embeddings vae mel --fold work-0"
    assert run.data.tags["mlflow.note.content"].startswith("Model vae-mel of the stage embeddings")
