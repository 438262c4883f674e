"""What a benchmark ran on, and the sounds and timings that benchmarks share."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

LIBRARIES = ("librosa", "numpy", "scipy", "numba", "soundfile", "soxr", "scikit-learn", "joblib")


def described() -> str:
    """Processor, cores, Python and library versions in one line."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    system = f"{platform.system()} {platform.machine()}"
    return f"{_processor()}, {os.cpu_count()} cores, {system}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def music(duration_s: float, rate_hz: int, seed: int) -> np.ndarray:
    """A new chord every half second, five harmonics a tone, over a little noise: (N,) float32."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(rate_hz // 2) / rate_hz
    fade = np.minimum(1.0, 40.0 * np.minimum(times_s, times_s[::-1]))
    chords = []
    for _ in range(int(np.ceil(2 * duration_s))):
        tones_hz = 440.0 * 2.0 ** (rng.integers(-24, 15, size=4) / 12.0)
        chords.append(fade * sum(np.sin(2 * np.pi * f * k * times_s) / k**2 for f in tones_hz for k in range(1, 6)))
    wave = np.concatenate(chords)[: round(duration_s * rate_hz)]
    return (0.1 * wave + 0.002 * rng.standard_normal(len(wave))).astype(np.float32)


def elapsed_s(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, smallest and largest value."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
