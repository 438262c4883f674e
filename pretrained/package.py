"""Write symphony2vec-base, the model that is installed with symphony2vec, from the trained encoder.

Run in this folder, after the stages encoder and labels: python package.py

The vector is the encoder's pooled features. The probe classifies composers with at least `MIN_WORKS` works; like the
encoder, it is fitted without the test works.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from symphony2vec import embedder, params
from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.meaning import probes
from symphony2vec.evaluation.meaning.targets import KEY, LABELS, is_known
from symphony2vec.evaluation.probe import regression, scores
from symphony2vec.package import card, contents
from symphony2vec.package.attributes import Attribute, estimate_keys
from symphony2vec.project import Project, atomic_folder, read_array, read_table

FOLD, MODEL, READOUT = "work-0", "base-64", "pooled"
MIN_WORKS = 6
MIN_R2 = 0.2  # on validation clips; probes below are left out
RANGE = (0.005, 0.995)  # quantiles of the training clips, between which predictions are clipped
DISPLAY = {
    "loudness_db": ("level", "dB"),
    "centroid_hz": ("brightness", "Hz"),
    "notes_per_s": ("density", "notes/s"),
    "instruments": ("parts sounding", "parts"),
    "keys": ("share of keyboards", ""),
    "pitch_classes": ("pitch classes", ""),
}
TARGET = contents.PRETRAINED / embedder.BASE
FILES = (contents.ONNX, contents.EXAMPLE, contents.GOLDEN)
SUBJECT = {"stage": "pretrained", "model": "symphony2vec", "representation": "base", "fold": ""}


def select_composers(clips: pd.DataFrame) -> np.ndarray:
    """Return whether each clip is of a composer with at least `MIN_WORKS` works."""
    works = clips.groupby("composer")["work"].nunique()
    selected: np.ndarray = clips["composer"].isin(works.index[works >= MIN_WORKS]).to_numpy()
    return selected


def fit_attributes(project: Project, vectors: np.ndarray, clips: pd.DataFrame) -> Iterator[Attribute]:
    """Yield the probes of all labels that are numbers and can be tested on these clips, with R2 on test works.

    Args:
        project: whose labels and parameters are read.
        vectors: (clips, D).
        clips: composer, work and split.
    """
    settings = params.read(project.params)
    table = read_table(project.out("labels", "labels.csv"), "labels")
    splits = clips["split"].to_numpy(dtype=str)
    numbers = [label for label in LABELS if not label.is_class]
    measured = probes.probe_labels(vectors, clips, table, numbers, settings.meaning, settings.probe)
    r2 = {entry.label: entry for entry in measured if entry.measure == "r2" and not entry.reason}
    for label in (label for label in numbers if label.name in r2):
        values = label.values(table)
        usable = is_known(values)
        training, validation = (np.flatnonzero(usable & (splits == split)) for split in ("train", "validation"))
        model = probes.fit_ridge(vectors, values, training, validation, settings.meaning.penalties)
        if r2_of(model, vectors, values, training, validation) < MIN_R2:
            continue
        range_of_training = np.quantile(values[training], RANGE)
        low, high = np.exp2(range_of_training) if label.is_log else range_of_training
        score, score_low, score_high = bootstrap_r2(r2[label.name].table, settings.probe)
        title, unit = DISPLAY.get(label.name, (label.title, ""))
        yield Attribute(
            label.name,
            title,
            unit,
            model.weights,
            model.offset,
            float(low),
            float(high),
            label.is_log,
            score,
            score_low,
            score_high,
            key_accuracy(model, vectors, table, clips, settings.probe) if label.name == "pitch_classes" else None,
        )


def key_accuracy(
    model: probes.RidgeModel, vectors: np.ndarray, labels: pd.DataFrame, clips: pd.DataFrame, settings: params.Probe
) -> tuple[float, float, float]:
    """Return the share of test clips whose key the predicted pitch classes give, with its interval over works."""
    keys = KEY.values(labels)
    rows = np.flatnonzero(is_known(keys) & (clips["split"] == "test").to_numpy())
    predicted = estimate_keys(model.predict(vectors[rows].astype(np.float64)))[:, 0]
    values = clips.iloc[rows][["composer", "work"]].assign(value=(predicted == keys[rows]).astype(float))
    counts = statistics.sum_values([[values]])
    resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
    low, high = statistics.interval(resampled, settings.confidence)
    return float(values["value"].mean()), float(low[0]), float(high[0])


def r2_of(
    model: probes.RidgeModel, vectors: np.ndarray, values: np.ndarray, training: np.ndarray, rows: np.ndarray
) -> float:
    """Return the R2 of a probe on some rows, against the mean of the training rows."""
    error = ((model.predict(vectors[rows].astype(np.float64)) - values[rows]) ** 2).sum()
    return float(1.0 - error / ((values[rows] - values[training].mean(axis=0)) ** 2).sum())


def bootstrap_r2(table: pd.DataFrame, settings: params.Probe) -> tuple[float, float, float]:
    """Return R2 with its interval over works, from the sums of score and weight of every work."""
    works, rng = len(table), np.random.default_rng(settings.seed)
    times = rng.multinomial(works, np.full(works, 1.0 / works), size=settings.bootstrap_resamples)
    score, weight = table["score"].to_numpy(), table["weight"].to_numpy()
    low, high = statistics.interval((times @ score) / (times @ weight), settings.confidence)
    return float(score.sum() / weight.sum()), float(low), float(high)


def describe(config: contents.Config, clips: pd.DataFrame) -> contents.Config:
    """Return the config under the model's name, with its training works."""
    training = clips[clips["split"] == "train"]
    works = [list(work) for work in sorted(set(training[["composer", "work"]].itertuples(index=False, name=None)))]
    return replace(config, subject=SUBJECT, readout="", data={**config.data, "fold": FOLD, "works": works})


def write(project: Project) -> None:
    """Write the package, with its probe and its card."""
    settings = params.read(project.params).probe
    source = project.out("temporal", FOLD, MODEL)
    clips = read_table(project.out("clips", "folds", f"{FOLD}.csv"), "clips")
    selected = select_composers(clips)
    probed_clips = clips[selected].reset_index(drop=True)
    all_vectors = np.asarray(read_array(source / f"vectors-{READOUT}.npy", "temporal"))
    result = regression.fit(all_vectors[selected], probed_clips, settings)
    assert result.head is not None
    files = source / contents.folder_name(READOUT)
    plain_config = asdict(describe(contents.read_config(files), clips))
    text = card.text(plain_config, scores.score(result, probed_clips, settings))
    TARGET.parent.mkdir(exist_ok=True)
    with atomic_folder(TARGET) as partial:
        (partial / "artifacts").mkdir()
        for name in FILES:
            shutil.copyfile(files / name, partial / "artifacts" / name)
        (partial / "artifacts" / contents.CONFIG).write_text(json.dumps(plain_config), encoding="utf-8")
        head = json.dumps(result.head.as_plain())
        (partial / "artifacts" / contents.HEAD).write_text(head, encoding="utf-8")
        plain = [attribute.as_plain() for attribute in fit_attributes(project, all_vectors, clips)]
        (partial / "artifacts" / contents.ATTRIBUTES).write_text(json.dumps(plain), encoding="utf-8")
        (partial / contents.CARD).write_text(text, encoding="utf-8")
    print(f"{TARGET}: {sum(path.stat().st_size for path in TARGET.rglob('*') if path.is_file()) / 1e6:.1f} MB")


if __name__ == "__main__":
    write(Project.around(Path(__file__).parent))
