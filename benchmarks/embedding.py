"""Hours of music embedded in a second, from FLAC files to vectors: `symphony2vec embed` against two other pipelines.

The others are plain calls of librosa before the same network, and a pipeline of the size of BYOL-A (Niizumi et al.
2021): log-mel at 16 kHz in windows of 96 frames, and an encoder with its published layers. All weights are random, as
only speed is asked for. Contenders take turns, round after round; a ratio is taken within a round.
`python benchmarks/embedding.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import joblib
import librosa
import numpy as np
import soundfile
import torch
from torch import Tensor, nn

import machine
import memory
from symphony2vec import params
from symphony2vec.collection import building
from symphony2vec.models.embeddings import networks, pca
from symphony2vec.package import contents, model, saving
from symphony2vec.package.scaling import unit

ROOT = Path(__file__).parents[1]
SOURCE_RATE_HZ = 44100
WINDOW_FRAMES, BYOL_RATE_HZ, BYOL_BANDS = 96, 16000, 64
AT_ONCE = 32
CORES = joblib.cpu_count()


class Published(nn.Module):
    """The layers of BYOL-A's encoder, 5.3 million weights: log-mel (B, 1, 64, T) to (B, 2048)."""

    def __init__(self, bands: int = BYOL_BANDS, channels: int = 64, dimensions: int = 2048) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before in (1, channels, channels):
            blocks += [
                nn.Conv2d(before, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.blocks = nn.Sequential(*blocks)
        first, second = nn.Linear(channels * (bands // 8), dimensions), nn.Linear(dimensions, dimensions)
        self.head = nn.Sequential(first, nn.ReLU(), nn.Dropout(0.3), second, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """The sum of mean and maximum over time."""
        found = self.head(self.blocks(x).permute(0, 3, 2, 1).flatten(2))
        return found.mean(dim=1) + found.amax(dim=1)


@functools.cache
def published() -> Published:
    return Published().eval()


@functools.cache
def network(folder: Path) -> model.Model:
    return contents.read(folder, model.Model)


def batched(asked: Callable[[Tensor], Tensor], values: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        parts = [asked(torch.from_numpy(values[at : at + AT_ONCE])) for at in range(0, len(values), AT_ONCE)]
    return torch.cat(parts).numpy()


def by_librosa(path: Path, folder: Path) -> np.ndarray:
    """A recording by plain calls of librosa, clip by clip, and the network of a package."""
    loaded = network(folder)
    recipe = loaded.frontend.recipe
    own, rate_hz = recipe.settings, recipe.rate_hz
    wave, _ = librosa.load(path, sr=rate_hz)
    seen = []
    for start in range(0, len(wave) - recipe.samples + 1, recipe.samples):
        mel = librosa.feature.melspectrogram(
            y=wave[start : start + recipe.samples],
            sr=rate_hz,
            n_fft=own.fft_samples,
            hop_length=own.hop_samples,
            n_mels=own.mel_bands,
        )
        seen.append(librosa.power_to_db(mel, ref=np.max, top_db=own.dynamic_range_db))
    parts = [np.stack(seen[at : at + AT_ONCE]) for at in range(0, len(seen), AT_ONCE)]
    return np.concatenate([loaded.embed_spectrograms(part) for part in parts])


def by_byol(path: Path) -> np.ndarray:
    """A recording in windows of 96 frames, at 16 kHz."""
    wave, _ = librosa.load(path, sr=BYOL_RATE_HZ)
    mel = librosa.feature.melspectrogram(
        y=wave, sr=BYOL_RATE_HZ, n_fft=1024, hop_length=160, n_mels=BYOL_BANDS, fmin=60, fmax=7800
    )
    log_mel = np.log(mel + np.finfo(np.float32).eps)
    count = log_mel.shape[1] // WINDOW_FRAMES
    windows = log_mel[:, : count * WINDOW_FRAMES].reshape(BYOL_BANDS, count, WINDOW_FRAMES).transpose(1, 0, 2)
    return batched(published(), np.ascontiguousarray(windows[:, None], dtype=np.float32))


def on_one_thread(work: Callable[[], np.ndarray]) -> int:
    torch.set_num_threads(1)
    return len(work())


def spread(works: list[Callable[[], np.ndarray]]) -> None:
    joblib.Parallel(n_jobs=max(2, CORES), batch_size=1)(joblib.delayed(on_one_thread)(work) for work in works)


def package(folder: Path, kind: str) -> Path:
    """A package of random weights, at the size that params.yaml asks for."""
    stored = params.read(ROOT / "params.yaml")
    hearing = saving.frontend_config(stored, "mel")
    frames = 1 + round(stored.audio.sample_rate_hz * stored.clips.duration_s) // stored.features.hop_samples
    sizes = {"values": stored.features.mel_bands * frames, "dimensions": stored.embeddings.dimensions}
    made: nn.Module
    if kind == "pca":
        module, name, made = pca.__name__, "Projection", pca.Projection(**sizes)
    else:
        sizes |= {"variational": True}
        module, name, made = networks.__name__, "Encoder", networks.Encoder(**sizes)
    build = {"module": module, "name": name, "arguments": sizes, "method": "encode", "flatten": True}
    subject = {"stage": "embeddings", "model": kind, "representation": "mel", "fold": "work-0"}
    data = {"corpus": "made", "sides": {}, "composers": {}, "orchestration": "", "licences": []}
    scaling = unit("mel", stored.features.mel_bands, stored.features.dynamic_range_db).as_plain()
    place = folder / kind
    place.mkdir()
    saving.write_files(place, made, contents.Config(subject, "", build, scaling, hearing, [], data))
    return place


def ours(music: Path, folder: Path) -> None:
    """What the command `symphony2vec embed` does, on all cores."""
    loaded = network(folder)
    asked = building.EmbeddingRequest(folder, str(folder), loaded.name, loaded.fingerprint, "clips", None)
    made = building.build([music], asked)
    assert not len(made.rejected)


def contenders(place: Path) -> dict[str, Callable[[], object]]:
    """Each takes all recordings from FLAC to vectors."""
    music, vae = place / "music", place / "vae"
    files = sorted(music.glob("*.flac"))
    plainly = [functools.partial(by_librosa, file, vae) for file in files]
    return {
        f"`symphony2vec embed`, vae-mel, {CORES} processes": lambda: ours(music, vae),
        f"`symphony2vec embed`, pca-mel, {CORES} processes": lambda: ours(music, place / "pca"),
        "librosa's calls and the vae, one process": lambda: [work() for work in plainly],
        f"the same, {CORES} processes": lambda: spread(plainly),
        f"BYOL-A's size, {CORES} processes": lambda: spread([functools.partial(by_byol, file) for file in files]),
    }


def compose(folder: Path, count: int, seconds: float) -> None:
    """Recordings as FLAC, 44.1 kHz, 16 bits, stereo."""
    folder.mkdir()
    for number in range(count):
        sides = [machine.music(seconds, SOURCE_RATE_HZ, 2 * number + side) for side in (0, 1)]
        soundfile.write(folder / f"{number:03}.flac", np.stack(sides, axis=1), SOURCE_RATE_HZ, subtype="PCM_16")


class Contender:
    """A contender in a process of its own, with its own workers, which keep what they have loaded."""

    def __init__(self, number: int, place: Path) -> None:
        command = [sys.executable, __file__, "--only", str(number), "--place", str(place)]
        quiet = {**os.environ, "TQDM_DISABLE": "1"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)

    def again(self) -> dict[str, float]:
        """Take all recordings once more; the seconds it took and peaks of memory in MB."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        found: dict[str, float] = json.loads(self.process.stdout.readline())
        return found

    def end(self) -> None:
        """Close its input, which ends it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def answer(work: Callable[[], object]) -> None:
    """The other side of `Contender.again`."""
    for _ in sys.stdin:
        with memory.watched() as peak:
            work()
        print(json.dumps(peak), flush=True)


def turn(working: list[Contender]) -> list[dict[str, float]]:
    """One round, its times shown as they come."""
    found = [one.again() for one in working]
    print(*(f"{one['took_s']:.2f} s" for one in found), sep=", ", file=sys.stderr, flush=True)
    return found


def measured(place: Path, hours: float, rounds: int) -> list[str]:
    """The table: one row a contender."""
    names = list(contenders(place))
    working = [Contender(number, place) for number in range(len(names))]
    first, *turns = (turn(working) for _ in range(1 + rounds))
    for one in working:
        one.end()
    lines = [
        "| | hours of music a second | times real time | time against ours | first call | main process | a worker |",
        "|---|---|---|---|---|---|---|",
    ]
    for column, name in enumerate(names):
        own = [one[column]["took_s"] for one in turns]
        peak = {who: max(call[column][who] for call in [first, *turns]) for who in ("main", "worker")}
        cells = [
            machine.spread([hours / t for t in own], 3),
            machine.spread([3600.0 * hours / t for t in own], 0),
            machine.spread([t / one[0]["took_s"] for t, one in zip(own, turns, strict=True)]),
            f"{first[column]['took_s']:.0f} s",
            f"{peak['main']:.0f} MB",
            f"{peak['worker']:.0f} MB" if peak["worker"] >= 1.0 else "",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--recordings", type=int, default=16)
    asked.add_argument("--seconds", type=float, default=120.0, help="length of each recording")
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--only", type=int, help=argparse.SUPPRESS)
    asked.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.only is not None:
        answer(list(contenders(options.place).values())[options.only])
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        compose(place / "music", options.recordings, options.seconds)
        for kind in ("vae", "pca"):
            package(place, kind)
        hours = options.recordings * options.seconds / 3600.0
        lines = measured(place, hours, options.rounds)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(
        f"\n{machine.described()}, torch {torch.__version__}, {device}\n\n{options.recordings} recordings of ", end=""
    )
    print(f"{options.seconds:g} s, {options.rounds} rounds; median (smallest to largest); from FLAC to vectors\n")
    print("\n".join(lines))


if __name__ == "__main__":
    import embedding  # by its name, so that worker processes find its functions, and keep what they have loaded

    embedding.main()
