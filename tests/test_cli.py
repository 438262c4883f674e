from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("symphony2vec")


def call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_help_lists_the_stages_in_their_order(tmp_path):
    text = call("--help", cwd=tmp_path).stdout
    order = [
        text.index(f"\n  {stage} ")
        for stage in ("corpus", "audio", "clips", "features", "embeddings", "probe", "report")
    ]
    assert order == sorted(order)


def test_help_imports_nothing_heavy(tmp_path):
    code = "import sys; from symphony2vec.cli import cli; cli.main(['--help'], standalone_mode=False)"
    code += "; print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    assert "symphony2vec.cli" in loaded
    assert not {"numpy", "pandas", "librosa", "sklearn", "mlflow", "matplotlib", "pydantic", "dvc"} & set(loaded)


@pytest.mark.parametrize("words", [["audio"], ["results"], ["params"], ["corpus", "check"]])
def test_outside_a_project_every_command_says_so_in_one_line(tmp_path, words):
    told = call(*words, cwd=tmp_path)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert told.stderr.startswith("symphony2vec: no params.yaml and dvc.yaml in ")


def test_a_wrong_key_is_one_line_with_the_right_one(project):
    project.params.write_text(project.params.read_text().replace("velocity:", "velocty:"))
    told = call("params", cwd=project.root)
    assert (told.returncode, told.stdout) == (1, "")
    assert "unknown key 'audio.velocty' (did you mean 'audio.velocity'?)" in told.stderr
    assert "missing key 'audio.velocity'" in told.stderr
    assert told.stderr.count("\n") == 1


def test_the_committed_parameters_are_said_to_be_right(project):
    assert "all keys are known" in call("params", cwd=project.root).stdout


def test_the_project_can_be_named_from_elsewhere(project, tmp_path_factory):
    told = call("--project", str(project.root), "params", cwd=tmp_path_factory.mktemp("elsewhere"))
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(("stage", "missing"), [("clips", "audio"), ("features", "clips"), ("report", "probe")])
def test_a_stage_without_its_input_names_the_one_that_makes_it(project, stage, missing):
    told = call(stage, cwd=project.root)
    assert told.returncode == 1
    assert f"`dvc repro {missing}` writes" in told.stderr
    assert "Traceback" not in told.stderr


def test_results_before_any_run_say_what_to_do(project):
    assert "results.csv is missing; `dvc repro report` writes it" in call("results", cwd=project.root).stderr


def test_a_wrong_choice_shows_the_right_ones(project):
    told = call("embeddings", "pca", "wavelet", cwd=project.root)
    assert told.returncode == 2
    assert "'wavelet' is not one of 'mel', 'mfcc', 'chroma'" in told.stderr
