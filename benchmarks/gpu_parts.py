"""What benchmarks/gpu.py measures: one function for each part, which writes its results as it goes."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "starter.csv"
GPU_TESTS = "SYMPHONY2VEC_GPU_TESTS"
OUTCOMES = ("PASSED", "FAILED", "SKIPPED", "ERROR")
AIM = 10.0  # speed-up of ALI's update over the plain eager one
MODEL = "full-40"
COMPILING_S = 45.0  # with less time left, a variant that must be compiled is skipped
FINISHING_S = 8.0  # left for the last rows of a part


@dataclass(frozen=True)
class Size:
    """How much is measured.

    crops: per batch of ALI; latent: D of ALI; updates: per round; rounds; loss_updates: updates whose losses are
    compared; matrix_rows: of the square matrices of the ceiling; setting: changes to the temporal model;
    recording_s: length of each recording; recordings_per_process; processes: numbers of processes that decode.
    """

    crops: tuple[int, ...] = (100, 1000)
    latent: int = 128
    updates: int = 20
    rounds: int = 15
    loss_updates: int = 200
    matrix_rows: int = 8192
    setting: dict[str, Any] = field(default_factory=dict)
    recording_s: float = 60.0
    recordings_per_process: int = 4
    processes: tuple[int, ...] = (1, 4, 16)


SMALL = Size(
    crops=(4,),
    latent=8,
    updates=1,
    rounds=2,
    loss_updates=3,
    matrix_rows=64,
    setting={"width": 2, "frames": 32, "batch": 4, "played": 2, "masked_frames": 8, "step_latent": 2},
    recording_s=11.0,
    recordings_per_process=1,
    processes=(1,),
)


class Sheet:
    """Results of one part, written to disk after every entry so that a part that is stopped keeps its results."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notes: list[str] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self._write()

    def note(self, line: str) -> None:
        """Add a line of text."""
        self.notes.append(line)
        self._write()

    def row(self, table: str, cells: dict[str, Any]) -> None:
        """Add a row to a table."""
        self.tables.setdefault(table, []).append(cells)
        self._write()

    def replace(self, table: str, cells: dict[str, Any]) -> None:
        """Make a table of one row."""
        self.tables[table] = [cells]
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps({"notes": self.notes, "tables": self.tables}, indent=1), encoding="utf-8")
        partial.replace(self._path)


@dataclass(frozen=True)
class Work:
    """Input of a part: its results sheet, the sizes, the device, a folder for files, and its deadline."""

    sheet: Sheet
    size: Size
    device: torch.device
    folder: Path
    deadline: float  # of time.monotonic

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def attempt(self, what: str, call: Callable[[], Any]) -> Any:
        """The result of a call, or None if it raises; a note then gives the reason, and the part continues."""
        try:
            return call()
        except Exception as fault:  # compilers, drivers and libraries fail in many ways
            line = (str(fault).splitlines() or [""])[0]
            self.sheet.note(f"{what} failed: {type(fault).__name__}: {line}")
            return None


# timing ---------------------------------------------------------------------------------------------------------------


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def elapsed_ms(call: Callable[[], object], count: int, device: torch.device) -> float:
    """Milliseconds per call, over `count` calls without a synchronisation between them."""
    wait(device)
    start = time.perf_counter()
    for _ in range(count):
        call()
    wait(device)
    return 1e3 * (time.perf_counter() - start) / count


def in_turns(
    contenders: dict[str, Callable[[], object]], count: int, work: Work, reserve_s: float = 0.0
) -> dict[str, list[float]]:
    """Milliseconds per call of each contender, which take turns round by round while time is left."""
    times_ms: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(work.size.rounds):
        if number and work.left_s < reserve_s + FINISHING_S:
            break
        for name, contender in contenders.items():
            times_ms[name].append(elapsed_ms(contender, count, work.device))
    return times_ms


def spread(values: Sequence[float]) -> str:
    """Median, minimum and maximum, with three significant digits."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in cuDNN and cuBLAS inside the block."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    settings = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = settings


def measure_ceilings(work: Work) -> dict[str, float]:
    """FLOP/s of a large matrix product and a large convolution on this device, by operation and precision."""
    rates: dict[str, float] = {}
    for precision, dtype, allowed in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        with tf32(allowed), torch.inference_mode():
            for operation, measure in (("matrix product", product_rate), ("convolution", convolution_rate)):
                name = f"{operation}, {precision}"
                rate = work.attempt(name, lambda measure=measure, dtype=dtype: measure(dtype, work))
                if rate is not None:
                    rates[name] = rate
                    cells = {"operation": operation, "precision": precision, "TFLOP/s": f"{rate / 1e12:.3g}"}
                    work.sheet.row("Ceilings of this device", cells)
    return rates


def product_rate(dtype: torch.dtype, work: Work) -> float:
    """FLOP/s of a product of two square matrices."""
    rows = work.size.matrix_rows
    left, right = (torch.randn(rows, rows, device=work.device, dtype=dtype) for _ in range(2))
    return 2.0 * rows**3 / shortest_s(lambda: left @ right, work)


def convolution_rate(dtype: torch.dtype, work: Work) -> float:
    """FLOP/s of a 3x3 convolution of 256 channels, channels last."""
    channels, side, batch = (256, 64, 64) if work.device.type == "cuda" else (8, 8, 2)
    x = torch.randn(batch, channels, side, side, device=work.device, dtype=dtype).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(work.device, dtype)
    layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return 2.0 * batch * channels**2 * 9 * side**2 / shortest_s(lambda: layer(x), work)


def shortest_s(call: Callable[[], object], work: Work) -> float:
    """Shortest time of a call in seconds."""
    elapsed_ms(call, 3, work.device)
    return min(elapsed_ms(call, 5, work.device) for _ in range(5)) / 1e3


# tests ----------------------------------------------------------------------------------------------------------------


def run_tests(work: Work) -> None:
    """Run the GPU tests and record each outcome as it is printed."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-vv", "--tb=short", "-p", "no:cacheprovider"]
    if work.device.type == "cpu":
        command += ["-k", "pca"]
    process = subprocess.Popen(
        [*command, str(ROOT / "tests" / "test_gpu.py")],
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


def parse_outcome(line: str) -> tuple[str, str]:
    """Test and outcome of a line that pytest prints as "tests/test_gpu.py::test_x[a b] PASSED [ 3%]"; else ("", "")."""
    path, separator, rest = line.strip().partition("::")
    for outcome in OUTCOMES:
        test, space, after = rest.partition(f" {outcome}")
        if separator and space and path.endswith(".py") and not path.startswith(OUTCOMES):
            return (test, outcome) if not after or after[0] in " (" else ("", "")
    return "", ""


# ALI ------------------------------------------------------------------------------------------------------------------


def measure_ali(work: Work) -> None:
    """Compare the losses of 200 updates, then measure the speed of an update for each batch size."""
    ceilings = measure_ceilings(work)
    work.attempt("comparison of losses", lambda: compare_losses(work))
    share_s = work.left_s / len(work.size.crops)
    for number, crops in enumerate(work.size.crops):
        measure_updates(crops, ceilings, work, reserve_s=share_s * (len(work.size.crops) - 1 - number))


def measure_updates(crops: int, ceilings: dict[str, float], work: Work, reserve_s: float) -> None:
    """Measure every variant of an update at one batch size; leave `reserve_s` seconds to the other batch sizes."""
    import ali

    latent, device = work.size.latent, work.device
    values = ali.drawn(crops, latent, device)
    plain = ali.Plain(latent, device)
    contenders: dict[str, Callable[[], object]] = {
        "plain, all networks again": lambda: plain.step(*values),
        "plain, only D again": lambda: plain.step(*values, again=False),
    }
    for name, recorded, compiler in variants(device):
        if compiler and work.left_s - reserve_s < COMPILING_S:
            work.sheet.note(f"{name}, {crops} crops: skipped, no time to compile")
            continue

        def create(recorded: bool = recorded, compiler: str = compiler) -> Callable[[], object]:
            step = create_step(ali.game(latent, device), values, recorded, compiler)
            step()  # compiles
            return step

        step = work.attempt(f"{name}, {crops} crops", create)
        if step is not None:
            contenders[name] = step
    for contender in contenders.values():
        elapsed_ms(contender, 3, device)
    times_ms = in_turns(contenders, work.size.updates, work, reserve_s)
    plain_ms = times_ms["plain, all networks again"]
    flop = crops * ali.operations(latent)
    for name, step_ms in times_ms.items():
        rate = flop / (min(step_ms) / 1e3)
        is_counted = name.startswith("ours")  # the plain update computes more
        cells = {
            "crops": crops,
            "update": name,
            "ms": spread(step_ms),
            "crops/s": f"{1e3 * crops / statistics.median(step_ms):.0f}",
            "speed-up over plain": spread([p / o for p, o in zip(plain_ms, step_ms, strict=True)]),
            "TFLOP/s": f"{rate / 1e12:.3g}" if is_counted else "",
        }
        for ceiling in ("matrix product, TF32", "convolution, TF32", "matrix product, float32"):
            if ceiling in ceilings:
                cells[f"% of {ceiling}"] = f"{100.0 * rate / ceilings[ceiling]:.3g}" if is_counted else ""
        work.sheet.row("ALI's update", cells)
    fastest = min(times_ms, key=lambda name: statistics.median(times_ms[name]))
    ratio = statistics.median([p / o for p, o in zip(plain_ms, times_ms[fastest], strict=True)])
    verdict = "reached" if ratio >= AIM else "not reached"
    work.sheet.note(
        f"{crops} crops: '{fastest}' is the fastest, {ratio:.1f} times as fast as plain; "
        f"the aim of {AIM:g} is {verdict}"
    )


def variants(device: torch.device) -> list[tuple[str, bool, str]]:
    """Variants of our update: name, whether it is recorded as a CUDA graph, and the compiler."""
    eager = [("ours, eager", False, "")]
    if device.type != "cuda":
        return eager
    return [
        *eager,
        ("ours, recorded", True, ""),
        ("ours, compiled and recorded", True, "inductor"),
        ("ours, compiled", False, "inductor"),
    ]


def create_step(
    game: Any, values: tuple[Tensor, ...], recorded: bool, compiler: str
) -> Callable[[], dict[str, Tensor]]:
    """An update of a game on values that lie on the device; if recorded, each call overwrites the last losses."""
    from symphony2vec.ali.losses import Game
    from symphony2vec.ali.recorded import WARM_UP, CudaGraph

    if compiler:
        group = game.generator_optimiser.param_groups[0]
        rate, betas = group["lr"], group["betas"]
        game = Game(game.encoder, game.generator, game.discriminator, rate, rate, betas, compiler=compiler)
    if not recorded:
        return lambda: game.step(*values)
    graph = CudaGraph(game, [])
    for _ in range(WARM_UP):
        losses = graph.run(lambda: game.step(*values))
    replay = graph.record(lambda: torch.stack([*game.step(*values).values()]))
    return lambda: dict(zip(losses, replay().unbind(), strict=True))


def compare_losses(work: Work) -> None:
    """Differences of the losses of 200 float32 updates from the same weights and crops, without dropout.

    The adversarial game amplifies rounding errors; the difference from double precision shows how much.
    """
    import ali

    latent, device, crops = work.size.latent, work.device, work.size.crops[0]

    def curve(step: Callable[..., dict[str, Tensor]], dtype: torch.dtype = torch.float32) -> Tensor:
        losses = []
        for number in range(work.size.loss_updates):
            update = step(*(value.to(dtype) for value in ali.drawn(crops, latent, device, number)))
            losses.append(torch.stack([update["discriminator_loss"], update["generator_loss"]]).double())
        return torch.stack(losses, dim=1).cpu()

    def create_game(dtype: torch.dtype = torch.float32) -> Any:
        return ali.game(latent, device, dtype, dropout=0.0)

    curves = {
        "the same again": lambda: curve(create_game().step),
        "plain": lambda: curve(ali.plain(latent, device, torch.float32).step),
        "ours in double precision": lambda: curve(create_game(torch.float64).step, torch.float64),
    }
    if device.type == "cuda":
        inputs = tuple(value.clone() for value in ali.drawn(crops, latent, device))
        curves["ours, recorded"] = lambda: curve(create_recorded(create_game(), inputs))
    with tf32(False):
        eager = curve(create_game().step)
        others = {name: work.attempt(f"losses of {name}", create) for name, create in curves.items()}
    for name, other in others.items():
        if other is not None:
            difference = (eager - other).abs()
            cells = {
                "ours, eager, against": name,
                f"{ali.EARLY} updates": f"{difference[:, : ali.EARLY].max().item():.1e}",
                f"{work.size.loss_updates} updates": f"{difference.max().item():.1e}",
                "of the mean loss": f"{(eager - other).mean(dim=1).abs().max().item():.1e}",
            }
            work.sheet.row(f"Largest difference of losses in float32, {crops} crops", cells)


def create_recorded(game: Any, inputs: tuple[Tensor, ...]) -> Callable[..., dict[str, Tensor]]:
    """A recorded update of a game, which starts from the weights that the game has now."""
    networks = (game.encoder, game.generator, game.discriminator)
    weights = [{key: value.clone() for key, value in network.state_dict().items()} for network in networks]
    replay = create_step(game, inputs, recorded=True, compiler="")
    for network, state in zip(networks, weights, strict=True):
        network.load_state_dict(state)
    reset_moments(game)

    def step(*values: Tensor) -> dict[str, Tensor]:
        for target, value in zip(inputs, values, strict=True):
            target.copy_(value)
        return replay()

    return step


def reset_moments(game: Any) -> None:
    """Reset both optimisers in place: a recorded graph keeps using the same memory."""
    for optimiser in (game.discriminator_optimiser, game.generator_optimiser):
        for state in optimiser.state.values():
            for value in state.values():
                value.zero_()


# the temporal model ---------------------------------------------------------------------------------------------------


def measure_temporal(work: Work) -> None:
    """Measure an update in each precision, compiled or not: clips/s, share of the ceiling, busy share of the GPU."""
    import temporal
    from symphony2vec import params
    from symphony2vec.temporal.devices import Devices
    from symphony2vec.temporal.learner import TemporalLearner

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
        if devices.compiles and work.left_s < COMPILING_S:
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
    from symphony2vec import audio, clips, features, params
    from symphony2vec.artifacts import Project
    from symphony2vec.corpus import starter

    project = Project(work.folder / "project")
    project.root.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, project.root / name)
    settings = params.read(project.params)
    starter.fill(project.corpus("starter"))
    for stage in (audio, clips, features):
        seconds = machine.elapsed_s(lambda stage=stage: stage.run(project, settings))
        work.sheet.row("Clips of the starter corpus", {"stage": stage.__name__.split(".")[-1], "s": f"{seconds:.0f}"})


def measure_training(work: Work) -> None:
    """Train full-40 on the starter corpus and compare its accuracy with those of CPU runs."""
    from symphony2vec import params
    from symphony2vec.artifacts import Project

    os.environ.pop("MLFLOW_TRACKING_URI", None)  # the run belongs to the project, which is removed afterwards
    project = Project(work.folder / "project")
    if not project.feature("mel").is_file():
        raise SystemExit("there are no clips to train on; see the log of the part clips")
    train_and_probe(project, params.read(project.params), work)


def train_and_probe(project: Any, settings: Any, work: Work) -> None:
    """Train full-40 on the only split of a project, probe it, and record times and accuracy."""
    from symphony2vec import probe, temporal
    from symphony2vec.artifacts import read_json

    training_s = machine.elapsed_s(lambda: temporal.run(project, settings, MODEL))
    probe_s = machine.elapsed_s(lambda: probe.run(project, settings, "temporal", MODEL))
    (path,) = project.out("probe", "temporal", MODEL).glob("*/scores.json")
    scores = read_json(path, "probe")["scores"]
    accuracy = next(float(score["test_accuracy"]) for score in scores if not score["reading"])
    on_cpu = cpu_accuracies(RESULTS)
    low, high = min(on_cpu.values()), max(on_cpu.values())
    cells = {
        "training, s": f"{training_s:.0f}",
        "probe, s": f"{probe_s:.0f}",
        "accuracy, %": f"{100.0 * accuracy:.1f}",
        "same split on a CPU, %": f"{100.0 * on_cpu.get(path.parent.name, float('nan')):.1f}",
        "all splits on a CPU, %": f"{100.0 * low:.1f} to {100.0 * high:.1f}",
        "within that range": "yes" if low <= accuracy <= high else "no",
    }
    work.sheet.row(f"{MODEL}, split {path.parent.name}", cells)


def cpu_accuracies(path: Path) -> dict[str, float]:
    """Test accuracy of full-40 on each split by work, from the counts of the study."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] == MODEL and not row["reading"] and row["draw"].startswith("work-"):
                counts[row["draw"]][0] += int(row["right"])
                counts[row["draw"]][1] += int(row["clips"])
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
    from symphony2vec.audio import decoding, loudness
    from symphony2vec.features import represent
    from symphony2vec.package import model

    embedder = embedding.network(package)
    embedder.embed_file(path)  # the first call compiles functions of numba
    frontend = embedder.hearing
    recipe, marks = frontend.recipe, [time.perf_counter()]
    with model.one_thread(), decoding.waveform_on_disk(path, recipe.rate_hz, model.LONGEST_S) as (mono, _):
        marks.append(time.perf_counter())
        span = loudness.measured(mono, recipe.rate_hz, frontend.level, short=True)
        marks.append(time.perf_counter())
        starts = span.begin + model.window_starts(span.end - span.begin, recipe.samples, frontend.minimum_fill)
        batches = embedder._windows(lambda start: mono[start : start + recipe.samples], starts, span.gain)
        spectrograms = np.stack([represent(window, recipe, ("mel",))["mel"] for batch in batches for window in batch])
        marks.append(time.perf_counter())
        embedder._asked(spectrograms)
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
