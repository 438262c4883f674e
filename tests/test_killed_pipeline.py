"""The whole pipeline, killed at a random moment of every stage: in the end it has the outputs of one that was not."""

from __future__ import annotations

import importlib.util
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

import servers
from conftest import ROOT, runs
from symphony2vec import tracking
from symphony2vec.project import Project

pytestmark = pytest.mark.slow

MATRIX = {  # a model of every kind; those of ali and temporal are in params.yaml
    "classifiers": {"model": ["ff"], "representation": ["mfcc"]},
    "embeddings": {"model": ["pca", "vae"], "representation": ["chroma"]},
    "ali": {},
    "temporal": {},
}
STAGE = re.compile(r"^Running stage '(.+)':$", re.M)


def make_project(root: Path) -> Project:
    """The project of `make demo`, with a few models of few epochs."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    demo.MATRIX = MATRIX
    demo.make_project(root)
    (root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    project, yaml = Project(root), YAML()
    values: Any = yaml.load(project.params)
    values["ali"] |= {"models": ["paper-40"], "probe_every_epochs": 1}
    values["ali"]["paper"] |= {"epochs": 4, "batch": 20}
    values["temporal"] |= {"models": ["full-40"], "probe_every_epochs": 1}
    values["temporal"]["full"] |= {"epochs": 4}
    values["embeddings"]["vae"] |= {"epochs": 10}
    yaml.dump(values, project.params)
    return project


def repro(project: Project, log: Path) -> Any:
    """`dvc repro` in a process group of its own, which is killed at the end of the block."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{Path('/usr/bin')}:{Path('/bin')}", "OMP_NUM_THREADS": "1"}
    words = [servers.program("dvc"), "--cd", project.root, "repro"]
    return servers.started(words, log, DVC_NO_ANALYTICS="1", **environment)


def started_stages(log: Path) -> list[str]:
    return STAGE.findall(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else []


def run_to_the_end(project: Project, log: Path) -> dict[str, float]:
    """Return the stages that ran, with the seconds that each took."""
    times: dict[str, float] = {}
    with repro(project, log) as process:
        while process.poll() is None:
            now = time.monotonic()
            times |= {stage: now for stage in started_stages(log) if stage not in times}
            time.sleep(0.05)
        assert process.returncode == 0, log.read_text(encoding="utf-8")[-3000:]
    ends = [*list(times.values())[1:], time.monotonic()]
    return {stage: end - start for (stage, start), end in zip(times.items(), ends, strict=True)}


def kill_in_stage(project: Project, stage: str, moment: float, log: Path) -> None:
    """Run the pipeline and kill it so many seconds after the start of a stage.

    A kill while DVC writes dvc.lock leaves an empty file. Without it DVC takes finished stages from its cache.
    """
    with repro(project, log) as process:
        servers.until(lambda: stage in started_stages(log) or process.poll() is not None, f"{stage} runs")
        if process.poll() is None:
            time.sleep(moment)
            return
    assert "validation failed" in log.read_text(encoding="utf-8"), f"{stage} did not run"
    (project.root / "dvc.lock").unlink()
    kill_in_stage(project, stage, moment, log.with_suffix(".again"))


def hashes(project: Project) -> dict[str, str]:
    """The hashes of all outputs in dvc.lock."""
    lock = YAML(typ="safe").load(project.root / "dvc.lock")
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


def test_a_pipeline_that_was_killed_in_every_stage_has_the_same_outputs(tmp_path, monkeypatch):
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, killed = (make_project(tmp_path / name / "project") for name in ("whole", "killed"))
    durations = run_to_the_end(whole, tmp_path / "whole.log")
    assert len(durations) == 12
    rng = np.random.default_rng(0)
    moments = {stage: float(rng.uniform(0.05, 0.95) * duration) for stage, duration in durations.items()}
    for number, (stage, moment) in enumerate(moments.items()):
        kill_in_stage(killed, stage, moment, tmp_path / f"killed-{number}.log")
    run_to_the_end(killed, tmp_path / "killed.log")
    assert hashes(killed) == hashes(whole), f"killed after {moments} s"
    for experiment in ("classifiers", "embeddings", "ali", "temporal"):
        assert scores_of(killed, experiment) == scores_of(whole, experiment)


def scores_of(project: Project, experiment: str) -> dict[str, float]:
    """The test accuracy of the runs that finished and were probed, by name.

    A training that was killed after its run ended, but before DVC recorded it, is repeated as another run.
    """
    finished = runs(project, "attributes.status = 'FINISHED' AND metrics.test_accuracy >= 0", experiment)
    assert finished
    return {run.info.run_name: run.data.metrics["test_accuracy"] for run in finished}
