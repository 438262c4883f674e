"""Peak memory of features, normalisation and PCA over few clips and over many: it must not grow with their number.

What counts is anonymous memory (RssAnon of Linux): pages of the memory-mapped arrays can be taken back at any time.
Each number of clips is measured in a process of its own, which a thread samples together with its workers.
`python benchmarks/memory.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import soundfile

import machine
from symphony2vec import params
from symphony2vec.features import stage as features
from symphony2vec.features.representations import Recipe
from symphony2vec.models.embeddings import pca
from symphony2vec.package import scaling
from symphony2vec.project import REPRESENTATIONS

ROOT = Path(__file__).parents[1]
MB = 1e6
SOURCES, CLIPS_A_MOVEMENT = 4, 25  # the FLACs that are made, each linked many times; clips.max_per_movement
TRAINING = 0.6
SAMPLED_EVERY_S = 0.02
HAS_ANONYMOUS = Path("/proc/self/status").is_file()


def resident(process: int) -> tuple[float, float]:
    """Anonymous and file-backed resident memory of a process in MB; without /proc all of it counts as anonymous."""
    if not HAS_ANONYMOUS:
        return psutil.Process(process).memory_info().rss / MB, 0.0
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    kilobytes = {
        key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in lines) if "Rss" in key
    }
    return kilobytes["RssAnon"] * 1024 / MB, kilobytes["RssFile"] * 1024 / MB


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Peaks, in MB, of this process and of its largest worker while the block runs, and the seconds it took."""
    peaks = {"main": 0.0, "worker": 0.0, "mapped": 0.0}
    ended = threading.Event()
    thread = threading.Thread(target=look, args=(peaks, ended))
    thread.start()
    start = time.perf_counter()
    try:
        yield peaks
    finally:
        peaks["took_s"] = time.perf_counter() - start
        ended.set()
        thread.join()


def look(peaks: dict[str, float], ended: threading.Event) -> None:
    own = psutil.Process()
    while not ended.wait(SAMPLED_EVERY_S):
        for who, process in [("main", own), *(("worker", worker) for worker in own.children(recursive=True))]:
            try:
                anonymous, mapped = resident(process.pid)
            except (OSError, KeyError, psutil.Error):  # it has just ended
                continue
            peaks[who] = max(peaks[who], anonymous)
            peaks["mapped"] = max(peaks["mapped"], mapped)


def corpus(folder: Path, count: int, recipe: features.Recipe) -> pd.DataFrame:
    """`count` clips, each a second after the one before it, of movements that are links to a few FLACs."""
    for number in range(SOURCES):
        wave = machine.music(recipe.duration_s + CLIPS_A_MOVEMENT, recipe.rate_hz, number)
        soundfile.write(folder / f"source-{number}.flac", wave, recipe.rate_hz, subtype="PCM_16")
    rows = []
    for clip in range(count):
        number, place = divmod(clip, CLIPS_A_MOVEMENT)
        name = f"{number:06}.flac"
        if not place:
            os.link(folder / f"source-{number % SOURCES}.flac", folder / name)
        rows.append({"clip": clip, "file": name, "start_s": float(place), "split": "test"})
    clips = pd.DataFrame(rows)
    clips.loc[np.random.default_rng(0).random(count) < TRAINING, "split"] = "train"
    return clips


def measure(count: int) -> dict[str, Any]:
    """Peaks of each step over `count` clips."""
    stored = params.read(ROOT / "params.yaml")
    recipe = Recipe(stored.audio.sample_rate_hz, stored.clips.duration_s, stored.features)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = corpus(folder, count, recipe)
        steps: dict[str, Callable[[], object]] = {
            "extract": lambda: features.extract(clips, folder, folder, recipe),
            "moments": lambda: moments(clips, folder),
            "pca, vectors": lambda: vectors(clips, folder, stored.embeddings),
        }
        found: dict[str, Any] = {}
        for step, work in steps.items():
            with watched() as found[step]:
                work()
        arrays_mb = sum(path.stat().st_size for path in folder.glob("*.npy")) / MB
    return {"count": count, "arrays_mb": arrays_mb, "steps": found}


def vectors(clips: pd.DataFrame, folder: Path, settings: params.Embeddings) -> np.ndarray:
    """The mel's principal components, fitted on the training clips, and the vectors of all clips."""
    array = np.load(folder / "mel.npy", mmap_mode="r")
    training = np.flatnonzero(clips["split"] == "train")
    scaled = scaling.standard(array, training)

    def batches(rows: np.ndarray) -> Any:
        return scaling.batches(array, rows, scaled, settings.pca.batch_clips)

    fitted = pca.fit(batches(training), len(training), settings)
    return np.concatenate([fitted.transform(batch) for batch in batches(np.arange(len(clips)))])


def moments(clips: pd.DataFrame, folder: Path) -> None:
    """Those of all three representations over the training clips."""
    training = np.flatnonzero(clips["split"] == "train")
    for name in REPRESENTATIONS:
        scaling.moments(np.load(folder / f"{name}.npy", mmap_mode="r"), training)


def in_child(count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(results: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| clips | arrays on disk | step | main process | largest worker | mapped pages | time |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for step, peaks in result["steps"].items():
            worker = f"{peaks['worker']:.0f} MB" if peaks["worker"] and step == "extract" else ""
            lines.append(
                f"| {result['count']:,} | {result['arrays_mb']:,.0f} MB | {step} | {peaks['main']:.0f} MB | {worker} "
                f"| {peaks['mapped']:.0f} MB | {peaks['took_s']:.0f} s |"
            )
    return lines


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--clips", type=int, nargs="+", default=[1000, 5000, 10000])
    asked.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    results = [in_child(count) for count in options.clips]
    print(f"\n{machine.described()}\n")
    print(
        "Peaks of anonymous memory" if HAS_ANONYMOUS else "Peaks of all resident memory: there is no RssAnon here", "\n"
    )
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
