"""What benchmarks/gpu.py measures: one function for each part, which writes its results as it goes."""

from __future__ import annotations

import csv
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_work
import machine
from gpu_ali import measure_ali
from gpu_work import Work, in_turns, spread

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "starter.csv"
GPU_TESTS = "SYMPHONY2VEC_GPU_TESTS"
OUTCOMES = ("PASSED", "FAILED", "SKIPPED", "ERROR")
MODEL = "full-40"


def run_tests(work: Work) -> None:
    """Run the GPU tests and record each outcome as it is printed."""
    process = subprocess.Popen(
        pytest_command(work.device.type),
        cwd=ROOT,
        env={**os.environ, GPU_TESTS: work.device.type},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    outcomes: dict[str, list[str]] = {outcome: [] for outcome in OUTCOMES}
    for line in process.stdout:
        print(line, end="", flush=True)
        test, outcome = parse_outcome(line)
        if outcome:
            outcomes[outcome].append(test)
            work.sheet.replace("Tests", {outcome.lower(): len(tests) for outcome, tests in outcomes.items()})
    failures = list(dict.fromkeys(outcomes["FAILED"] + outcomes["ERROR"]))
    for test in failures:
        work.sheet.note(f"test failed: {test}")
    if process.wait():
        raise SystemExit(f"{len(failures)} tests failed, or pytest could not run (status {process.returncode})")


def pytest_command(device: str) -> list[str]:
    """The command that runs the tests; on a CPU one of them, as a sample."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-vv", "--tb=short", "-p", "no:cacheprovider"]
    return [*command, *(["-k", "pca"] if device == "cpu" else []), str(ROOT / "tests" / "test_gpu.py")]


def parse_outcome(line: str) -> tuple[str, str]:
    """Test and outcome of a line that pytest prints as "tests/test_gpu.py::test_x[a b] PASSED [ 3%]"; else ("", "")."""
    path, separator, rest = line.strip().partition("::")
    for outcome in OUTCOMES:
        test, space, after = rest.partition(f" {outcome}")
        if separator and space and path.endswith(".py") and not path.startswith(OUTCOMES):
            return (test, outcome) if not after or after[0] in " (" else ("", "")
    return "", ""


# the temporal model ---------------------------------------------------------------------------------------------------


def measure_temporal(work: Work) -> None:
    """Measure an update in each precision, compiled or not: clips/s, share of the ceiling, busy share of the GPU."""
    import temporal
    from symphony2vec import params
    from symphony2vec.models.temporal.devices import Devices
    from symphony2vec.models.temporal.learner import TemporalLearner

    setting = params.read(ROOT / "params.yaml").temporal.full.model_copy(update=work.size.setting)
    load = temporal.Load(setting, 40, work.size.updates, work.size.rounds)
    flop = temporal.operations(load, TemporalLearner)
    on_gpu, clips = work.device.type == "cuda", 2 * setting.batch
    precisions = {"float32": Devices(0, 1, work.device)}
    if on_gpu:
        precisions["bfloat16"] = Devices(0, 1, work.device, bf16=True)
        precisions["bfloat16, compiled (as trained)"] = Devices(0, 1, work.device, bf16=True, compiles=True)
        precisions["float32, compiled"] = Devices(0, 1, work.device, compiles=True)
    ceilings = {
        bf16: temporal.limits(Devices(0, 1, work.device, bf16), setting.width, work.size.rounds)
        for bf16 in {devices.bf16 for devices in precisions.values()}
    }
    contenders: dict[str, Callable[[], object]] = {}
    for name, devices in precisions.items():
        if devices.compiles and work.left_s < gpu_work.COMPILING_S:
            work.sheet.note(f"{name}: skipped, no time to compile")
            continue
        updates = work.attempt(name, lambda devices=devices: load.work(load.learner(devices)))
        if updates is not None:
            contenders[name] = updates
    start_bytes = read_bytes()
    times_ms = in_turns(contenders, 1, work)
    end_bytes = read_bytes()
    for name, rounds_ms in times_ms.items():
        step_ms = [value / work.size.updates for value in rounds_ms]
        rate, limits = flop / (min(step_ms) / 1e3), ceilings[precisions[name].bf16]
        busy = None
        if on_gpu:
            busy = work.attempt(f"busy share, {name}", lambda name=name: temporal.busy(contenders[name]))
        cells = {
            "update": name,
            "ms": spread(step_ms),
            "clips/s": f"{1e3 * clips / statistics.median(step_ms):.0f}",
            "GFLOP/s": f"{rate / 1e9:.3g}",
            **{f"% of a {what}": f"{100.0 * rate / ceiling:.2g}" for what, ceiling in limits.items()},
            "GPU busy, %": "" if busy is None else f"{100.0 * busy:.0f}",
        }
        work.sheet.row(f"Update of the temporal model, {setting.batch} pairs of clips", cells)
    if start_bytes is not None and end_bytes is not None:
        count = sum(len(rounds_ms) for rounds_ms in times_ms.values()) * work.size.updates
        work.sheet.note(f"read from disk in {count} updates: {end_bytes - start_bytes} bytes")


def read_bytes() -> int | None:
    """Bytes that this process has read from disk; None if the system does not count them."""
    import temporal

    return temporal.read_bytes() if Path("/proc/self/io").is_file() else None


# a complete training --------------------------------------------------------------------------------------------------


def make_clips(work: Work) -> None:
    """Render the starter corpus, cut it into clips and compute the features, in a new project."""
    from symphony2vec import params
    from symphony2vec.audio import stage as audio
    from symphony2vec.clips import stage as clips
    from symphony2vec.corpus import starter
    from symphony2vec.features import stage as features
    from symphony2vec.project import Project

    project = Project(work.folder / "project")
    project.root.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, project.root / name)
    settings = params.read(project.params)
    starter.fill(project.corpus("starter"))
    for stage in (audio, clips, features):
        seconds = machine.elapsed_s(lambda stage=stage: stage.run(project, settings))
        work.sheet.row("Clips of the starter corpus", {"stage": stage.__name__.split(".")[-2], "s": f"{seconds:.0f}"})


def measure_training(work: Work) -> None:
    """Train full-40 on the starter corpus and compare its accuracy with those of CPU runs."""
    from symphony2vec import params
    from symphony2vec.project import Project

    os.environ.pop("MLFLOW_TRACKING_URI", None)  # the run belongs to the project, which is removed afterwards
    project = Project(work.folder / "project")
    if not project.feature("mel").is_file():
        raise SystemExit("there are no clips to train on; see the log of the part clips")
    train_and_probe(project, params.read(project.params), work)


def train_and_probe(project: Any, settings: Any, work: Work) -> None:
    """Train full-40 on the only split of a project, probe it, and record times and accuracy."""
    from symphony2vec.evaluation.probe import stage as probe
    from symphony2vec.models.temporal import stage as temporal
    from symphony2vec.project import read_json

    training_s = machine.elapsed_s(lambda: temporal.run(project, settings, MODEL))
    probe_s = machine.elapsed_s(lambda: probe.run(project, settings, "temporal", MODEL))
    (path,) = project.out("probe").glob(f"*/temporal/{MODEL}/scores.json")
    fold = path.parts[-4]
    scores = read_json(path, "probe")["scores"]
    accuracy = next(float(score["test_accuracy"]) for score in scores if not score["readout"])
    on_cpu = cpu_accuracies(RESULTS)
    low, high = min(on_cpu.values()), max(on_cpu.values())
    cells = {
        "training, s": f"{training_s:.0f}",
        "probe, s": f"{probe_s:.0f}",
        "accuracy, %": f"{100.0 * accuracy:.1f}",
        "same split on a CPU, %": f"{100.0 * on_cpu.get(fold, float('nan')):.1f}",
        "all splits on a CPU, %": f"{100.0 * low:.1f} to {100.0 * high:.1f}",
        "within that range": "yes" if low <= accuracy <= high else "no",
    }
    work.sheet.row(f"{MODEL}, split {fold}", cells)


def cpu_accuracies(path: Path) -> dict[str, float]:
    """Test accuracy of full-40 on each split by work, from the counts of the study."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] == MODEL and not row["readout"] and row["fold"].startswith("work-"):
                counts[row["fold"]][0] += int(row["right"])
                counts[row["fold"]][1] += int(row["clips"])
    return {split: right / clips for split, (right, clips) in counts.items()}


# embedding ------------------------------------------------------------------------------------------------------------


def measure_embedding(work: Work) -> None:
    """Measure hours of music per second from FLAC to vectors by number of processes, and what bounds it."""
    import embedding

    hours = work.size.recording_s / 3600.0
    sources = work.folder / "sources"
    embedding.compose(sources, 2, work.size.recording_s)
    packages = work.folder / "packages"
    packages.mkdir()
    package = embedding.package(packages, "vae")
    parts_s = time_parts(sources / "000.flac", package)
    for name, part_s in parts_s.items():
        share = f"{100.0 * part_s / sum(parts_s.values()):.0f}"
        cells = {"part": name, "hours of music/s": f"{hours / part_s:.3g}", "% of the time": share}
        work.sheet.row("Embedding in one process", cells)
    for processes in work.size.processes:
        music, count = work.folder / f"music-{processes}", processes * work.size.recordings_per_process
        music.mkdir()
        for number in range(count):
            os.link(sources / f"{number % 2:03}.flac", music / f"{number:03}.flac")
        os.environ["SYMPHONY2VEC_WORKERS"] = str(processes)
        first_s, second_s = (
            machine.elapsed_s(lambda music=music: embedding.ours(music, package)) for _ in range(2)
        )  # the first call starts the processes
        cells = {
            "processes": processes,
            "hours of music/s": f"{count * hours / second_s:.3g}",
            "times real time": f"{3600.0 * count * hours / second_s:.0f}",
            "sum of the parts, hours/s": f"{processes * hours / sum(parts_s.values()):.3g}",
            "first call, s": f"{first_s:.1f}",
        }
        work.sheet.row("From FLAC to vectors", cells)
    longest = max(parts_s, key=lambda name: parts_s[name])
    work.sheet.note(
        f"bound: one process spends most of its time on {longest}; the network alone would embed "
        f"{hours / parts_s['network']:.3g} hours/s"
    )


def time_parts(path: Path, package: Path) -> dict[str, float]:
    """Seconds of each part of embedding one recording in this process."""
    import numpy as np

    import embedding
    from symphony2vec.audio import loudness
    from symphony2vec.decoding import recording as decoding
    from symphony2vec.features.representations import represent
    from symphony2vec.package import model

    embedder = embedding.network(package)
    embedder.embed_file(path)  # the first call compiles functions of numba
    frontend = embedder.frontend
    recipe, marks = frontend.recipe, [time.perf_counter()]
    with model.one_thread(), decoding.decode_to_disk(path, recipe.rate_hz, model.LONGEST_S) as (mono, _):
        marks.append(time.perf_counter())
        span = loudness.measure_normalization(mono, recipe.rate_hz, frontend.level, allow_short=True)
        marks.append(time.perf_counter())
        starts = span.begin + model.window_starts(span.end - span.begin, recipe.samples, frontend.minimum_fill)
        batches = embedder._window_batches(lambda start: mono[start : start + recipe.samples], starts, span.gain)
        spectrograms = np.stack([represent(window, recipe, ("mel",))["mel"] for batch in batches for window in batch])
        marks.append(time.perf_counter())
        embedder.embed_spectrograms(spectrograms)
        marks.append(time.perf_counter())
    names = ("decoding and resampling", "loudness", "spectrogram", "network")
    return {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}


PARTS: dict[str, Callable[[Work], None]] = {
    "tests": run_tests,
    "ali": measure_ali,
    "temporal": measure_temporal,
    "clips": make_clips,
    "training": measure_training,
    "embedding": measure_embedding,
}
