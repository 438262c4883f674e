"""benchmarks/gpu.py: it runs its parts within their limits, names those that fail, and measures what a CPU can run."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch

from conftest import ROOT, Trained
from symphony2vec.audio import stage as audio
from symphony2vec.clips import stage as clips
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.features import stage as features
from symphony2vec.models.temporal import stage as temporal
from symphony2vec.project import Project

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts of benchmarks/ import each other by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def gpu() -> ModuleType:
    return importlib.import_module("gpu")


@pytest.fixture
def parts() -> ModuleType:
    return importlib.import_module("gpu_parts")


@pytest.fixture
def gpu_work() -> ModuleType:
    return importlib.import_module("gpu_work")


@pytest.fixture
def gpu_ali() -> ModuleType:
    return importlib.import_module("gpu_ali")


@pytest.fixture
def work(gpu_work: ModuleType, tmp_path: Path) -> Any:
    """The input of a part, on the CPU at the small size."""
    sheet = gpu_work.Sheet(tmp_path / "parts" / "part.json")
    return gpu_work.Work(sheet, gpu_work.SMALL, CPU, tmp_path, time.monotonic() + 3600.0)


# the runner -----------------------------------------------------------------------------------------------------------


def test_without_a_gpu_it_says_so_and_writes_nothing(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--out", str(tmp_path / "gpu")])
    assert capsys.readouterr().out == "No GPU: PyTorch sees none here, so there is nothing to measure.\n"
    assert not (tmp_path / "gpu").exists()


WRITES = """
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
path.write_text(json.dumps({"notes": ["a note of " + path.stem], "tables": {"T": [{"a": 1}, {"a": 2, "b": 3}]}}))
"""
FAILS = "raise SystemExit('no such kernel')"
HANGS = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"


@pytest.fixture
def programs(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the programs of the parts."""

    def replace(**programs: str) -> None:
        def command(name: str, out: Path, device: str, limit_s: float) -> list[str]:
            return [sys.executable, "-c", programs.get(name, WRITES), str(gpu.sheet_path(out, name))]

        monkeypatch.setattr(gpu, "part_command", command)

    return replace


def test_a_part_that_fails_or_hangs_is_named_and_the_others_run(gpu, programs, tmp_path, capsys):
    programs(ali=FAILS, temporal=WRITES + HANGS)
    gpu.main(["--device", "cpu", "--seconds", "4", "--out", str(tmp_path), "--parts", "embedding", "temporal", "ali"])
    results = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(results) == ["ali", "temporal", "embedding"]
    assert results["ali"]["status"] == "failed: no such kernel"
    assert results["temporal"]["status"].startswith("stopped after ")
    assert results["temporal"]["notes"] == ["a note of temporal"]  # what it measured before is kept
    assert results["embedding"]["status"] == "done"
    table = (tmp_path / "gpu.md").read_text()
    assert "| ali | failed: no such kernel |" in table
    assert "| a | b |\n|---|---|\n| 1 |  |\n| 2 | 3 |" in table
    assert table in capsys.readouterr().out
    assert not [child for child in psutil.Process().children(recursive=True) if child.name() == "sleep"]


def test_the_clips_are_made_before_anything_is_timed(gpu, programs, tmp_path):
    programs(clips="import time; time.sleep(1)\n" + WRITES)
    gpu.main(["--device", "cpu", "--seconds", "40", "--out", str(tmp_path), "--parts", "tests", "ali", "training"])
    results = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(results) == ["tests", "clips", "ali", "training"]
    assert {result["status"] for result in results.values()} == {"done"}


def test_the_shares_of_the_parts_are_all_of_the_time(gpu, parts):
    assert math.isclose(sum(gpu.SHARES.values()), 1.0)
    assert set(gpu.SHARES) | {gpu.CLIPS} == set(parts.PARTS)
    assert gpu.SECONDS <= 8 * 60


def test_what_a_part_has_measured_is_on_disk_at_once(gpu_work, tmp_path):
    sheet = gpu_work.Sheet(tmp_path / "deep" / "part.json")
    sheet.row("speed", {"ms": 1})
    sheet.note("slow")
    assert json.loads((tmp_path / "deep" / "part.json").read_text()) == {
        "notes": ["slow"], "tables": {"speed": [{"ms": 1}]},
    }  # fmt: skip


def test_an_attempt_that_fails_is_noted_and_the_part_goes_on(work):
    def fail() -> None:
        raise RuntimeError("out of memory\nand more")

    assert work.attempt("a large batch", fail) is None
    assert work.attempt("a small batch", lambda: 3) == 3
    assert work.sheet.notes == ["a large batch failed: RuntimeError: out of memory"]


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("tests/test_gpu.py::test_pca_is_that_of_the_cpu PASSED          [  3%]", "PASSED"),
        ("tests/test_gpu.py::test_a_forward_pass[training-ALI's encoder] FAILED [ 50%]", "FAILED"),
        ("tests/test_gpu.py::test_two_gpus SKIPPED (two ranks need two GPUs) [100%]", "SKIPPED"),
        ("FAILED tests/test_gpu.py::test_pca_is_that_of_the_cpu - assert 1 < 0", ""),
        ("E   AssertionError: PASSED", ""),
        ("", ""),
    ],
)
def test_an_outcome_is_read_from_the_line_of_a_test(line, outcome, parts):
    test, found_outcome = parts.parse_outcome(line)
    assert found_outcome == outcome
    assert bool(test) == bool(outcome)
    assert not outcome or line.split("::")[1].startswith(test)


# the parts ------------------------------------------------------------------------------------------------------------


PYTEST = """
import os, sys
print("tests/test_gpu.py::test_a PASSED", "tests/test_gpu.py::test_b FAILED", sep="\\n")
print("FAILED tests/test_gpu.py::test_b - assert 0")
assert os.environ["SYMPHONY2VEC_GPU_TESTS"] == "cpu"
sys.exit(1)
"""


def test_the_gpu_tests_are_counted_and_those_that_fail_are_named(parts, work, monkeypatch):
    assert Path(parts.pytest_command("cuda")[-1]).is_file()
    monkeypatch.setattr(parts, "pytest_command", lambda device: [sys.executable, "-c", PYTEST])
    with pytest.raises(SystemExit, match=r"1 tests failed, or pytest could not run \(status 1\)"):
        parts.run_tests(work)
    assert work.sheet.tables["Tests"] == [{"passed": 1, "failed": 1, "skipped": 0, "error": 0}]
    assert work.sheet.notes == ["test failed: test_b"]


@pytest.mark.slow
def test_the_updates_of_ali_are_timed_and_their_losses_compared(gpu_ali, work):
    gpu_ali.measure_ali(work)
    tables = work.sheet.tables
    assert [row["precision"] for row in tables["Ceilings of this device"]] == [
        "float32", "float32", "TF32", "TF32", "bfloat16", "bfloat16",
    ]  # fmt: skip
    plain, _, ours = tables["ALI's update"]
    assert (plain["update"], ours["update"]) == ("plain, all networks again", "ours, eager")
    assert plain["speed-up over plain"] == "1 (1 to 1)"
    assert float(ours["crops/s"]) > 0.0
    assert float(ours["% of convolution, TF32"]) > 0.0
    differences = {
        row["ours, eager, against"]: float(row["2 updates"])
        for row in tables["Largest difference of losses in float32, 2 crops"]
    }
    assert differences["the same again"] == 0.0
    assert 0.0 < differences["ours in double precision"] < 1e-4
    assert differences["plain"] < 1e-4
    assert len(work.sheet.notes) == 1  # which is the fastest; nothing failed


def test_a_recorded_update_is_compared_from_the_weights_that_it_had_before_its_warm_up(gpu_ali, monkeypatch):
    import ali

    def warm_up(game: Any, inputs: tuple[torch.Tensor, ...], recorded: bool, compiler: str) -> Any:
        assert recorded
        for _ in range(2):
            game.step(*inputs)
        return lambda: game.step(*inputs)

    monkeypatch.setattr(gpu_ali, "create_step", warm_up)
    plain, recorded = (ali.game(8, CPU, dropout=0.0) for _ in range(2))
    step = gpu_ali.create_recorded(recorded, ali.sample_inputs(2, 8, CPU))
    for number in range(2):
        values = ali.sample_inputs(2, 8, CPU, number)
        assert plain.step(*values)["generator_loss"].item() == step(*values)["generator_loss"].item()


def test_a_compiled_variant_is_skipped_where_there_is_no_time(gpu_ali, gpu_work, work, monkeypatch):
    monkeypatch.setattr(gpu_ali, "variants", lambda device: [("ours, compiled", False, "inductor")])
    monkeypatch.setattr(gpu_work, "COMPILING_S", 1e9)
    gpu_ali.measure_updates(2, {}, work, 0.0)
    assert work.sheet.notes[0] == "ours, compiled, 2 crops: skipped, no time to compile"
    assert len(work.sheet.tables["ALI's update"]) == 2


def test_the_update_of_the_temporal_model_is_timed(parts, work):
    parts.measure_temporal(work)
    ((title, (row,)),) = work.sheet.tables.items()
    assert title == "Update of the temporal model, 4 pairs of clips"
    assert row["update"] == "float32"
    assert float(row["clips/s"]) > 0.0
    assert float(row["% of a convolution"]) > 0.0
    assert work.sheet.notes[0].startswith("read from disk in 1 updates: ")


def test_the_cpu_runs_are_those_of_the_study(parts):
    accuracies = parts.cpu_accuracies(parts.RESULTS)
    assert sorted(accuracies) == [f"work-{seed}" for seed in range(5)]
    assert accuracies["work-0"] == pytest.approx(162 / 239)


def test_a_whole_training_is_timed_and_its_accuracy_compared(parts, work, trained: Trained, tmp_path, monkeypatch):
    project, calls = Project(tmp_path / "project"), []
    probe_scores = trained.project.out("probe", "work-0", "embeddings", "vae-mel", "scores.json")

    def train(*arguments: Any) -> None:
        inspect.signature(stages["temporal"]).bind(*arguments)
        calls.append(arguments[2:])

    def write_scores(*arguments: Any) -> None:
        inspect.signature(stages["probe"]).bind(*arguments)
        calls.append(arguments[2:])
        target = project.out("probe", "work-0", "temporal", "full-40")
        target.mkdir(parents=True)
        shutil.copyfile(probe_scores, target / "scores.json")

    stages = {"temporal": temporal.run, "probe": probe.run}
    monkeypatch.setattr(temporal, "run", train)
    monkeypatch.setattr(probe, "run", write_scores)
    parts.train_and_probe(project, trained.params, work)
    assert calls == [("full-40",), ("temporal", "full-40")]
    ((title, (row,)),) = work.sheet.tables.items()
    accuracy = 100.0 * json.loads(probe_scores.read_text())["scores"][0]["test_accuracy"]
    assert title == "full-40, split work-0"
    assert row["accuracy, %"] == f"{accuracy:.1f}"
    assert row["same split on a CPU, %"] == "67.8"
    assert row["all splits on a CPU, %"] == "59.4 to 73.1"
    assert row["within that range"] == ("yes" if 59.4 <= accuracy <= 73.1 else "no")


def test_the_clips_are_those_of_the_starter_corpus_in_a_project_of_its_own(parts, work, monkeypatch):
    calls = []
    for stage in (audio, clips, features):
        monkeypatch.setattr(stage, "run", lambda project, settings, stage=stage: calls.append((stage, project)))
    parts.make_clips(work)
    assert [stage for stage, _ in calls] == [audio, clips, features]
    project = Project(work.folder / "project")
    assert {used for _, used in calls} == {project}
    assert (project.corpus("starter") / "catalogue.csv").is_file()
    assert [row["stage"] for row in work.sheet.tables["Clips of the starter corpus"]] == ["audio", "clips", "features"]


def test_a_training_without_clips_says_what_is_missing(parts, work):
    with pytest.raises(SystemExit, match="no clips to train on; see the log of the part clips"):
        parts.measure_training(work)


def test_embedding_is_timed_as_a_whole_and_by_its_parts(parts, work, trained: Trained, monkeypatch):
    import embedding

    monkeypatch.setattr(embedding, "package", lambda folder, kind: trained.package())
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    parts.measure_embedding(work)
    rows = work.sheet.tables["Embedding in one process"]
    assert [row["part"] for row in rows] == ["decoding and resampling", "loudness", "spectrogram", "network"]
    assert sum(float(row["% of the time"]) for row in rows) == pytest.approx(100.0, abs=2.0)
    (row,) = work.sheet.tables["From FLAC to vectors"]
    assert row["processes"] == 1
    assert float(row["hours of music/s"]) > 0.0
    assert work.sheet.notes[0].startswith("bound: one process spends most of its time on ")


# make -----------------------------------------------------------------------------------------------------------------


def commands(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What make would run to build everything anew."""
    return subprocess.run(["make", "-n", "-B", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_make_gpu_runs_the_script():
    lines = commands("gpu", "OUT=report").stdout.splitlines()
    assert any(line.endswith("python benchmarks/gpu.py --out 'report'") for line in lines)


def test_the_small_pytorch_is_installed_first_where_it_is_asked_for():
    plain, small = (commands("env", *arguments).stdout for arguments in ((), ("TORCH=cpu",)))
    assert "download.pytorch.org" not in plain
    first, then = (line for line in small.replace("\\\n", " ").splitlines() if "pip install" in line)
    assert "--no-deps --index-url https://download.pytorch.org/whl/cpu torch" in first
    assert "--constraint constraints.txt" in first
    assert then in plain


def test_another_build_of_pytorch_is_refused():
    refused = commands("run", "TORCH=rocm")
    assert refused.returncode
    assert "TORCH is 'rocm'; it must be cpu, or empty for PyTorch's default build" in refused.stderr
