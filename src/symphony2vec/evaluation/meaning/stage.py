"""The stage `meaning`: linear probes of the musical labels of every clip, and retrieval, from frozen vectors.

Reads   out/<stage>/<model>/<fold>/vectors*.npy and run.json, out/labels/labels.csv, out/clips/folds/<fold>.csv
Writes  out/meaning/<stage>/<model>/<fold>/  meaning.csv (one row a readout, label and measure), retrieval.csv (one row
            a readout and task), works.csv (the sums of each test work behind both), record.json; and the model's MLflow
            run; for a temporal model with a generator also its walks, see `symphony2vec.evaluation.meaning.walks`
        out/meaning/  knowledge.csv, retrieval.csv and pairs.csv over the folds; profile.png, retrieval.png

Only the folds of the first split of params.yaml are evaluated; the others measure leakage. Of ALI's readouts a sampled
z and the 5,120 hidden activations are left out: nobody would use them as an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from symphony2vec import tracking
from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.evaluation import retrieval
from symphony2vec.evaluation.meaning import pictures, probes, summary, walks
from symphony2vec.evaluation.meaning.targets import KEY, LABELS
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.params import Params
from symphony2vec.project import (
    Project,
    atomic_folder,
    key_of,
    read_array,
    read_json,
    read_table,
    write_json,
    write_table,
)

# A change of these evaluates every model again; a change of the pictures does not.
CODE = (
    "evaluation/meaning/targets.py evaluation/meaning/probes.py evaluation/meaning/summary.py "
    "evaluation/meaning/walks.py evaluation/meaning/measures.py evaluation/retrieval.py evaluation/statistics.py "
    "evaluation/probe/regression.py models/generation.py"
)
EXCLUDED_READOUTS = ("sample", "hidden")


def run(project: Project, params: Params, stage: str | None = None, model: str | None = None) -> None:
    """Evaluate every model that has vectors, or those of one stage, or one model."""
    split = params.clips.group_by[0]
    folds = [fold.name for fold in splits.list_folds(params) if fold.split == split]
    folders = [folder for folder in vector_folders(project, stage, model) if folder.name in folds]
    if not folders:
        raise UserError(f"no vectors of a fold by {split} below {project.out()}; `dvc repro` makes them")
    if stage is None:
        folders = probe.listed_in_params(folders, params)
    labels = read_table(project.out("labels", "labels.csv"), "labels")
    with tqdm(folders, desc="meaning", unit="fold", mininterval=1.0) as bar:
        for folder in bar:
            bar.set_postfix_str("/".join(folder.parts[-3:-1]))
            _evaluate_fold(project, params, folder, labels)
    print(f"meaning: {len(folders)} vectors, {len({folder.parent for folder in folders})} models")
    if stage is None:
        probe.remove_others(project.out("meaning"), {folder.parts[-3:] for folder in folders})
        _summarize(project, params, folds)


def vector_folders(project: Project, stage: str | None = None, model: str | None = None) -> list[Path]:
    """Return the folders out/<stage>/<model>/<fold> with vectors; a classifier has none.

    Raises:
        UserError: there is none.
    """
    folders = [folder for folder in probe.model_folders(project, stage, model) if _readouts(folder)]
    if not folders:
        raise UserError(f"no model of {stage or 'any stage'} has vectors: a classifier has probabilities only")
    return folders


def evaluate(
    vectors: np.ndarray, clips: pd.DataFrame, labels: pd.DataFrame, params: Params
) -> list[probes.Measurement]:
    """Return all measurements of the vectors (N, D) of one fold: a probe of every label, and every retrieval task.

    Args:
        vectors: frozen.
        clips: composer, work, movement and split, in the order of the vectors.
        labels: the labels of the same clips.
        params: the sections `meaning` and `probe`.
    """
    return [
        *probes.probe_labels(vectors, clips, labels, LABELS, params.meaning, params.probe),
        *retrieval.evaluate_retrieval(vectors, clips, KEY.values(labels), params.meaning.minimum_clips),
    ]


def _readouts(folder: Path) -> dict[str, Path]:
    """Return the files of vectors by readout; the main one, "", comes first."""
    paths = sorted((path.stem.partition("-")[2], path) for path in folder.glob("vectors*.npy"))
    return {readout: path for readout, path in paths if readout not in EXCLUDED_READOUTS}


def _evaluate_fold(project: Project, params: Params, folder: Path, labels: pd.DataFrame) -> None:
    """Evaluate all readouts of one model on one fold, unless that is done."""
    stage, model, fold = folder.parts[-3:]
    table, record = project.out("clips", "folds", f"{fold}.csv"), read_json(folder / "run.json", stage)
    if not table.is_file() or record["clips"] != key_of(table):
        raise UserError(f"the clips have changed since the stage {stage} trained {model}; run `dvc repro`")
    settings = params.meaning.model_dump(exclude={"profile_models"})
    code = [Path(__file__).parents[2] / name for name in CODE.split()]
    key = key_of(*code, project.out("labels", "labels.csv"), settings, params.probe.model_dump(), record)
    target = project.out("meaning", stage, model, fold)
    if (target / "record.json").is_file() and read_json(target / "record.json", "meaning")["key"] == key:
        return
    clips = read_table(table, "clips")
    if not labels["clip"].equals(clips["clip"]):
        raise UserError(f"the labels are of other clips than {table}; run `dvc repro`")
    measurements = {
        readout: evaluate(_read_vectors(path, clips), clips, labels, params)
        for readout, path in _readouts(folder).items()
    }
    with tracking.resume_run(project, record) as run, atomic_folder(target) as partial:
        run.log_metrics(_write_tables(measurements, params, partial))
        write_json(partial / "record.json", {"stage": stage, "model": model, "fold": fold, "key": key})
        for name in ("meaning", "retrieval"):
            run.log_artifact(partial / f"{name}.csv", "meaning")
        if walks.can_walk(params, folder):
            run.log_metrics(walks.write(project, params, folder, clips, labels, partial))
            run.log_artifact(partial / "walks.csv", "meaning")


def _read_vectors(path: Path, clips: pd.DataFrame) -> np.ndarray:
    vectors = np.asarray(read_array(path, path.parts[-4]))
    if len(vectors) != len(clips):
        raise UserError(f"{path} holds {len(vectors)} rows for {len(clips)} clips; run `dvc repro`")
    return vectors


def _write_tables(measurements: dict[str, list[probes.Measurement]], params: Params, folder: Path) -> dict[str, float]:
    """Write meaning.csv, retrieval.csv and works.csv of one fold; return the metrics for MLflow."""
    tables = {readout: summary.tabulate_fold(of_readout, params.probe) for readout, of_readout in measurements.items()}
    works = [
        measurement.table.assign(readout=readout, label=measurement.label, measure=measurement.measure)
        for readout, of_readout in measurements.items()
        for measurement in of_readout
    ]
    lines = pd.concat([table.assign(readout=readout) for readout, table in tables.items()])
    lines = lines[["readout", *lines.columns.drop("readout")]]
    is_retrieval = lines["measure"] == retrieval.MEASURE
    write_table(folder / "meaning.csv", lines[~is_retrieval])
    retrieved = lines[is_retrieval].drop(columns=["measure", "strength", "unseen"])
    write_table(folder / "retrieval.csv", retrieved.rename(columns=summary.RETRIEVED))
    write_table(folder / "works.csv", pd.concat(works)[["readout", "label", "measure", "work", *probes.SUMS]])
    return {name: value for readout, table in tables.items() for name, value in _metrics(readout, table)}


def _metrics(readout: str, table: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Yield metrics by name, such as "crops.meaning.loudness_db.r2" and "meaning.same_work.map"."""
    prefix = f"{readout}." if readout else ""
    for line in table[table["reason"] == ""].itertuples():
        name = f"{prefix}meaning.{str(line.label).replace(' ', '_')}"
        yield f"{name}.{str(line.measure).lower()}", float(str(line.value))
        yield f"{name}.baseline", float(str(line.baseline))


def _summarize(project: Project, params: Params, folds: Sequence[str]) -> None:
    """Write the tables over the folds, and the figures of the models of meaning.profile_models."""
    results, pairs = summary.summarize_folds(summary.read_entries(project, folds), params.probe)
    is_retrieval = results["measure"] == retrieval.MEASURE
    home = project.out("meaning")
    write_table(home / "knowledge.csv", results[~is_retrieval])
    write_table(home / "retrieval.csv", results[is_retrieval].drop(columns="measure").rename(columns=summary.RETRIEVED))
    write_table(home / "pairs.csv", pairs)
    pictures.write_figures(results, params.meaning.profile_models, home)
