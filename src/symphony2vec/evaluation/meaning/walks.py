"""Walks through the codes of a temporal model that generates: from one clip to another, and along what probes found.

Writes  out/meaning/temporal/<model>/<fold>/
            walks.npz      what was walked through, as it is drawn and played: `interpolation` and one array a label,
                           (P, F, T) float16 in dB; `rows` of the two clips, `row` of the one that walks along labels
            walks.csv      one row a label: does the walk do what it says, in the mean over clips, with intervals
            walked.csv     the same of every clip
            walk-*.png     each walk

Between two clips both codes are mixed linearly, the clip code c and the step codes z. A direction is the gradient of
the ridge regression of `symphony2vec.evaluation.meaning.probes` from c to a label, fitted on the training clips; a walk
goes from -3 to +3 deviations of the training clips' projections on it, from the c of a validation clip, and keeps its
z.

Whether a walk for a label is one is measured on what is generated, as far as it is heard (cut to the dynamic range):

    loudness_db   level of the clip, dB below the level that a spectrogram at its maximum everywhere would have
    centroid_hz   centroid of the power, in Hz
    notes_per_s   mean rise over all bands (spectral flux), in dB per second
    all others    by a ridge regression from a description that no model learned (symphony2vec.models.generation),
                  fitted on real training clips; `judge_r2` says how much it knows of real validation clips

Spectrograms are relative to their maximum, so the level is how full a clip is, not how loud it was recorded.
`rho` is Spearman's correlation of place and measure along the walk (0 where nothing changes), `change` the measure at
its end less that at its start, `real_deviation` the deviation of the measure among the real training clips.

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
from symphony2vec.evaluation.meaning.targets import LABELS, Label, known, why_not
from symphony2vec.models import generation
from symphony2vec.models.temporal import kept
from symphony2vec.params import Params
from symphony2vec.project import Project, read_array, write_table

if TYPE_CHECKING:
    from symphony2vec.models.temporal.kept import SavedModel
    from symphony2vec.params import Meaning, Probe

Measure = Callable[["np.ndarray"], "np.ndarray"]  # spectrograms (B, F, T) in dB to a number each (B,)

INTERPOLATION = "interpolation"
MIXED_POINTS = 9
REACH = 3.0  # deviations to either side
POINTS = 7
CLIPS = 20  # that walk
NETWORKS = "networks.safetensors"
DB = "dB below the clip's maximum"


@dataclass(frozen=True)
class Direction:
    """Where a label grows fastest in the space of c: a unit vector (D,), the deviation of the training clips' along it,
    and the R² of its ridge regression on the validation clips.
    """

    label: Label
    unit: np.ndarray
    deviation: float
    r2: float


@dataclass(frozen=True)
class Ruler:
    """How a label is measured on spectrograms; `judge_r2` is NaN where it is computed and not learned."""

    name: str
    unit: str
    measure: Measure
    judge_r2: float


def possible(params: Params, folder: Path) -> bool:
    """Whether the model of out/<stage>/<model>/<fold> is a temporal one that generates."""
    name = folder.parent.name.rpartition("-")[0]
    if folder.parts[-3] != "temporal" or name not in params.temporal.names or not (folder / NETWORKS).is_file():
        return False
    setting = params.temporal.setting(name)
    return bool(setting.adversary or setting.reconstruction)


def write(
    project: Project, params: Params, folder: Path, own: pd.DataFrame, told: pd.DataFrame, filling: Path
) -> dict[str, float]:
    """Walk through the model of one draw and write what came of it into `filling`; returns figures for its run.

    Args:
        project, params: what was run.
        folder: of the model and fold.
        own: the clips of the fold.
        told: the labels of the same clips.
        filling: where the files go.
    """

    model, array = kept.load(folder), read_array(project.feature("mel"), "features")
    found = directions(np.asarray(read_array(folder / "vectors.npy", "temporal")), own, told, params.meaning)
    rulers = {one.label.name: ruler(one.label, array, own, told, params) for one in found}
    low = -params.features.dynamic_range_db
    rng = np.random.default_rng(params.probe.seed)
    two, walking = pair(own, rng), spread(own, CLIPS, rng)
    mixed = np.clip(interpolation(model, np.array(array[two]), MIXED_POINTS), low, 0.0)
    kept_walks = {INTERPOLATION: mixed}
    walked = []
    for one in found:
        walk = np.clip(along(model, np.array(array[walking]), one, places()), low, 0.0)
        kept_walks[one.label.name] = walk[0]
        walked.append(judged(walk, rulers[one.label.name], own.iloc[walking]).assign(label=one.label.name))
    arrays = {name: walk.astype(np.float16) for name, walk in kept_walks.items()}
    np.savez_compressed(filling / "walks.npz", allow_pickle=False, rows=two, row=walking[:1], **arrays)
    _draw(kept_walks, found, rulers, own, (two, int(walking[0])), params, filling)
    table = _table(walked, found, rulers, array, own, params.probe)
    write_table(filling / "walks.csv", table)
    write_table(filling / "walked.csv", _joined(walked))
    return {f"walk.{line['label']}.rho": float(line["rho"]) for line in table.to_dict("records")}


def pair(own: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Rows of two validation clips of different composers (2,); of the same where there is but one."""

    rows = rng.permutation(np.flatnonzero(own["split"] == "validation"))
    composers = own["composer"].to_numpy()[rows]
    others = rows[composers != composers[0]]
    second = others[0] if len(others) else rows[-1]
    return np.array([rows[0], second])


def spread(own: pd.DataFrame, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of so many validation clips, or as many as there are, from as many works as can be."""

    rows = rng.permutation(np.flatnonzero(own["split"] == "validation"))
    turn = own.iloc[rows].groupby(["composer", "work"]).cumcount().to_numpy()
    chosen: np.ndarray = rows[np.argsort(turn, kind="stable")][:count]
    return chosen


def places() -> np.ndarray:
    """The points (P,) of a walk along a label, in deviations."""

    return np.linspace(-REACH, REACH, POINTS)


def interpolation(model: SavedModel, clips_db: np.ndarray, points: int) -> np.ndarray:
    """From the first to the second of two clips (2, F, T), c and z mixed linearly: (points, F, T')."""

    share = np.linspace(0.0, 1.0, points)
    c, z = model.encode(clips_db)
    return model.generate(
        *((1.0 - _as(share, one)) * one[:1] + _as(share, one) * one[1:] for one in (c, z))  # (points, ...)
    )


def along(model: SavedModel, clips_db: np.ndarray, direction: Direction, at: np.ndarray) -> np.ndarray:
    """Each clip (B, F, T) with its c moved along the direction by `at` (P,) deviations, its z kept: (B, P, F, T')."""

    walks = []
    for c, z in zip(*model.encode(clips_db), strict=True):
        moved = c + direction.deviation * at[:, None] * direction.unit
        walks.append(model.generate(moved, np.repeat(z[None], len(at), axis=0)))
    return np.stack(walks)


def _as(share: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return share.reshape(-1, *(1 for _ in codes.shape[1:]))


def directions(vectors: np.ndarray, own: pd.DataFrame, told: pd.DataFrame, settings: Meaning) -> list[Direction]:
    """One for each label that is a single number and can be measured on these clips.

    Args:
        vectors: c of every clip (N, D).
        own: the clips of the fold.
        told: the labels of the same clips.
        settings: penalties of the ridge, and the fewest clips.
    """

    found = []
    for label in LABELS:
        if label.is_class or len(label.columns) > 1:
            continue
        if why_not(label.values(told), own["split"].to_numpy(dtype=str), settings.minimum_clips):
            continue
        fitted, r2 = _fitted(vectors, label, own, told, settings)
        length = float(np.linalg.norm(fitted.weights[:, 0]))
        if length > 0.0:  # an encoder that says one thing of all clips has no directions
            unit = fitted.weights[:, 0] / length
            projected = vectors[np.flatnonzero(own["split"] == "train")] @ unit
            found.append(Direction(label, unit, float(projected.std()), r2))
    return found


def _fitted(
    vectors: np.ndarray, label: Label, own: pd.DataFrame, told: pd.DataFrame, settings: Meaning
) -> tuple[probes.Regression, float]:
    """The ridge regression from vectors (N, D) to a label, and its R² on the validation clips."""

    values, sides = label.values(told), own["split"].to_numpy(dtype=str)
    training, validation = (np.flatnonzero(known(values) & (sides == side)) for side in ("train", "validation"))
    fitted = probes.ridge(vectors, values, training, validation, settings.penalties)
    true = values[validation]
    error = ((true - fitted.predict(vectors[validation].astype(np.float64))) ** 2).sum()
    total = ((true - values[training].mean(axis=0)) ** 2).sum()
    return fitted, float(1.0 - error / total)


def ruler(label: Label, array: np.ndarray, own: pd.DataFrame, told: pd.DataFrame, params: Params) -> Ruler:
    """How the label is measured on spectrograms: computed where it can be, else told by a judge.

    Args:
        label: of which.
        array: the mel spectrograms of all clips, of which a judge sees those of training and validation.
        own: the clips of the fold.
        told: the labels of the same clips.
        params: the sections `audio`, `features` and `meaning`.
    """

    rate_hz, features = params.audio.sample_rate_hz, params.features
    computed: dict[str, tuple[str, str, Measure]] = {
        "loudness_db": ("level", "dB", lambda mel_db: measures.level_db(mel_db, rate_hz)),
        "centroid_hz": ("centroid", "Hz", lambda mel_db: measures.centroid_hz(mel_db, rate_hz)),
        "notes_per_s": ("mean rise", "dB/s", lambda mel_db: measures.rise_db_per_s(mel_db, features, rate_hz)),
    }
    if label.name in computed:
        return Ruler(*computed[label.name], judge_r2=float("nan"))
    seen = np.flatnonzero(own["split"] != "test")
    described = np.zeros((len(own), 4 * min(generation.MFCC_COEFFICIENTS, array.shape[1])))
    described[seen] = generation.describe_clips(array[seen])
    judge, r2 = _fitted(described, label, own, told, params.meaning)
    return Ruler("judge", "", lambda mel_db: judge.predict(generation.describe_clips(mel_db))[:, 0], r2)


def judged(walks: np.ndarray, by: Ruler, own: pd.DataFrame) -> pd.DataFrame:
    """One row for each clip of `own` (B) that walked (B, P, F, T): clip, composer, work, rho and change."""

    lines: list[dict[str, Any]] = []
    for walk, clip in zip(walks, own.to_dict("records"), strict=True):
        values = by.measure(walk)
        rho = 0.0 if np.ptp(values) == 0.0 else float(spearmanr(np.arange(len(values)), values).statistic)
        about = {name: clip[name] for name in ("clip", "composer", "work")}
        lines.append({**about, "rho": rho, "change": float(values[-1] - values[0])})

    return pd.DataFrame(lines)


def _joined(walked: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["label", "clip", "composer", "work", "rho", "change"]
    return pd.concat(walked, ignore_index=True)[columns] if walked else pd.DataFrame(columns=columns)


def _table(
    walked: list[pd.DataFrame],
    found: list[Direction],
    rulers: dict[str, Ruler],
    array: np.ndarray,
    own: pd.DataFrame,
    settings: Probe,
) -> pd.DataFrame:
    """One row a label, with intervals from works drawn with replacement."""

    real = array[np.flatnonzero(own["split"] == "train")]
    lines = []
    for table, one in zip(walked, found, strict=True):
        by = rulers[one.label.name]
        line = {"label": one.label.name, "measure": by.name, "unit": by.unit, "r2": one.r2, "judge_r2": by.judge_r2}
        for name in ("rho", "change"):
            counts = statistics.sum_values([[table.assign(value=table[name])]])
            drawn = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
            low, high = (float(end[0]) for end in statistics.interval(drawn, settings.confidence))
            line |= {name: float(table[name].mean()), f"{name}_low": low, f"{name}_high": high}
        line |= {"real_deviation": float(by.measure(real).std()), "deviation": one.deviation}
        lines.append(line | {"clips": len(table), "works": len(table[["composer", "work"]].drop_duplicates())})
    return pd.DataFrame(lines, columns=COLUMNS).round(4)


COLUMNS = (
    "label measure unit r2 judge_r2 rho rho_low rho_high change change_low change_high real_deviation deviation clips "
    "works"
).split()


def _draw(
    walks: dict[str, np.ndarray],
    found: list[Direction],
    rulers: dict[str, Ruler],
    own: pd.DataFrame,
    rows: tuple[np.ndarray, int],
    params: Params,
    folder: Path,
) -> None:
    frame_s = params.features.hop_samples / params.audio.sample_rate_hz
    look = (DB, frame_s, (-params.features.dynamic_range_db, 0.0))
    first, second = (_named(own, int(row)) for row in rows[0])
    mixed = walks[INTERPOLATION]
    titles = [f"{number / (len(mixed) - 1):.0%}" for number in range(len(mixed))]
    label = f"From {first} to {second}"
    figures.save(folder / f"walk-{INTERPOLATION}.png", figures.grid(mixed, titles, label, *look))
    for one in found:
        walk, by = walks[one.label.name], rulers[one.label.name]
        told = [
            f"{place:+.0f}: {value:.3g} {by.unit}".replace("+0:", "0:")
            for place, value in zip(places(), by.measure(walk), strict=True)
        ]
        label = f"Along {one.label.title}, from {_named(own, rows[1])} ({by.name}, deviations)"
        figures.save(folder / f"walk-{one.label.name}.png", figures.grid(walk, told, label, *look))


def _named(own: pd.DataFrame, row: int) -> str:
    clip = own.iloc[row]
    return f"{clip['composer']}, {clip['work']}"
