"""Walks through the latent space of a temporal model: between two clips, and along the directions of labels.

    Writes  out/meaning/<fold>/temporal/<model>/
                walks.npz      the spectrograms: `interpolation` and one array a label, (P, F, T) float16 in dB; `rows`
                               of the two clips, `row` of the clip whose walks along labels are stored
                walks.csv      one row a label: the effect of its walk, as mean over clips with intervals over works
                walked.csv     the same for every clip
                walk-*.png     each walk

An interpolation mixes both codes of two clips linearly: the clip code c and the step codes z. The direction of a label
is the gradient of the ridge regression of `symphony2vec.evaluation.meaning.probes` from c to the label, fitted on the
training clips. A walk starts at the c of a validation clip, keeps its z, and moves c along the direction from -3 to +3
standard deviations of the training clips' projections on it.

The effect of a walk is measured on the generated spectrograms, cut to the dynamic range:

    loudness_db   level of the clip in dB, relative to a spectrogram at its maximum everywhere
    centroid_hz   centroid of the power in Hz
    notes_per_s   spectral flux: mean rise over all bands in dB per second
    all others    predicted by a ridge regression from fixed MFCC statistics (symphony2vec.models.generation), the
                  `judge`, fitted on real training clips; `judge_r2` is its R² on real validation clips

Spectrograms are relative to their maximum, so the level says how filled a clip is, not how loud it was recorded.
`rho` is Spearman's correlation of position and measure along the walk (0 if the measure is constant), `change` the
measure at its end minus that at its start, `real_deviation` the standard deviation of the measure over real training
clips.

B clips, P points, F bins, T frames, D dimensions of c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from symphony2vec import figures
from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.meaning import measures, probes
from symphony2vec.evaluation.meaning.targets import LABELS, Label, explain_unmeasurable, is_known
from symphony2vec.models import generation
from symphony2vec.models.temporal import kept
from symphony2vec.params import Params
from symphony2vec.project import Project, read_array, write_table

if TYPE_CHECKING:
    from symphony2vec.models.temporal.kept import SavedModel
    from symphony2vec.params import Meaning, Probe

INTERPOLATION = "interpolation"
INTERPOLATION_POINTS = 9
REACH = 3.0  # standard deviations to either side
POSITIONS = np.linspace(-REACH, REACH, 7)  # of the points of a walk along a label, in standard deviations
CLIPS = 20  # number of clips that walk
NETWORKS = "networks.safetensors"
UNIT = "dB below the clip's maximum"
COLUMNS = (
    "label measure unit r2 judge_r2 rho rho_low rho_high change change_low change_high real_deviation deviation clips "
    "works"
).split()


@dataclass(frozen=True)
class Direction:
    """The direction in the space of c in which a label grows fastest.

    Attributes:
        label: the label.
        unit: unit vector (D,).
        deviation: standard deviation of the training clips' projections on it.
        r2: of the ridge regression on the validation clips.
    """

    label: Label
    unit: np.ndarray
    deviation: float
    r2: float


@dataclass(frozen=True)
class LabelMeasure:
    """A measure of a label on spectrograms (B, F, T) in dB, to (B,); `judge_r2` is NaN unless it is a regression."""

    name: str
    unit: str
    measure: Callable[[np.ndarray], np.ndarray]
    judge_r2: float = float("nan")


def can_walk(params: Params, folder: Path) -> bool:
    """Return whether out/<stage>/<fold>/<model> holds a temporal model with a trained generator."""
    name = folder.name.rpartition("-")[0]
    if folder.parts[-3] != "temporal" or name not in params.temporal.names or not (folder / NETWORKS).is_file():
        return False
    setting = params.temporal.setting(name)
    return bool(setting.adversarial_weight or setting.reconstruction_weight)


def write(
    project: Project, params: Params, folder: Path, clips: pd.DataFrame, labels: pd.DataFrame, target: Path
) -> dict[str, float]:
    """Compute all walks of one model on one fold, write their files, and return metrics for MLflow.

    Args:
        project: holds the mel spectrograms.
        params: all parameters.
        folder: of the model and fold.
        clips: the clips of the fold.
        labels: the labels of the same clips.
        target: the folder to write to.
    """
    model, mel = kept.load(folder), read_array(project.feature("mel"), "features")
    vectors = np.asarray(read_array(folder / "vectors.npy", "temporal"))
    directions = find_directions(vectors, clips, labels, params.meaning)
    label_measures = [measure_of(direction.label, mel, clips, labels, params) for direction in directions]
    rng = np.random.default_rng(params.probe.seed)
    pair, walking = sample_pair(clips, rng), sample_across_works(clips, CLIPS, rng)

    lowest_db = -params.features.dynamic_range_db
    walks = {INTERPOLATION: interpolate(model, np.array(mel[pair]), INTERPOLATION_POINTS).clip(lowest_db, 0.0)}
    effects = []
    for direction, label_measure in zip(directions, label_measures, strict=True):
        walk = walk_along(model, np.array(mel[walking]), direction, POSITIONS).clip(lowest_db, 0.0)
        walks[direction.label.name] = walk[0]
        effects.append(measure_effect(walk, label_measure, clips.iloc[walking]).assign(label=direction.label.name))
    arrays = {name: walk.astype(np.float16) for name, walk in walks.items()}
    np.savez_compressed(target / "walks.npz", allow_pickle=False, rows=pair, row=walking[:1], **arrays)
    starts = [f"{clip['composer']}, {clip['work']}" for _, clip in clips.iloc[[*pair, walking[0]]].iterrows()]
    _plot_walks(walks, directions, label_measures, starts, params, target)
    table = _summarize(
        effects, directions, label_measures, mel[np.flatnonzero(clips["split"] == "train")], params.probe
    )
    write_table(target / "walks.csv", table)
    columns = ["label", "clip", "composer", "work", "rho", "change"]
    write_table(target / "walked.csv", pd.concat(effects)[columns] if effects else pd.DataFrame(columns=columns))
    return {f"walk.{line['label']}.rho": float(line["rho"]) for line in table.to_dict("records")}


def sample_pair(clips: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Return the rows (2,) of two validation clips, of different composers if there are two."""
    rows = rng.permutation(np.flatnonzero(clips["split"] == "validation"))
    composers = clips["composer"].to_numpy()[rows]
    others = rows[composers != composers[0]]
    return np.array([rows[0], others[0] if len(others) else rows[-1]])


def sample_across_works(clips: pd.DataFrame, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of at most `count` validation clips from as many works as possible."""
    rows = rng.permutation(np.flatnonzero(clips["split"] == "validation"))
    turn = clips.iloc[rows].groupby(["composer", "work"]).cumcount().to_numpy()
    sample: np.ndarray = rows[np.argsort(turn, kind="stable")][:count]
    return sample


def interpolate(model: SavedModel, clips_db: np.ndarray, points: int) -> np.ndarray:
    """Return the way from the first to the second of two clips (2, F, T), c and z mixed linearly: (points, F, T')."""
    mixed = []
    for codes in model.encode(clips_db):
        share = np.linspace(0.0, 1.0, points).reshape(-1, *[1] * (codes.ndim - 1))
        mixed.append((1.0 - share) * codes[:1] + share * codes[1:])
    return model.generate(*mixed)


def walk_along(model: SavedModel, clips_db: np.ndarray, direction: Direction, positions: np.ndarray) -> np.ndarray:
    """Return the walks (B, P, F, T') of clips (B, F, T), whose c moves to `positions` (P,) and whose z is constant."""
    walks = []
    for c, z in zip(*model.encode(clips_db), strict=True):
        moved = c + direction.deviation * positions[:, None] * direction.unit
        walks.append(model.generate(moved, np.repeat(z[None], len(positions), axis=0)))
    return np.stack(walks)


def find_directions(
    vectors: np.ndarray, clips: pd.DataFrame, labels: pd.DataFrame, settings: Meaning
) -> list[Direction]:
    """Return the direction of each label that is a single number and can be measured on these clips.

    Args:
        vectors: c of every clip (N, D).
        clips: the clips of the fold.
        labels: the labels of the same clips.
        settings: penalties of the ridge, and the fewest clips.
    """
    directions = []
    splits = clips["split"].to_numpy(dtype=str)
    for label in LABELS:
        if label.is_class or len(label.columns) > 1:
            continue
        if explain_unmeasurable(label.values(labels), splits, settings.minimum_clips):
            continue
        ridge, r2 = _fit(vectors, label, clips, labels, settings)
        length = float(np.linalg.norm(ridge.weights[:, 0]))
        if length > 0.0:  # 0 if the encoder maps all clips to one vector
            unit = ridge.weights[:, 0] / length
            projections = vectors[np.flatnonzero(splits == "train")] @ unit
            directions.append(Direction(label, unit, float(projections.std()), r2))
    return directions


def _fit(
    vectors: np.ndarray, label: Label, clips: pd.DataFrame, labels: pd.DataFrame, settings: Meaning
) -> tuple[probes.RidgeModel, float]:
    """Return the ridge regression from vectors (N, D) to a label, and its R² on the validation clips."""
    values, splits = label.values(labels), clips["split"].to_numpy(dtype=str)
    training, validation = (np.flatnonzero(is_known(values) & (splits == split)) for split in ("train", "validation"))
    ridge = probes.fit_ridge(vectors, values, training, validation, settings.penalties)
    true = values[validation]
    error = ((true - ridge.predict(vectors[validation].astype(np.float64))) ** 2).sum()
    total = ((true - values[training].mean(axis=0)) ** 2).sum()
    return ridge, float(1.0 - error / total)


def measure_of(
    label: Label, mel: np.ndarray, clips: pd.DataFrame, labels: pd.DataFrame, params: Params
) -> LabelMeasure:
    """Return how a label is measured on spectrograms: computed if possible, otherwise predicted by a regression.

    Args:
        label: to be measured.
        mel: mel spectrograms of all clips; a regression uses those of training and validation.
        clips: the clips of the fold.
        labels: the labels of the same clips.
        params: the sections `audio`, `features` and `meaning`.
    """
    rate_hz, features = params.audio.sample_rate_hz, params.features
    if label.name == "loudness_db":
        return LabelMeasure("level", "dB", lambda mel_db: measures.level_db(mel_db, rate_hz))
    if label.name == "centroid_hz":
        return LabelMeasure("centroid", "Hz", lambda mel_db: measures.centroid_hz(mel_db, rate_hz))
    if label.name == "notes_per_s":
        return LabelMeasure("mean rise", "dB/s", lambda mel_db: measures.rise_db_per_s(mel_db, features, rate_hz))
    rows = np.flatnonzero(clips["split"] != "test")
    descriptions = np.zeros((len(clips), 4 * min(generation.MFCC_COEFFICIENTS, mel.shape[1])))
    descriptions[rows] = generation.describe_clips(mel[rows])
    judge, r2 = _fit(descriptions, label, clips, labels, params.meaning)
    return LabelMeasure("judge", "", lambda mel_db: judge.predict(generation.describe_clips(mel_db))[:, 0], r2)


def measure_effect(walks: np.ndarray, label_measure: LabelMeasure, clips: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each walk (B, P, F, T) of `clips` (B): clip, composer, work, rho and change."""
    lines: list[dict[str, Any]] = []
    for walk, clip in zip(walks, clips[["clip", "composer", "work"]].to_dict("records"), strict=True):
        values = label_measure.measure(walk)
        rho = 0.0 if np.ptp(values) == 0.0 else float(spearmanr(np.arange(len(values)), values).statistic)
        lines.append({str(name): value for name, value in clip.items()})
        lines[-1] |= {"rho": rho, "change": float(values[-1] - values[0])}
    return pd.DataFrame(lines)


def bootstrap_effects(tables: list[pd.DataFrame], settings: Probe) -> dict[str, float]:
    """Return the mean of rho and change over the clips of S folds, with their intervals over works.

    Args:
        tables: one for each fold, with one row a clip: composer, work, rho, change.
        settings: of the bootstrap.
    """
    effects: dict[str, float] = {}
    for name in ("rho", "change"):
        counts = statistics.sum_values([[table.assign(value=table[name]) for table in tables]])
        resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
        low, high = (float(end[0]) for end in statistics.interval(resampled, settings.confidence))
        effects |= {name: float(counts.accuracy().mean()), f"{name}_low": low, f"{name}_high": high}
    return effects


def _summarize(
    effects: list[pd.DataFrame],
    directions: list[Direction],
    label_measures: list[LabelMeasure],
    real_db: np.ndarray,
    settings: Probe,
) -> pd.DataFrame:
    """Return one row a label, with intervals over works; `real_db` are the real training clips."""
    lines = []
    for table, direction, label_measure in zip(effects, directions, label_measures, strict=True):
        line: dict[str, Any] = {"label": direction.label.name, "deviation": direction.deviation, "r2": direction.r2}
        line |= {"measure": label_measure.name, "unit": label_measure.unit, "judge_r2": label_measure.judge_r2}
        line |= {"real_deviation": float(label_measure.measure(real_db).std()), "clips": len(table)}
        line |= {"works": len(table[["composer", "work"]].drop_duplicates())}
        lines.append(line | bootstrap_effects([table], settings))
    return pd.DataFrame(lines, columns=COLUMNS).round(4)


def _plot_walks(
    walks: dict[str, np.ndarray],
    directions: list[Direction],
    label_measures: list[LabelMeasure],
    starts: list[str],
    params: Params,
    folder: Path,
) -> None:
    """Draw every walk; `starts` names the two clips of the interpolation and the clip of the other walks."""
    frame_s = params.features.hop_samples / params.audio.sample_rate_hz
    axis = (UNIT, frame_s, (-params.features.dynamic_range_db, 0.0))
    titles = [f"{number / (INTERPOLATION_POINTS - 1):.0%}" for number in range(INTERPOLATION_POINTS)]
    title = f"From {starts[0]} to {starts[1]}"
    figures.save(folder / f"walk-{INTERPOLATION}.png", figures.grid(walks[INTERPOLATION], titles, title, *axis))
    for direction, label_measure in zip(directions, label_measures, strict=True):
        walk = walks[direction.label.name]
        titles = [
            f"{position:+.0f}: {value:.3g} {label_measure.unit}".replace("+0:", "0:")
            for position, value in zip(POSITIONS, label_measure.measure(walk), strict=True)
        ]
        title = f"Along {direction.label.title}, from {starts[2]} ({label_measure.name}, standard deviations)"
        figures.save(folder / f"walk-{direction.label.name}.png", figures.grid(walk, titles, title, *axis))
