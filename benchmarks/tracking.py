"""What tracking costs: the stage `embeddings` with MLflow's database, with its server, with a dead one, and with none.

The contenders take turns in one process, round after round, and each trains the same network on the same clips (noise,
as many as the starter corpus has); a ratio is taken within a round. Beside it stands what the calls themselves took by
the clock, which a busy machine blurs less. `python benchmarks/tracking.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

import machine
from symphony2vec import params, tracking
from symphony2vec.models.embeddings import stage as embeddings
from symphony2vec.project import Project, SplitFold, write_array, write_table
from symphony2vec.tracking import runs

ROOT = Path(__file__).parents[1]
SPLITS = {"train": 606, "validation": 161, "test": 239}  # the starter corpus
SHAPES = {"mel": (64, 431), "mfcc": (13, 431), "chroma": (12, 431)}
CALLS = ("_start", "log_metrics", "log_image", "log_figure", "log_model", "_end")
WORDS = {"_start": "opening", "log_metrics": "an epoch's metrics", "log_model": "the model", "_end": "ending"}


def project_in(root: Path, representation: str) -> Project:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, root / name)
    made, sides = Project(root), np.repeat(list(SPLITS), list(SPLITS.values()))
    composers = [f"composer {number % 5}" for number in range(len(sides))]
    table = pd.DataFrame({"clip": range(len(sides)), "composer": composers, "work": sides, "movement": "1"})
    write_table(made.clips, table.assign(file="x.flac", start_s=0.0))
    write_table(made.fold(SplitFold("work", 0)), table.assign(file="x.flac", group=sides, split=sides, split_by="work"))
    write_table(made.movements, pd.DataFrame([{"file": "x.flac", "licence": "CC0", "kind": "recording"}]))
    rng = np.random.default_rng(0)
    write_array(
        made.feature(representation),
        rng.uniform(-80.0, 0.0, (len(sides), *SHAPES[representation])).astype(np.float32),
    )
    return made


@contextlib.contextmanager
def untracked(*_: Any, **__: Any) -> Iterator[Any]:
    """In place of `tracking.start_run`: a run that says nothing to anybody."""
    yield SimpleNamespace(run_id="0" * 32, **{name: lambda *_, **__: None for name in (*CALLS, "set_tag")})


@contextlib.contextmanager
def clocked() -> Iterator[dict[str, list[float]]]:
    """The seconds of every call of a run, by kind."""
    took: dict[str, list[float]] = {name: [] for name in CALLS}

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def call(*words: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*words, **named)
            finally:
                took[name].append(time.perf_counter() - start)

        return call

    plain = {name: getattr(runs.Run, name) for name in CALLS}
    for name, work in plain.items():
        setattr(runs.Run, name, timed(name, work))
    try:
        yield took
    finally:
        for name, work in plain.items():
            setattr(runs.Run, name, work)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A real MLflow server on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 's.db'}", "--artifacts-destination", str(folder / "a")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def trained(project: Project, settings: params.Params, model: str, representation: str, address: str | None) -> float:
    """Seconds of one whole stage; its outputs are removed. `address`: "" for the database, None for no tracking."""
    os.environ.pop(tracking.TRACKING_URI_VARIABLE, None)
    if address:
        os.environ[tracking.TRACKING_URI_VARIABLE] = address
    run = tracking.start_run
    if address is None:
        tracking.start_run = untracked  # type: ignore[assignment]
    try:
        return machine.elapsed_s(lambda: embeddings.run(project, settings, model, representation))
    finally:
        tracking.start_run = run
        shutil.rmtree(project.out("embeddings"))
        shutil.rmtree(project.mlruns / "outbox", ignore_errors=True)


def compared(model: str, representation: str, epochs: int, rounds: int) -> list[str]:
    values = copy.deepcopy(YAML(typ="safe").load((ROOT / "params.yaml").read_text()))
    asked = values["embeddings"][model]["epochs"]
    values["embeddings"][model]["epochs"] = epochs or asked
    settings = params.check(values)
    values["embeddings"][model]["epochs"] = 1
    short = params.check(values)
    times: dict[str, list[float]] = {}
    calls: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as address:
        root = Path(name, "project")
        root.mkdir()
        project = project_in(root, representation)
        contenders = {"none": None, "database": "", "server": address, "dead server": "http://127.0.0.1:9"}
        for warm in (None, "", address):
            trained(project, short, model, representation, warm)
        for _ in range(rounds):
            for contender, where in contenders.items():
                with clocked() as took:
                    times.setdefault(contender, []).append(trained(project, settings, model, representation, where))
                for kind, own in took.items():
                    calls.setdefault(contender, {}).setdefault(kind, []).extend(own)
    title = f"### {model}-{representation}: {epochs or asked} epochs, {rounds} rounds"
    return [title, "", *_shares(times, calls, rounds, asked / (epochs or asked)), "", *_each(calls), ""]


def _shares(
    times: dict[str, list[float]], calls: dict[str, dict[str, list[float]]], rounds: int, longer: float
) -> list[str]:
    """One row a contender; full length has `longer` times as many epochs, opened, drawn and ended as often."""
    lines = [
        "| told to | s a training | time against none | calls, by the clock | while it trains | at full length |",
        "|---|---|---|---|---|---|",
    ]
    for contender, own in times.items():
        ratio = machine.spread([t / n for t, n in zip(own, times["none"], strict=True)], 3)
        during = sum(sum(calls[contender][kind]) for kind in ("log_metrics", "log_image")) / rounds
        all_s = sum(sum(one) for one in calls[contender].values()) / rounds
        whole = statistics.mean(own)
        real = (all_s + (longer - 1) * during) / (whole + (longer - 1) * (whole - (all_s - during)))
        shares = f"{all_s / whole:.2%} | {during / whole:.2%} | {real:.2%}"
        lines.append(f"| {contender} | {machine.spread(own, 1)} | {ratio} | {shares} |")
    return lines


def _each(calls: dict[str, dict[str, list[float]]]) -> list[str]:
    names = [name for name in calls if any(calls[name].values())]
    lines = ["| ms a call | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for kind in CALLS:
        cells = [machine.spread([1e3 * t for t in calls[name][kind]], 0) if calls[name][kind] else "" for name in names]
        lines.append(f"| {WORDS.get(kind, kind)} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--epochs", type=int, default=5, help="of the VAE, which has 100 in params.yaml; 0 for those")
    asked.add_argument("--model", choices=["vae", "ae"], nargs="+", default=["vae", "ae"], help="of the mel, the MFCC")
    options = asked.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server ends with this process
    print(f"\n{machine.described()}\n", flush=True)
    for model, representation, epochs in (("vae", "mel", options.epochs), ("ae", "mfcc", 0)):
        if model in options.model:
            print("\n".join(compared(model, representation, epochs, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
