"""Checks on a GPU, in eight minutes: whether it computes what the CPU computes, and how fast.

Each part runs in its own process within a time limit; if one fails, the report names it and the next one starts:

    tests      `pytest -m gpu`: forward passes, gradients, checkpoints, packages, several GPUs
    ali        an update of ALI: the plain reference, ours, compiled, and recorded as a CUDA graph
    temporal   an update of the temporal model: float32, bfloat16, compiled
    training   full-40 on the starter corpus from its clips to its probe, beside the accuracies of CPU runs
    embedding  music from FLAC to vectors, with 1, 4 and 16 processes that decode

The clips for `training` are made while the tests run; timings start when both are done. The folder `--out` receives
gpu.json, gpu.md and the log of each part. Without a GPU the script says so and exits. `--device cpu` runs what a CPU
can run, at a small size: this tests the script and measures nothing. `python benchmarks/gpu.py --help` lists the
options.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import gpu_parts
import gpu_work
import machine

SECONDS = 460.0
# Time limit of each part as a share of the total; a later part may also use what earlier ones left over.
SHARES = {"tests": 0.27, "ali": 0.32, "temporal": 0.16, "training": 0.16, "embedding": 0.09}
CLIPS = "clips"  # runs while the tests run
CLIPS_SHARE = 0.35  # of the total, from the start on
ENDS_WITHIN_S = 5.0
IN_PROJECT = (CLIPS, "training")  # share a folder


def part_command(name: str, out: Path, device: str, limit_s: float) -> list[str]:
    """The command that runs one part."""
    command = [sys.executable, str(Path(__file__).resolve()), "--part", name, "--out", str(out)]
    return [*command, "--device", device, "--seconds", str(limit_s)]


class Child:
    """One part in its own process, which writes a results sheet and a log."""

    def __init__(self, name: str, out: Path, device: str, limit_s: float) -> None:
        self.name, self.limit_s = name, limit_s
        self._start, self._sheet, self._log = time.monotonic(), sheet_path(out, name), out / "parts" / f"{name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                part_command(name, out, device, limit_s),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TQDM_DISABLE": "1"},
                start_new_session=True,
            )

    def result(self) -> dict[str, Any]:
        """Wait for the part, or stop it at its limit; returns its results and how it ended."""
        try:
            code = self.process.wait(max(0.1, self.limit_s - (time.monotonic() - self._start)))
            status = "done" if code == 0 else f"failed: {self._last_line()}"
        except subprocess.TimeoutExpired:
            status = f"stopped after {self.limit_s:.0f} s"
        finally:
            self.end()
        sheet = {"notes": [], "tables": {}}
        if self._sheet.is_file():
            sheet = json.loads(self._sheet.read_text(encoding="utf-8"))
        return {"status": status, "elapsed_s": round(time.monotonic() - self._start, 1), **sheet}

    def end(self) -> None:
        """End the process and its own child processes."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(ENDS_WITHIN_S)

    def _last_line(self) -> str:
        lines = [line for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "its log is empty"


def sheet_path(out: Path, name: str) -> Path:
    return out / "parts" / f"{name}.json"


def run_all(out: Path, device: str, seconds: float, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run the parts one after the other and update the report after each."""
    start = time.monotonic()
    results: dict[str, dict[str, Any]] = {}

    def keep(name: str, result: dict[str, Any]) -> None:
        results[name] = result
        print(f"{name}: {result['status']} ({result['elapsed_s']:.0f} s)", flush=True)
        report(out, results)

    clips = Child(CLIPS, out, device, CLIPS_SHARE * seconds) if "training" in names else None
    current: Child | None = None
    try:
        share = 0.0
        for name in names:
            share += SHARES[name]
            if clips is not None and name != "tests":
                keep(CLIPS, clips.result())
                clips = None
            limit_s = max(1.0, share * seconds - (time.monotonic() - start))
            current = Child(name, out, device, limit_s)
            keep(name, current.result())
    finally:
        for child in (clips, current):
            if child is not None:
                child.end()
    return results


def environment() -> dict[str, str]:
    """GPU, PyTorch, processor and versions."""
    try:
        description = machine.described()
    except importlib.metadata.PackageNotFoundError as missing:
        description = f"{os.cpu_count()} cores; {missing.name} is not installed"
    gpu = "no GPU"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
        gpu += f"{properties.multi_processor_count} multiprocessors"
    return {"gpu": gpu, "torch": f"{torch.__version__}, CUDA {torch.version.cuda}", "machine": description}


def report(out: Path, results: dict[str, dict[str, Any]]) -> str:
    """Write gpu.json and gpu.md; returns the latter."""
    facts = environment()
    (out / "gpu.json").write_text(json.dumps({"environment": facts, "parts": results}, indent=1), encoding="utf-8")
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "| part | status | s |", "|---|---|---|"]
    lines += [f"| {name} | {result['status']} | {result['elapsed_s']:.0f} |" for name, result in results.items()]
    for result in results.values():
        for title, rows in result["tables"].items():
            lines += ["", f"**{title}**", "", *markdown(rows)]
        lines += ["", *(f"- {note}" for note in result["notes"])] if result["notes"] else []
    text = "\n".join(lines) + "\n"
    (out / "gpu.md").write_text(text, encoding="utf-8")
    return text


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of a table with every column that some row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(str(row.get(name, '')) for name in columns)} |" for row in rows]


def run_part(name: str, out: Path, device: str, seconds: float) -> None:
    """Run one part in this process."""
    folder = out / "work" / ("project" if name in IN_PROJECT else name)
    folder.mkdir(parents=True, exist_ok=True)
    size = gpu_work.Size() if device == "cuda" else gpu_work.SMALL
    deadline = time.monotonic() + seconds
    sheet = gpu_work.Sheet(sheet_path(out, name))
    gpu_parts.PARTS[name](gpu_work.Work(sheet, size, torch.device(device), folder.resolve(), deadline))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="the folder of gpu.json and gpu.md")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: test the script")
    parser.add_argument("--parts", nargs="+", choices=list(SHARES), help="which parts; all of them by default")
    parser.add_argument("--part", choices=list(gpu_parts.PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("No GPU: PyTorch sees none here, so there is nothing to measure.")
        return
    if options.part:
        run_part(options.part, options.out, options.device, options.seconds)
        return
    # The whole training has no small size: on a CPU it takes minutes, so it must be asked for.
    chosen = options.parts or [name for name in SHARES if options.device == "cuda" or name != "training"]
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("parts", "work"):
        shutil.rmtree(options.out / name, ignore_errors=True)
    results = run_all(options.out, options.device, options.seconds, [name for name in SHARES if name in chosen])
    shutil.rmtree(options.out / "work", ignore_errors=True)
    print(f"\n{report(options.out, results)}")


if __name__ == "__main__":
    import gpu  # by its name, so that worker processes find its functions

    gpu.main()
