"""Pictures and sounds of the report: copied from the stages, drawn from the tables, synthesised from spectrograms.

N clips or crops; F bins, T frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from symphony2vec import figures
from symphony2vec.features import inversion
from symphony2vec.models import pictures
from symphony2vec.package import scaling
from symphony2vec.params import Params
from symphony2vec.project import Project, read_table, write_table
from symphony2vec.report.tables import ACCURACIES

EMBEDDINGS = ("vae-mel", "cae-mel", "ae-mel")  # whose spectrograms become sounds
SAMPLES = ("originals", "reconstructions", "generated")
LOSSES = ("loss", "generator_loss", "contrastive_loss", "reconstruction_loss")  # the first of both splits
MOST_SOUNDS = 4  # of one model and kind of samples
ENDS = {"accuracy": "mean", "accuracy_low": "low", "accuracy_high": "high"}  # columns as the figures name them


def gather(project: Project, params: Params, results: pd.DataFrame, fold: str, folder: Path) -> dict[str, list[str]]:
    """Copy the pictures of the data and draw those of every model on one fold; return their names by stage/model."""
    folder.mkdir()
    shared = {
        "audio": project.out("audio", "overview.png"),
        "balance": project.out("clips", "balance.png"),
        "split": project.out("clips", "split.png"),
        **{name: project.out("features", f"{name}.png") for name in ("chroma", "mfcc", "mel")},
    }
    for name, path in shared.items():
        if path.is_file():
            shutil.copyfile(path, folder / f"{name}.png")
    for path in project.out("study").glob("*/*.png"):
        shutil.copyfile(path, folder / f"study-{path.parent.name}-{path.name}")
    composers = read_table(project.clips, "clips")["composer"]
    names_of: dict[str, list[str]] = {}
    for stage, model in results[["stage", "model"]].drop_duplicates().itertuples(index=False):
        subject = pictures.Subject(str(stage), str(model), fold)
        plots = pictures.draw_figures(project.out(stage, fold, model), subject, composers, params)
        for name, figure in plots.items():
            figures.save(folder / f"{stage}-{model}-{name}.png", figure)
        confusion = project.out("probe", fold, stage, model, "confusion.png")
        shutil.copyfile(confusion, folder / f"{stage}-{model}-confusion.png")
        names_of[f"{stage}/{model}"] = [*(name for name in pictures.NAMES if name in plots), "confusion"]
    return names_of


def write_figures(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Draw the tables `results`, `pairs`, `leakage` and, if there is one, `near_duplicate_counts`."""
    results, leakage = tables["results"], tables["leakage"]
    rows = results.assign(model=results["entry"]).rename(columns=ENDS)
    majority = float(results["majority"].mean())
    figures.save(folder / "results.png", figures.table(rows.sort_values("stage", kind="stable"), majority))
    pairs = tables["pairs"]
    figures.save(folder / "pairs.png", figures.pairs_matrix(*_matrices(pairs[pairs["level"] == "clip"], results)))
    figures.save(folder / "levels.png", figures.levels(_by_level(results)))
    if leakage["split"].nunique() > 1:
        figures.save(folder / "leakage.png", figures.leakage(leakage))
    if "near_duplicate_counts" in tables:
        figures.save(folder / "near_duplicates.png", figures.near_duplicates(tables["near_duplicate_counts"]))


def _by_level(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each model and level: model, level, mean, low, high."""
    parts = [
        pd.DataFrame(
            {
                **{"model": results["entry"], "level": level, "mean": results[column]},
                **{"low": results[f"{column}_low"], "high": results[f"{column}_high"]},
            }
        )
        for level, column in ACCURACIES.items()
    ]
    return pd.concat(parts, ignore_index=True)


def draw_first(first: pd.DataFrame, majority: float, reference: str, folder: Path) -> None:
    """Draw the first table, with the reference highlighted."""
    rows = first[first["entry"] != "majority"]
    rows = (
        rows[["group", "what", *ENDS]].rename(columns={**ENDS, "what": "label"}).assign(own=rows["entry"] == reference)
    )
    figures.save(folder / "first.png", figures.comparison(rows, majority))


def write_plots(project: Project, results: pd.DataFrame, folds: Sequence[str], folder: Path) -> None:
    """Write what `dvc plots` shows: the losses of every model on the first fold, and the confusion of the best model.

    The losses are those that the model minimises, or one of them; the best model is the first row of the results.
    """
    for stage, model in results[["stage", "model"]].drop_duplicates().itertuples(index=False):
        path = project.out(stage, folds[0], model, "curves.csv")
        curves = read_table(path, stage) if path.is_file() else pd.DataFrame()
        columns_of = [{f"{split}_{name}": f"{split}_loss" for split in ("train", "validation")} for name in LOSSES]
        columns = next((columns for columns in columns_of if set(columns) <= set(curves)), {})
        if columns:
            losses = curves[["epoch", *columns]].dropna().rename(columns=columns)  # DVC would draw an empty cell as 0
            write_table(folder / "curves" / f"{stage}-{model}.csv", losses)
    best = results.iloc[0]
    predictions = [
        read_table(project.out("probe", fold, best["stage"], best["model"], "predictions.csv"), "probe")
        for fold in folds
    ]
    table = pd.concat(predictions)
    write_table(folder / "confusion.csv", table[table["readout"] == best["readout"]][["composer", "predicted"]])


def draw_probe_curves(project: Project, models: Sequence[str], fold: str, folder: Path) -> None:
    """Draw the validation accuracy of the probe over the updates of the ALI models."""
    column, curves = "probe_validation_accuracy", {}
    for model in models:
        table = read_table(project.out("ali", fold, model, "curves.csv"), "ali")
        if column in table:
            curves[model] = table.dropna(subset=[column])
    if curves:
        title = "Probe on validation clips during the training of ALI"
        figures.save(folder / "ali.png", figures.learning_curves(curves, column, title))


def write_sounds(project: Project, params: Params, ali: Sequence[str], reference: str, fold: str, folder: Path) -> None:
    """Write originals, reconstructions and generated samples of one fold as <model>-<samples>-<number>.mp3.

    Models: the reference, if there is one, the autoencoders on mel spectrograms, and these ALI models on crops.
    """
    folder.mkdir()
    models = [("temporal", reference)] if reference else []
    models += [*(("embeddings", name) for name in EMBEDDINGS), *(("ali", name) for name in ali)]
    first_band = scaling.first_band(params.features.mel_bands, params.ali.crop.bands)
    floor_db = -params.features.dynamic_range_db
    for stage, model in models:
        path = project.out(stage, fold, model, "samples.npz")
        if not path.is_file():
            continue
        with np.load(path) as samples:
            for name in SAMPLES:
                if name not in samples.files:
                    continue
                spectrograms = list(samples[name][:MOST_SOUNDS])
                if stage == "ali":
                    bands = params.features.mel_bands
                    spectrograms = [inversion.pad_crop(crop, bands, first_band, floor_db) for crop in spectrograms]
                _write_sounds(folder, f"{model}-{name}", spectrograms, params)


def _write_sounds(folder: Path, name: str, spectrograms_db: Iterable[np.ndarray], params: Params) -> None:
    rate_hz, features = params.audio.sample_rate_hz, params.features
    settings = (rate_hz, features.fft_samples, features.hop_samples)
    for number, mel_db in enumerate(spectrograms_db):
        wave = inversion.invert_mel(mel_db, *settings, floor_db=-features.dynamic_range_db)
        inversion.write_mp3(folder / f"{name}-{number}{inversion.SUFFIX}", wave, rate_hz)


def _matrices(pairs: pd.DataFrame, results: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Return names, and differences with both ends of their intervals (M, M) in points, rows minus columns."""
    names = [f"{stage}/{row}" for stage, row in zip(results["stage"], results["entry"], strict=True)]
    place = {name: number for number, name in enumerate(names)}
    difference, low, high = np.zeros((3, len(names), len(names)))
    a, b = pairs["a"].map(place).to_numpy(dtype=int), pairs["b"].map(place).to_numpy(dtype=int)
    values = 100.0 * pairs[["difference", "low", "high"]].to_numpy(dtype=float).T
    difference[a, b], low[a, b], high[a, b] = values
    difference[b, a], high[b, a], low[b, a] = -values
    return [name.split("/")[1] for name in names], difference, low, high
