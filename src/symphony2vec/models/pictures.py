"""The figures of one trained model, drawn from the files of its folder: learning curves, spectrograms, vectors.

A training logs them with its MLflow run, and the report draws them again, so that a change of a figure needs no
training. Reads from out/<stage>/<fold>/<model>/ the files that are there:

    curves.csv               -> game.png (Figure 7) and curves.png
    samples.npz              -> pairs.png or reconstructions.png (Figures 5 and 8), generated.png (Figure 9), walk.png
    vectors.npy              -> scatter.png (Figure 4), of the baseline embeddings
    latent.csv, rays.csv     -> latent.png: the paper's claim about the latent space of ALI

Spectrograms are (N, F, T): N clips or crops, F bins, T frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from symphony2vec import figures
from symphony2vec.models.training import watch
from symphony2vec.params import Params
from symphony2vec.project import read_array, read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ADVERSARIAL = ("discriminator_loss", "generator_loss", "mean_output_real", "mean_output_generated")
UNITS = {"mel": "dB below the clip's maximum", "mfcc": "coefficient", "chroma": "strength"}
NAMES = ("curves", "game", "reconstructions", "pairs", "generated", "walk", "latent", "scatter")


class Subject(NamedTuple):
    """Which model is drawn: its stage, its name such as "vae-mel", and the fold."""

    stage: str
    model: str
    fold: str

    @property
    def title(self) -> str:
        """The title of its figures."""
        if self.stage != "embeddings":
            return f"{self.model} {self.fold}"
        model, _, representation = self.model.partition("-")
        return f"{model.upper()} of the {representation}, {self.fold}"

    @property
    def representation(self) -> str:
        """The representation of its spectrograms."""
        return self.model.rpartition("-")[2] if self.stage == "embeddings" else "mel"


def draw_figures(folder: Path, subject: Subject, composers: pd.Series, params: Params) -> dict[str, Figure]:
    """Draw all figures of one model on one fold, by name (see `NAMES`).

    Args:
        folder: out/<stage>/<fold>/<model>.
        subject: the model.
        composers: the composer of every clip.
        params: whose frame length and dynamic range the spectrograms have.
    """
    plots: dict[str, Figure] = {}
    if (folder / "curves.csv").is_file():
        plots |= _draw_curves(read_table(folder / "curves.csv", subject.stage), subject)
    if (folder / "samples.npz").is_file():
        with np.load(folder / "samples.npz") as samples:
            plots |= _draw_samples(samples, subject, composers, params)
    if subject.stage == "embeddings":
        plots["scatter"] = _draw_vectors(folder, subject, composers)
    if (folder / "latent.csv").is_file():
        plots["latent"] = _draw_claim(folder, subject)
    return plots


def _draw_curves(curves: pd.DataFrame, subject: Subject) -> dict[str, Figure]:
    plots = {}
    if all(f"train_{name}" in curves for name in ADVERSARIAL):
        plots["game"] = figures.game(curves.rename(columns=lambda name: name.removeprefix("train_")), subject.title)
    stems = [name.removeprefix("train_") for name in map(str, curves) if name.startswith("train_")]
    columns = [f"{split}_{stem}" for stem in stems if stem not in ADVERSARIAL for split in ("train", "validation")]
    accuracies = ["validation_accuracy"] + ([watch.PROBE_ACCURACY] if subject.stage == "temporal" else [])
    available = [name for name in (*columns, *accuracies) if name in curves]
    if available:
        plots["curves"] = figures.losses(curves, available, subject.title)
    return plots


def _draw_samples(
    samples: Mapping[str, np.ndarray], subject: Subject, composers: pd.Series, params: Params
) -> dict[str, Figure]:
    originals, unit = samples["originals"], UNITS[subject.representation]
    limits = (-params.features.dynamic_range_db, 0.0)
    if subject.representation != "mel":  # the first MFCC is the level, which is many times larger than the others
        low, high = np.quantile(originals[:, 1:], (0.002, 0.998))
        limits = (float(low), float(high))
    axes = (unit, params.features.hop_samples / params.audio.sample_rate_hz, limits)
    names = [str(composers.iloc[row]) for row in samples["rows"]]
    title = "reconstructions" if subject.stage == "embeddings" else "pairs"
    plots = {title: figures.pairs(originals, samples["reconstructions"], names, subject.title, *axes)}
    if "generated" in samples:
        generated = samples["generated"]
        plots["generated"] = figures.grid(generated, [""] * len(generated), f"{subject.title}: generated", *axes)
    if "walk" in samples:
        steps = [f"{value:.1f}" for value in samples["steps"]]
        plots["walk"] = figures.grid(samples["walk"], steps, f"{subject.title}: from the origin to all ones", *axes)
    return plots


def _draw_vectors(folder: Path, subject: Subject, composers: pd.Series) -> Figure:
    """Draw the first two dimensions, with their shares of the variance for a PCA."""
    shares: list[float] = []
    if (folder / "explained_variance.csv").is_file():
        shares = [float(value) for value in read_table(folder / "explained_variance.csv", subject.stage)["share"][:2]]
    vectors = np.asarray(read_array(folder / "vectors.npy", subject.stage)[:, :2])
    return figures.scatter(vectors, list(composers), subject.title, shares)


def _draw_claim(folder: Path, subject: Subject) -> Figure:
    table, rays = read_table(folder / "latent.csv", subject.stage), read_table(folder / "rays.csv", subject.stage)
    of_rays = table[(table["source"] == "generated along rays") & (table["measure"] == "loudness")].iloc[0]
    distance, loudness = (rays[name].to_numpy() for name in ("distance", "loudness"))
    interval = [float(of_rays[name]) for name in ("rho", "low", "high")]
    return figures.correlation(distance, loudness, subject.title, "loudness (dB)", *interval)
