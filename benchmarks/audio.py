"""Seconds of music made in a second by the stage `audio`, in one process: scores played, recordings decoded.

Every source is made by `audio.write_flac`, as in the stage, and in its parts; sources take turns, round after round.
`python benchmarks/audio.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
import soxr

import machine
from symphony2vec import params, synthesis
from symphony2vec.audio import stage as audio
from symphony2vec.corpus import catalogue
from symphony2vec.decoding import ffmpeg, parts
from symphony2vec.decoding import recording as decoding
from symphony2vec.decoding import sources as sources_of
from symphony2vec.decoding.ranges import FileBytes

ROOT = Path(__file__).parents[1]
SOURCE_RATE_HZ = 44100
KINDS = {"FLAC": "PCM_16", "MP3": "MPEG_LAYER_III", "WAV": "PCM_16"}
PARTS = ("read", "render", "resample", "loudness", "write")

Result = TypeVar("Result")


@dataclass
class Clock:
    """Seconds spent in each named part."""

    spent_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    def timed(self, part: str, work: Callable[[], Result]) -> Result:
        """Do the work of one part."""
        start = time.perf_counter()
        result = work()
        self.spent_s[part] += time.perf_counter() - start
        return result


def recordings(folder: Path, duration_s: float) -> dict[str, list[Path]]:
    """One stereo recording of each kind."""
    sides = [machine.music(duration_s, SOURCE_RATE_HZ, seed) for seed in (0, 1)]
    found = {}
    for kind, subtype in KINDS.items():
        path = folder / f"recording.{kind.lower()}"
        soundfile.write(path, np.stack(sides, axis=1), SOURCE_RATE_HZ, format=kind, subtype=subtype)
        found[f"{kind}, 44.1 kHz stereo"] = [path]
    return found


def scores(count: int) -> list[Path]:
    """The scores of the starter corpus nearest to its median size."""
    folder = ROOT / "data" / "starter"
    if not (folder / "catalogue.csv").is_file():
        sys.exit("data/starter/catalogue.csv is missing; `symphony2vec corpus starter` writes it")
    movements, _ = catalogue.read(folder)
    found = sorted((catalogue.source(folder, one) for one in movements), key=lambda path: path.stat().st_size)
    first = max(0, (len(found) - count) // 2)
    return found[first : first + count]


def kind_of(path: Path) -> str:
    return "recording" if path.suffix[1:].upper() in KINDS else "score"


def movement_of(path: Path) -> catalogue.Movement:
    return catalogue.Movement("composer", path.stem, "I", path.name, kind_of(path), "", "")


def by_parts(path: Path, recipe: audio.Recipe, target: Path, clock: Clock) -> float:
    """What `audio.write_flac` does, part by part; returns the seconds of music."""
    if kind_of(path) == "score":
        (performance, *_) = recipe.performances(movement_of(path))
        notes = clock.timed("read", lambda: synthesis.read_notes(path, performance.interpretation))
        stereo, rendered_hz = clock.timed("render", lambda: synthesis.perform(notes, performance))
        wave = clock.timed("resample", lambda: soxr.resample(stereo.mean(axis=1), rendered_hz, recipe.rate_hz))
    else:
        blocks = clock.timed("read", lambda: blocks_of(path))
        wave = clock.timed("resample", lambda: resampled(blocks, recipe.rate_hz))
    levelled, _ = clock.timed("loudness", lambda: audio.normalize_loudness(wave, recipe.rate_hz, recipe.target))
    clock.timed("write", lambda: soundfile.write(target, levelled, recipe.rate_hz, subtype="PCM_16"))
    return len(levelled) / recipe.rate_hz


def blocks_of(path: Path) -> list[np.ndarray]:
    """A recording decoded to mono at its own rate."""
    with decoding.open_recording(path, decoding.MAX_DURATION_S) as recording:
        return [block for _, block in recording.read_mono_blocks()]


def decoders(sources: dict[str, list[Path]], duration_s: float, rounds: int) -> list[str]:
    """How many times real time libsndfile and FFmpeg decode each recording, in turns, and their ratio."""
    lines = ["| | libsndfile | FFmpeg | ratio |", "|---|---|---|---|"]
    for name, (path, *_) in sources.items():
        speeds: dict[str, list[float]] = {"libsndfile": [], "ffmpeg": []}
        for _ in range(rounds):
            for decoder, speed in speeds.items():
                speed.append(duration_s / machine.elapsed_s(lambda d=decoder, path=path: decode_with(d, path)))
        medians = [statistics.median(speed) for speed in speeds.values()]
        lines.append(f"| {name} | {medians[0]:.0f} | {medians[1]:.0f} | {medians[0] / medians[1]:.2f} |")
    return lines


def decode_with(decoder: str, path: Path) -> int:
    """Decode a recording with one of the decoders; returns the number of its frames."""
    with path.open("rb", buffering=0) as file:
        container = ffmpeg.detect_container(path.read_bytes()[:65536])
        part = parts.Part(container=container if decoder == "ffmpeg" else "")
        source = sources_of.open_part(file, FileBytes(file), part)
        frames = sum(len(block) for _, block in source.read_blocks(decoding.BLOCK_FRAMES))
        source.close()
        return frames


def resampled(blocks: list[np.ndarray], rate_hz: int) -> np.ndarray:
    """The blocks as one wave at the project's rate."""
    stream = soxr.ResampleStream(SOURCE_RATE_HZ, rate_hz, 1, dtype="float32")
    parts = [stream.resample_chunk(block) for block in blocks]
    return np.concatenate([*parts, stream.resample_chunk(np.zeros(0, np.float32), last=True)])


def measured(sources: dict[str, list[Path]], recipe: audio.Recipe, folder: Path, rounds: int) -> list[str]:
    """The table: one row a kind of source."""
    speeds: dict[str, list[float]] = {name: [] for name in sources}
    shares: dict[str, list[list[float]]] = {name: [] for name in sources}
    music_s = dict.fromkeys(sources, 0.0)
    target = folder / "made.flac"
    for round_number in range(rounds + 1):  # the first warms up
        for name, paths in sources.items():
            clock = Clock()
            music_s[name] = sum(by_parts(path, recipe, target, clock) for path in paths)
            whole_s = sum(machine.elapsed_s(lambda path=path: made(path, recipe, target)) for path in paths)
            if round_number:
                speeds[name].append(music_s[name] / whole_s)
                spent = list(clock.spent_s.values())
                shares[name].append([s / sum(spent) for s in spent])
    lines = [f"| | music | times real time | {' | '.join(PARTS)} |", "|---" * (3 + len(PARTS)) + "|"]
    for name in sources:
        medians = [statistics.median(part) for part in zip(*shares[name], strict=True)]
        cells = [f"{share:.0%}" if share else "" for share in medians]
        lines.append(f"| {name} | {music_s[name]:.0f} s | {machine.spread(speeds[name], 0)} | {' | '.join(cells)} |")
    return lines


def made(path: Path, recipe: audio.Recipe, target: Path) -> None:
    """The FLAC of one source, by the stage's own function, from nothing."""
    for old in (target, target.with_suffix(".json")):
        old.unlink(missing_ok=True)
    performance = next(iter(recipe.performances(movement_of(path))), None)
    audio.write_flac(audio.FlacJob(path, performance, "", target, recipe))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--scores", type=int, default=6)
    asked.add_argument("--seconds", type=float, default=120.0, help="length of each recording")
    asked.add_argument("--rounds", type=int, default=5)
    options = asked.parse_args()
    recipe = audio.make_recipe(params.read(ROOT / "params.yaml"))
    chosen = scores(options.scores)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorded = recordings(folder, options.seconds)
        sources = {f"{len(chosen)} scores of the starter corpus": chosen} | recorded
        lines = measured(sources, recipe, folder, options.rounds)
        lines += ["", *decoders(recorded, options.seconds, options.rounds)]
    print(f"\n{machine.described()}\n\n{options.rounds} rounds; median (smallest to largest); share of time by part\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
