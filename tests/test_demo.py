"""The project of `make demo`: the committed pipeline with fewer models, on a few bars of the starter corpus."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

from conftest import ROOT
from symphony2vec import params
from symphony2vec.corpus import catalogue
from symphony2vec.project import Project

COMPOSERS = ["Bach", "Beethoven", "Haydn", "Monteverdi", "Mozart"]
DATA_STAGES = ["audio", "clips", "features", "labels"]
EVALUATION_STAGES = ["probe", "meaning", "report"]


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """scripts/demo.py as a module."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(demo: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, in an empty folder."""
    root = tmp_path_factory.mktemp("parent") / "demo"
    demo.make_project(root)
    return Project(root)


def load(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return values


def test_parameters_are_valid_and_those_of_the_study_but_for_its_size(built: Project):
    settings = params.read(built.params)
    assert settings.corpus.name == "demo"
    assert settings.folds == ["work-0"]
    committed, reduced = load(ROOT / "params.yaml"), load(built.params)
    changed = {
        f"{section}.{key}" if isinstance(value, dict) else section
        for section, value in committed.items()
        for key in (value if isinstance(value, dict) else [section])
        if (value[key] != reduced[section][key] if isinstance(value, dict) else value != reduced[section])
    }
    assert changed <= {"folds", "corpus.name", "clips.max_per_movement", "meaning.minimum_clips"}


def test_stages_are_those_of_the_pipeline_with_fewer_models(built: Project):
    committed, reduced = load(ROOT / "dvc.yaml")["stages"], load(built.root / "dvc.yaml")["stages"]
    assert list(reduced) == [*DATA_STAGES, "embeddings", *EVALUATION_STAGES]
    for name, stage in reduced.items():
        for key in ("cmd", "params", "outs", "metrics"):
            assert stage.get(key) == committed[name].get(key), name
        assert set(stage["deps"]) <= set(committed[name]["deps"])
    matrix = dict(reduced["embeddings"]["matrix"])
    assert matrix.pop("fold") == committed["embeddings"]["matrix"]["fold"]
    for axis, values in matrix.items():
        assert set(values) < set(committed["embeddings"]["matrix"][axis])


def test_plots_and_artifacts_are_of_models_that_are_trained(built: Project):
    committed, reduced = load(ROOT / "dvc.yaml"), load(built.root / "dvc.yaml")
    assert list(reduced["artifacts"]) == ["pca-mel"]
    assert reduced["artifacts"]["pca-mel"] == committed["artifacts"]["pca-mel"]
    paths = {path for plot in reduced["plots"] for path in plot}
    assert paths == {"out/report/results.csv", "out/report/confusion.csv"}
    assert paths < {path for plot in committed["plots"] for path in plot}


def test_every_dependency_is_code_music_or_made_by_a_stage(built: Project):
    stages = load(built.root / "dvc.yaml")["stages"]
    outs = [str(out if isinstance(out, str) else next(iter(out))) for stage in stages.values() for out in stage["outs"]]
    made = {out.split("/")[1] for out in outs}
    assert {"embeddings", "probe", "meaning", "report"} <= made
    for path in itertools.chain.from_iterable(stage["deps"] for stage in stages.values()):
        if path.startswith("out/"):
            assert path.split("/")[1] in made, path
        else:
            assert (built.root / path.replace("${corpus.name}", "demo")).exists(), path


def test_music_is_intact_and_enough_for_a_split_of_each_composer(demo: ModuleType, built: Project):
    movements, faults = catalogue.audit(built.corpus("demo"))
    assert not faults
    composers = {name: list(rows) for name, rows in itertools.groupby(movements, key=lambda row: row.composer)}
    assert sorted(composers) == COMPOSERS
    assert all(9 <= len(rows) <= demo.MOVEMENTS for rows in composers.values())
    assert {row.end for row in movements} == {demo.BARS}


def test_making_it_again_changes_no_file(demo: ModuleType, built: Project):
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in built.root.rglob("*") if path.is_file()}

    before = contents()
    demo.make_project(built.root)
    assert contents() == before


def test_dvc_takes_it_for_a_project_of_its_own_inside_a_repository(built: Project):
    repository = built.root.parent
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    (repository / ".gitignore").write_text("/demo/\n", encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=built.root, check=True)  # as `make demo` does
    dvc = Path(sys.executable).parent / "dvc"
    result = subprocess.run([dvc, "stage", "list", "--name-only"], cwd=built.root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) == {
        *DATA_STAGES, "embeddings@pca-mel-work-0", "embeddings@pca-mfcc-work-0", "probe@work-0", "meaning@work-0",
        "report",
    }  # fmt: skip
