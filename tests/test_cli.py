from __future__ import annotations

import contextlib
import io
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from symphony2vec.cli import main

COMMAND = Path(sys.executable).with_name("symphony2vec")


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its status."""

    returncode: int
    stdout: str
    stderr: str


def call(*words: str, cwd: Path) -> Ended:
    """Run a command in this process: the start of another one takes seconds."""
    before = signal.getsignal(signal.SIGTERM)
    with (
        contextlib.chdir(cwd),
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", ["symphony2vec", *words])
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        main()
    signal.signal(signal.SIGTERM, before)
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def test_the_installed_command_lists_the_stages_in_their_order(tmp_path):
    text = subprocess.run([COMMAND, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    stages = ("corpus", "audio", "clips", "features", "classifiers", "embeddings", "ali", "probe", "meaning", "report")
    order = [text.index(f"\n  {stage} ") for stage in stages]
    assert order == sorted(order)


HEAVY = {"torch", "numpy", "pandas", "mlflow", "sklearn", "scipy", "librosa", "matplotlib", "tqdm", "pydantic", "dvc"}
IMPORTED = "import symphony2vec.cli"
HELPED = "from symphony2vec.cli import cli; [cli.main([*words, '--help'], standalone_mode=False) for words in {words}]"


@pytest.mark.parametrize(
    "code",
    [
        IMPORTED,
        HELPED.format(
            words=[
                [],
                ["corpus"],
                ["classifiers"],
                ["embeddings"],
                ["ali"],
                ["probe"],
                ["meaning"],
                ["report"],
                ["study"],
            ]
        ),
    ],
    ids=["imported", "--help"],
)
def test_the_command_line_and_its_help_import_nothing_heavy(code):
    code = f"import sys; {code}; print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    assert "symphony2vec.cli" in loaded
    assert not HEAVY & set(loaded)


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
    assert "params.yaml is valid" in call("params", cwd=project.root).stdout


def test_the_project_can_be_named_from_elsewhere(project, tmp_path_factory):
    told = call("--project", str(project.root), "params", cwd=tmp_path_factory.mktemp("elsewhere"))
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        ("clips", "audio"),
        ("features", "clips"),
        ("classifiers ff mel", "features"),
        ("classifiers ff crop", "features"),
        ("embeddings pca chroma", "features"),
        ("ali paper-128", "features"),
        ("report", "probe"),
    ],
)
def test_a_stage_without_its_input_names_the_one_that_makes_it(project, stage, missing):
    told = call(*stage.split(), cwd=project.root)
    assert told.returncode == 1
    assert f"`dvc repro {missing}` writes" in told.stderr
    assert "Traceback" not in told.stderr


def test_results_before_any_run_say_what_to_do(project):
    assert "results.csv is missing; `dvc repro report` writes it" in call("results", cwd=project.root).stderr


def test_one_row_against_others_needs_the_counts_alone(project):
    assert (
        "counts.csv is missing; `dvc repro report` writes it"
        in call("results", "--against", "a", cwd=project.root).stderr
    )
    assert (
        "--split, --level and --counts need --against MODEL"
        in call("results", "--split", "clip", cwd=project.root).stderr
    )
    lines = [
        f"embeddings,{name},,work-{fold},a / b,10,{right}" for name, right in (("x", 5), ("y", 2)) for fold in (0, 1, 2)
    ]
    table = project.root / "published.csv"
    table.write_text("\n".join(["stage,model,readout,fold,work,clips,right", *lines, ""]), encoding="utf-8")
    told = call("results", "--against", "x", "--counts", str(table), cwd=project.root)
    assert (told.returncode, told.stderr) == (0, "")
    assert re.search(
        r"^embeddings/y +20\.0 +\+30\.0  \[\+30\.0, \+30\.0\] +significantly better$", told.stdout, re.MULTILINE
    )


def test_a_wrong_choice_shows_the_right_ones(project):
    told = call("embeddings", "pca", "wavelet", cwd=project.root)
    assert told.returncode == 2
    assert "'wavelet' is not one of 'mel', 'mfcc', 'chroma'" in told.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ("ali", "paper-x"),
            "unknown ALI model 'paper-x'; expected one of paper, original, long, public, searched, encoder",
        ),
        (("ali", "128"), "unknown ALI model '128'; expected one of paper"),
        (
            ("classifiers", "lstm", "crop"),
            "only the feed-forward network (ff) takes crops; lstm takes mel, mfcc",
        ),
    ],
)
def test_a_model_that_does_not_exist_is_one_line_with_those_that_do(project, words, reason):
    told = call(*words, cwd=project.root)
    assert (told.returncode, told.stdout) == (1, "")
    assert reason in told.stderr
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["paper-x", "paper-0", "wide-128"])
def test_a_wrong_ali_in_the_parameters_is_one_line_with_its_place(project, name):
    project.params.write_text(project.params.read_text().replace("original-128", name))
    told = call("params", cwd=project.root)
    assert told.returncode == 1
    assert f"'ali.models.3' is '{name}': string should match pattern '^(paper|original" in told.stderr
    assert told.stderr.count("\n") == 1
