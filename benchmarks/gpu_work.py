"""What the parts of benchmarks/gpu.py share: sizes, the sheet of results, timing, and the ceilings of the device."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

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
    crops=(2,),
    latent=8,
    updates=1,
    rounds=1,
    loss_updates=2,
    matrix_rows=64,
    setting={"width": 2, "crop_frames": 32, "batch": 4, "generator_batch": 2, "mask_frames": 8, "step_latent": 2},
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
