"""What is equal to the bit whatever instructions the processor has, and what is only nearly equal.

Runs the same small computations once with all that this processor offers and once for each of the settings below, which
make the numerical libraries use older instructions or another number of threads, each in a process of its own. Prints a
table: equal, or the largest difference relative to the largest value.

    python benchmarks/processors.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from machine import described, music
from symphony2vec import params, synthesis
from symphony2vec.audio.loudness import LoudnessTarget, normalize_loudness
from symphony2vec.corpus import starter
from symphony2vec.features import representations
from symphony2vec.labels import measures
from symphony2vec.models.embeddings import pca
from symphony2vec.models.temporal.networks import FRAMES_PER_STEP, Encoder
from symphony2vec.models.training import loop

STORED = params.read(Path(__file__).parents[1] / "params.yaml")
CLIPS = 80  # of one second each, enough for 40 principal components
UPDATES = 40
OLD = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3",
}
ONE, TWO = ({"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count} for count in ("1", "2"))
SETTINGS = {"two threads": TWO, "without AVX": OLD | ONE, "without AVX, two threads": OLD | TWO}


def notes() -> np.ndarray:
    """Notes of a score: onset and end (s) and pitch, (N, 3)."""
    played = synthesis.read_notes(_score(), synthesis.Interpretation())
    return np.array([(note.onset_s, note.end_s, note.pitch) for note in played])


def sound() -> np.ndarray:
    """The first 20 s of a score as samples of a FLAC (16 bits)."""
    played = [note for note in synthesis.read_notes(_score(), synthesis.Interpretation()) if note.end_s < 20.0]
    own = STORED.audio
    stereo, rate_hz = synthesis.render(played, synthesis.find_soundfont(own.soundfonts[0]).read_bytes())
    wave, _ = normalize_loudness(
        stereo.mean(axis=1), rate_hz, LoudnessTarget(own.loudness_lufs, own.peak_dbfs, own.silence_db)
    )
    return np.round(wave * 32767).astype(np.int16)


def represented() -> dict[str, np.ndarray]:
    """Mel, MFCC and chroma of ten seconds, and the labels of that sound."""
    recipe = representations.Recipe(STORED.audio.sample_rate_hz, 10.0, STORED.features)
    wave = music(10.0, recipe.rate_hz, seed=0).astype(np.float32)
    labels = np.array(list(measures.measure_sound(wave, recipe.rate_hz).values()))
    return {**representations.represent(wave, recipe), "labels": labels}


def components() -> np.ndarray:
    """The principal components of random clips."""
    clips = np.random.default_rng(0).standard_normal((CLIPS, 500)).astype(np.float32)
    return np.asarray(pca.fit(iter([clips]), CLIPS, STORED.embeddings).components_)


def trained() -> dict[str, np.ndarray]:
    """Vectors of a temporal encoder as it starts, and of one after some updates."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn((32, 64, 4 * FRAMES_PER_STEP), generator=rng)
    target = torch.randn((32, 8), generator=rng)
    encoder = loop.create_network(lambda: Encoder(8, 4, 4, 64), 0, torch.device("cpu"))
    with torch.no_grad():
        fresh = encoder.eval()(x).c.numpy().copy()
    optimiser = torch.optim.Adam(encoder.train().parameters(), lr=1e-3)
    for _ in range(UPDATES):
        optimiser.zero_grad()
        nn.functional.mse_loss(encoder(x).c, target).backward()
        optimiser.step()
    with torch.no_grad():
        return {"vectors, random start": fresh, f"vectors, {UPDATES} updates": encoder.eval()(x).c.numpy()}


def computed() -> dict[str, np.ndarray]:
    """All that is compared, by its name."""
    return {
        "notes of a score": notes(),
        "FLAC of a score": sound(),
        **represented(),
        "principal components": components(),
        **trained(),
    }


def _score() -> Path:
    movement = next(row for row in starter.list_movements() if "K. 156" in row.work)
    return starter.find_music21_scores() / movement.path


def _child(setting: dict[str, str], folder: Path) -> dict[str, np.ndarray]:
    target = folder / "values.npz"
    subprocess.run([sys.executable, __file__, "--child", str(target)], env={**os.environ, **setting}, check=True)
    with np.load(target) as values:
        return dict(values)


def _compared(value: np.ndarray, other: np.ndarray) -> str:
    if value.shape != other.shape:
        return f"other shape {other.shape}"
    if value.tobytes() == other.tobytes():
        return "equal"
    difference = np.abs(value.astype(float) - other.astype(float)).max() / np.abs(value.astype(float)).max()
    return f"{difference:.0e}"


def main() -> None:
    """Print the table, or as a child write the values."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    child = parser.parse_args().child
    if child:
        np.savez(child, **computed())
        return
    with tempfile.TemporaryDirectory() as folder:
        reference = _child(ONE, Path(folder))
        others = {name: _child(setting, Path(folder)) for name, setting in SETTINGS.items()}
    print(described(), "\n")
    print("| |", " | ".join(SETTINGS), "|")
    print("|---" * (len(SETTINGS) + 1) + "|")
    for name, value in reference.items():
        print(f"| {name} |", " | ".join(_compared(value, values[name]) for values in others.values()), "|")


if __name__ == "__main__":
    main()
