"""The walks through the codes of the temporal model on the page: what they measure, their pictures, their sounds.

P points, F bins, T frames, N samples.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.meaning import measures, walks
from symphony2vec.evaluation.meaning.targets import LABELS
from symphony2vec.features import inversion as listening
from symphony2vec.params import Params, Probe
from symphony2vec.project import Project, read_table

HEARD_POINTS = {walks.INTERPOLATION: (0, 2, 4, 6, 8)}
HEARD_ENDS = (0, 3, 6)  # of a walk along a label: both ends and the middle
MEANS = ("r2", "judge_r2", "real_deviation")
COLUMNS = "label measure unit r2 judge_r2 rho rho_low rho_high change change_low change_high real_deviation".split()


def table(project: Project, model: str, folds: Sequence[str], settings: Probe) -> pd.DataFrame:
    """Does a walk along a label do what it says: one line a label, in the mean over the folds, intervals over works.

    Only labels that were walked along in every one of these folds; empty where the model did not walk.
    """

    folders = [project.out("meaning", "temporal", model, fold) for fold in folds]
    if not model or not all((folder / "walks.csv").is_file() for folder in folders):
        return pd.DataFrame(columns=[*COLUMNS, "folds", "clips"])
    told = pd.concat([read_table(folder / "walks.csv", "meaning") for folder in folders])
    walked = [read_table(folder / "walked.csv", "meaning") for folder in folders]
    lines = []
    for label, own in told.groupby("label", sort=False):
        if len(own) < len(folds):
            continue
        line = {"label": label, **own.iloc[0][["measure", "unit"]], **own[list(MEANS)].mean()}
        for name in ("rho", "change"):
            tables = [one[one["label"] == label].assign(value=one[name]) for one in walked]
            counts = statistics.sum_values([tables])
            drawn = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
            low, high = statistics.interval(drawn, settings.confidence)
            line |= {name: counts.accuracy().mean(), f"{name}_low": low[0], f"{name}_high": high[0]}
        lines.append(line | {"folds": len(folds), "clips": int(own["clips"].iloc[0])})
    return pd.DataFrame(lines, columns=[*COLUMNS, "folds", "clips"]).round(6)


def gather(project: Project, model: str, fold: str, folder: Path) -> list[str]:
    """Copy the pictures of one fold's walks into the report's; returns the names of the walks as they are shown."""
    own = project.out("meaning", "temporal", model, fold)
    names = [path.stem.removeprefix("walk-") for path in sorted(own.glob("walk-*.png"))]
    for name in names:
        shutil.copyfile(own / f"walk-{name}.png", folder / f"temporal-{model}-walk-{name}.png")
    order = [walks.INTERPOLATION, *(label.name for label in LABELS)]
    return sorted(names, key=order.index)


def sound(project: Project, params: Params, model: str, fold: str, folder: Path) -> dict[str, list[str]]:
    """Make some points of every walk audible, as loud against each other as they are: file names by walk."""

    path = project.out("meaning", "temporal", model, fold, "walks.npz")
    found: dict[str, list[str]] = {}
    if not model or not path.is_file():
        return found
    with np.load(path) as held:
        for name in held.files:
            if name in ("rows", "row"):
                continue
            points = HEARD_POINTS.get(name, HEARD_ENDS)
            waves = audible(held[name][list(points)].astype(np.float32), params)
            found[name] = [f"{model}-walk_{name}-{point}{listening.SUFFIX}" for point in points]
            for file, wave in zip(found[name], waves, strict=True):
                listening.write_mp3(folder / file, wave, params.audio.sample_rate_hz)
    return found


def audible(walk_db: np.ndarray, params: Params) -> np.ndarray:
    """The points (P, F, T) of a walk as waves (P, N); the loudest sample of all of them at the peak of `listening`."""

    rate_hz, own = params.audio.sample_rate_hz, params.features
    words = (rate_hz, own.fft_samples, own.hop_samples)
    waves = np.stack([listening.invert_mel(one, *words, floor_db=-own.dynamic_range_db) for one in walk_db])
    rms = np.sqrt((waves.astype(np.float64) ** 2).mean(axis=1))
    wanted = 10.0 ** (measures.level_db(walk_db, rate_hz) / 20.0)
    scaled = waves * np.divide(wanted, rms, out=np.zeros_like(rms), where=rms > 0.0)[:, None]
    peak = np.abs(scaled).max()
    louder: np.ndarray = (scaled * (10.0 ** (listening.PEAK_DBFS / 20.0) / peak if peak > 0.0 else 0.0)).astype("f4")
    return louder
