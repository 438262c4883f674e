"""Walks of the temporal model on the report: their effects over the folds, pictures and sounds.

P points, F bins, T frames, N samples.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from symphony2vec.evaluation.meaning import measures, walks
from symphony2vec.evaluation.meaning.targets import LABELS
from symphony2vec.features import inversion
from symphony2vec.params import Params, Probe
from symphony2vec.project import Project, read_table

INTERPOLATION_POINTS = (0, 2, 4, 6, 8)  # that become sounds
LABEL_POINTS = (0, 3, 6)  # both ends and the middle
MEANS = ["r2", "judge_r2", "real_deviation"]
COLUMNS = (
    "label measure unit r2 judge_r2 rho rho_low rho_high change change_low change_high real_deviation folds clips"
).split()


def tabulate(project: Project, model: str, folds: Sequence[str], settings: Probe) -> pd.DataFrame:
    """Return the effect of the walk along each label, as mean over the folds with intervals over works.

    Labels that lack a walk in one of the folds are left out; the table is empty if the model has no walks.
    """
    folders = [project.out("meaning", fold, "temporal", model) for fold in folds]
    if not model or not all((folder / "walks.csv").is_file() for folder in folders):
        return pd.DataFrame(columns=COLUMNS)
    summaries = pd.concat([read_table(folder / "walks.csv", "meaning") for folder in folders])
    effects = [read_table(folder / "walked.csv", "meaning") for folder in folders]
    lines = []
    for label, rows in summaries.groupby("label", sort=False):
        if len(rows) < len(folds):
            continue
        of_label = [table[table["label"] == label] for table in effects]
        line = {"label": label, **rows.iloc[0][["measure", "unit"]], **rows[MEANS].mean()}
        line |= walks.bootstrap_effects(of_label, settings)
        lines.append(line | {"folds": len(folds), "clips": int(rows["clips"].iloc[0])})
    return pd.DataFrame(lines, columns=COLUMNS).round(6)


def gather(project: Project, model: str, fold: str, folder: Path) -> list[str]:
    """Copy the pictures of one fold's walks into the report; return the names of the walks in order."""
    source = project.out("meaning", fold, "temporal", model)
    names = [path.stem.removeprefix("walk-") for path in sorted(source.glob("walk-*.png"))]
    for name in names:
        shutil.copyfile(source / f"walk-{name}.png", folder / f"temporal-{model}-walk-{name}.png")
    return sorted(names, key=[walks.INTERPOLATION, *(label.name for label in LABELS)].index)


def write_sounds(project: Project, params: Params, model: str, fold: str, folder: Path) -> dict[str, list[str]]:
    """Write some points of every walk as audio; return the file names by walk."""
    path = project.out("meaning", fold, "temporal", model, "walks.npz")
    files: dict[str, list[str]] = {}
    if not model or not path.is_file():
        return files
    with np.load(path) as arrays:
        for name in arrays.files:
            if name in ("rows", "row"):
                continue
            points = INTERPOLATION_POINTS if name == walks.INTERPOLATION else LABEL_POINTS
            waves = synthesize(arrays[name][list(points)].astype(np.float32), params)
            files[name] = [f"{model}-walk_{name}-{point}{inversion.SUFFIX}" for point in points]
            for file, wave in zip(files[name], waves, strict=True):
                inversion.write_mp3(folder / file, wave, params.audio.sample_rate_hz)
    return files


def synthesize(walk_db: np.ndarray, params: Params) -> np.ndarray:
    """Return the points (P, F, T) of a walk as waves (P, N) with the relative levels of their spectrograms.

    The loudest sample of all of them is at the peak level of `symphony2vec.features.inversion`.
    """
    rate_hz, features = params.audio.sample_rate_hz, params.features
    settings = (rate_hz, features.fft_samples, features.hop_samples)
    waves = np.stack(
        [inversion.invert_mel(mel_db, *settings, floor_db=-features.dynamic_range_db) for mel_db in walk_db]
    )
    rms = np.sqrt((waves.astype(np.float64) ** 2).mean(axis=1))
    target_rms = 10.0 ** (measures.level_db(walk_db, rate_hz) / 20.0)
    scaled = waves * np.divide(target_rms, rms, out=np.zeros_like(rms), where=rms > 0.0)[:, None]
    peak = np.abs(scaled).max()
    gain = 10.0 ** (inversion.PEAK_DBFS / 20.0) / peak if peak > 0.0 else 0.0
    waves_at_peak: np.ndarray = (scaled * gain).astype("f4")
    return waves_at_peak
