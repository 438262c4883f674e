"""Clips per second: the stage `features` against librosa's own calls on the same clips.

The contenders take turns, round after round, so that whatever else the machine does meets all of them; a ratio is
taken within a round. `python benchmarks/features.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import joblib
import librosa
import numpy as np
import pandas as pd
import soundfile
import threadpoolctl

import machine
from symphony2vec import params
from symphony2vec.features import representations
from symphony2vec.features import stage as features
from symphony2vec.features.representations import Recipe

ROOT = Path(__file__).parents[1]
CLIPS_A_MOVEMENT = 8


def plain(wave: np.ndarray, recipe: Recipe) -> dict[str, np.ndarray]:
    """One clip by three calls of librosa."""
    own = recipe.settings
    stft = {"sr": recipe.rate_hz, "n_fft": own.fft_samples, "hop_length": own.hop_samples}
    mel = librosa.feature.melspectrogram(y=wave, n_mels=own.mel_bands, **stft)
    return {
        "mel": librosa.power_to_db(mel, ref=np.max, top_db=own.dynamic_range_db),
        "mfcc": librosa.feature.mfcc(y=wave, n_mfcc=own.mfcc_coefficients, **stft),
        "chroma": librosa.feature.chroma_stft(y=wave, n_chroma=own.chroma_bins, **stft),
    }


def one_thread(work: Callable[[], object]) -> Callable[[], object]:
    def limited() -> object:
        with threadpoolctl.threadpool_limits(1):
            return work()

    return limited


def corpus(folder: Path, count: int, recipe: Recipe) -> pd.DataFrame:
    """`count` clips as FLACs of a few clips each; returns their table."""
    rows = []
    for number, first in enumerate(range(0, count, CLIPS_A_MOVEMENT)):
        clips = min(CLIPS_A_MOVEMENT, count - first)
        wave = machine.music(clips * recipe.duration_s, recipe.rate_hz, number)
        soundfile.write(folder / f"{number:04}.flac", wave, recipe.rate_hz, subtype="PCM_16")
        rows += [{"file": f"{number:04}.flac", "start_s": place * recipe.duration_s} for place in range(clips)]
    return pd.DataFrame(rows).assign(clip=range(count))


def read(folder: Path, clips: pd.DataFrame, recipe: Recipe) -> list[np.ndarray]:
    starts = [round(start_s * recipe.rate_hz) for start_s in clips["start_s"]]
    return [
        soundfile.read(folder / file, start=start, frames=recipe.samples, dtype="float32")[0]
        for file, start in zip(clips["file"], starts, strict=True)
    ]


def speeds(folder: Path, count: int, rounds: int, recipe: Recipe) -> tuple[list[str], str]:
    """The table of contenders, and how far their results lie apart."""
    clips = corpus(folder, count, recipe)
    waves = read(folder, clips, recipe)
    written: list[Path] = []

    def stage() -> None:
        target = folder / f"round-{len(written)}"
        target.mkdir()
        written.append(target)
        features.extract(clips, folder, target, recipe)

    def by_librosa() -> list[dict[str, np.ndarray]]:
        return [plain(wave, recipe) for wave in read(folder, clips, recipe)]

    contenders: dict[str, Callable[[], object]] = {
        "librosa's calls, one process": by_librosa,
        "the same on one thread": one_thread(by_librosa),
        "`represent`, one process, one thread": one_thread(
            lambda: [representations.represent(wave, recipe) for wave in read(folder, clips, recipe)]
        ),
        f"the stage, {joblib.cpu_count()} processes": stage,
    }
    for work in contenders.values():
        work()
    took = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            took[name].append(machine.elapsed_s(work))
    first, second = list(took.values())[:2]
    lines = ["| | clips a second | against librosa | against librosa on one thread |", "|---|---|---|---|"]
    for name, own in took.items():
        cells = [
            [count / t for t in own],
            *([t / o for t, o in zip(base, own, strict=True)] for base in (first, second)),
        ]
        lines.append(
            f"| {name} | " + " | ".join(machine.spread(c, n) for c, n in zip(cells, (1, 2, 2), strict=True)) + " |"
        )
    return lines, apart(waves, written[-1], recipe)


def apart(waves: list[np.ndarray], written: Path, recipe: Recipe) -> str:
    """The largest difference between librosa's values and what the stage wrote."""
    arrays = {name: np.load(written / f"{name}.npy", mmap_mode="r") for name in recipe.shapes}
    largest = dict.fromkeys(arrays, 0.0)
    with threadpoolctl.threadpool_limits(1):
        for row, wave in enumerate(waves):
            for name, values in plain(wave, recipe).items():
                largest[name] = max(largest[name], float(np.abs(values - arrays[name][row]).max()))
    return "Largest difference from librosa's values: " + ", ".join(f"{name} {v:.1e}" for name, v in largest.items())


def parts(wave: np.ndarray, rounds: int, recipe: Recipe) -> list[str]:
    """Where the time of one clip goes, and what librosa's own tuning estimate would take."""
    own = recipe.settings
    power = np.abs(librosa.stft(wave, n_fft=own.fft_samples, hop_length=own.hop_samples)) ** 2
    bank, wide = representations.mel_filters(recipe.rate_hz, own.fft_samples, own.mel_bands)
    stft = {"sr": recipe.rate_hz, "n_fft": own.fft_samples, "n_chroma": own.chroma_bins}
    steps: dict[str, Callable[[], object]] = {
        "`represent`, all of it": lambda: representations.represent(wave, recipe),
        "short-time Fourier transform and power": lambda: (
            np.abs(librosa.stft(wave, n_fft=own.fft_samples, hop_length=own.hop_samples)) ** 2
        ),
        "mel filters and dB": lambda: librosa.power_to_db(bank @ power, ref=np.max, top_db=own.dynamic_range_db),
        "MFCC's filters, dB and cosine transform": lambda: librosa.feature.mfcc(
            S=librosa.power_to_db(wide @ power), n_mfcc=own.mfcc_coefficients
        ),
        "tuning": lambda: representations.estimate_tuning(power, recipe.rate_hz, own.chroma_bins),
        "chroma filters and their use": lambda: librosa.feature.chroma_stft(S=power, tuning=0.1, **stft),
        "(not used) librosa's `estimate_tuning`": lambda: librosa.estimate_tuning(
            S=power, sr=recipe.rate_hz, bins_per_octave=own.chroma_bins
        ),
    }
    took = {name: [] for name in steps}
    with threadpoolctl.threadpool_limits(1):
        for _ in range(10 * rounds):
            for name, work in steps.items():
                took[name].append(1000.0 * machine.elapsed_s(work))
    whole = statistics.median(took["`represent`, all of it"])
    lines = ["| part | ms a clip | share |", "|---|---|---|"]
    for name, own_ms in took.items():
        lines.append(f"| {name} | {statistics.median(own_ms):.2f} | {statistics.median(own_ms) / whole:.0%} |")
    return lines


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--clips", type=int, default=64)
    asked.add_argument("--rounds", type=int, default=5)
    options = asked.parse_args()
    stored = params.read(ROOT / "params.yaml")
    recipe = Recipe(stored.audio.sample_rate_hz, stored.clips.duration_s, stored.features)
    with tempfile.TemporaryDirectory() as folder:
        lines, difference = speeds(Path(folder), options.clips, options.rounds, recipe)
    shares = parts(machine.music(recipe.duration_s, recipe.rate_hz, 0), options.rounds, recipe)
    print(
        f"\n{machine.described()}\n\n{options.clips} clips of {recipe.duration_s:g} s, {options.rounds} rounds; ",
        end="",
    )
    print("median (smallest to largest); from FLAC to arrays\n")
    print("\n".join(lines), difference + ".", "\n".join(shares), sep="\n\n")


if __name__ == "__main__":
    main()
