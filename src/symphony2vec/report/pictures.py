"""The report's pictures and sounds: gathered from the stages, drawn from the tables, played from spectrograms.

N clips or crops; F bins, T frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from symphony2vec import figures
from symphony2vec.features import inversion as listening
from symphony2vec.package import scaling
from symphony2vec.params import Params
from symphony2vec.project import Project, read_table

MODEL_PICTURES = ("curves", "game", "reconstructions", "pairs", "generated", "walk", "latent", "scatter")
HEARD = ("vae-mel", "cae-mel", "ae-mel")  # the embeddings that can be heard
KINDS = ("originals", "reconstructions", "generated")
ENDS = {"accuracy": "mean", "accuracy_low": "low", "accuracy_high": "high"}  # as figures call them
HEARD_AT_MOST = 4


def gather(project: Project, results: pd.DataFrame, fold: str, folder: Path) -> dict[str, list[str]]:
    """Copy the stages' pictures of one draw into the report; returns for each stage/model the names of its own."""
    folder.mkdir()
    shared = {
        "audio": project.out("audio", "overview.png"),
        "balance": project.out("clips", "balance.png"),
        "split": project.out("clips", "split.png"),
        **{name: project.out("features", f"{name}.png") for name in ("chroma", "mfcc", "mel")},
        **{name: project.out("meaning", f"{name}.png") for name in ("profile", "retrieval")},
    }
    for name, path in shared.items():
        if path.is_file():
            shutil.copyfile(path, folder / f"{name}.png")
    for path in project.out("study").glob("*/*.png"):
        shutil.copyfile(path, folder / f"study-{path.parent.name}-{path.name}")
    shown: dict[str, list[str]] = {}
    for stage, model in results[["stage", "model"]].drop_duplicates().itertuples(index=False):
        own = {name: project.out(stage, model, fold, f"{name}.png") for name in MODEL_PICTURES}
        own["confusion"] = project.out("probe", stage, model, fold, "confusion.png")
        there = {name: path for name, path in own.items() if path.is_file()}
        for name, path in there.items():
            shutil.copyfile(path, folder / f"{stage}-{model}-{name}.png")
        shown[f"{stage}/{model}"] = list(there)
    return shown


def draw(told: dict[str, pd.DataFrame], folder: Path) -> None:
    """The pictures of the tables: results, pairs, what the split is worth."""
    results = told["results"]
    rows = results.assign(model=results["row"]).rename(columns=ENDS)
    majority = float(results["majority"].mean())
    figures.save(folder / "results.png", figures.table(rows.sort_values("stage", kind="stable"), majority))
    figures.save(folder / "pairs.png", figures.pairs_matrix(*_matrix(told["pairs"], results)))
    if told["leak"]["split"].nunique() > 1:
        figures.save(folder / "leak.png", figures.leak(told["leak"]))
    if "near_duplicate_counts" in told:
        figures.save(folder / "near_duplicates.png", figures.near_duplicates(told["near_duplicate_counts"]))


def draw_first(told: dict[str, pd.DataFrame], against: str, folder: Path) -> None:
    """The picture of the first table, where `against` is the row that counts."""
    drawn = told["first"][told["first"]["row"] != "majority"]
    beside = (
        drawn[["group", "what", *ENDS]].rename(columns={**ENDS, "what": "label"}).assign(own=drawn["row"] == against)
    )
    figures.save(folder / "first.png", figures.beside(beside, float(told["results"]["majority"].mean())))


def compare(project: Project, models: Sequence[str], draw_name: str, folder: Path) -> None:
    """How the probe's validation accuracy goes while the ALI models are trained, over updates."""
    curves = {}
    for model in models:
        path = project.out("ali", model, draw_name, "curves.csv")
        table = read_table(path, "ali")
        if "probe_validation_accuracy" in table:
            curves[model] = table.dropna(subset=["probe_validation_accuracy"])
    if curves:
        label = "Probe on validation clips while ALI is trained"
        figures.save(folder / "ali.png", figures.compared(curves, "probe_validation_accuracy", label))


def sound(project: Project, params: Params, ali: Sequence[str], against: str, draw_name: str, folder: Path) -> None:
    """Make reconstructions and what models invent of one fold audible: <model>-<what>-<number>.mp3.

    Of ALI on crops these models, and of the temporal models the one that all is held `against`.
    """

    folder.mkdir()
    whole = [("temporal", against)] if against else []
    for stage, model in [*whole, *(("embeddings", name) for name in HEARD)]:
        path = project.out(stage, model, draw_name, "samples.npz")
        if path.is_file():
            with np.load(path) as samples:
                _write(folder, model, {name: samples[name] for name in KINDS if name in samples.files}, params)
    for path in [project.out("ali", model, draw_name, "samples.npz") for model in ali]:
        if not path.is_file():
            continue
        with np.load(path) as samples:
            first = scaling.first_band(params.features.mel_bands, params.ali.crop.bands)
            full = {name: [_whole(one, params, first) for one in samples[name]] for name in KINDS}
            _write(folder, path.parts[-3], full, params)


def _whole(crop_db: np.ndarray, params: Params, first_band: int) -> np.ndarray:
    return listening.pad_crop(crop_db, params.features.mel_bands, first_band, -params.features.dynamic_range_db)


def _write(folder: Path, model: str, spectrograms: dict[str, Any], params: Params) -> None:
    rate_hz, own = params.audio.sample_rate_hz, params.features
    for what, arrays in spectrograms.items():
        for number, mel_db in enumerate(arrays[:HEARD_AT_MOST]):
            wave = listening.invert_mel(
                mel_db, rate_hz, own.fft_samples, own.hop_samples, floor_db=-own.dynamic_range_db
            )
            listening.write_mp3(folder / f"{model}-{what}-{number}{listening.SUFFIX}", wave, rate_hz)


def _matrix(pairs: pd.DataFrame, results: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """The pairs as matrices (M, M) in points, rows less columns."""

    names = [f"{stage}/{row}" for stage, row in zip(results["stage"], results["row"], strict=True)]
    place = {name: number for number, name in enumerate(names)}
    difference, low, high = np.zeros((3, len(names), len(names)))
    for pair in pairs.itertuples(index=False):
        a, b = place[str(pair.a)], place[str(pair.b)]
        difference[a, b], low[a, b], high[a, b] = (
            100.0 * float(str(v)) for v in (pair.difference, pair.low, pair.high)
        )
        difference[b, a], low[b, a], high[b, a] = -difference[a, b], -high[a, b], -low[a, b]
    return [name.split("/")[1] for name in names], difference, low, high
