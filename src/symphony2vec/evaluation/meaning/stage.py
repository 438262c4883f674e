"""The stage `meaning`: linear probes of the musical labels of every clip, and retrieval, of the vectors of each model.

    Reads   out/<stage>/<fold>/<model>/vectors*.npy and run.json, out/labels/labels.csv, out/clips/folds/<fold>.csv
    Writes  out/meaning/<fold>/<stage>/<model>/
                meaning.csv      one row a readout, label and measure
                retrieval.csv    one row a readout and task
                works.csv        the sums of each test work behind both
            and the model's MLflow run; for a temporal model with a generator also its walks, see
            `symphony2vec.evaluation.meaning.walks`
            out/meaning/<fold>.json              the main values of every model, for `dvc metrics`

Of ALI's readouts a sampled z and the 5,120 hidden activations are left out: nobody would use them as an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from symphony2vec import tracking
from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.evaluation import retrieval
from symphony2vec.evaluation.meaning import probes, summary, walks
from symphony2vec.evaluation.meaning.targets import KEY, LABELS
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.package import contents
from symphony2vec.params import Params
from symphony2vec.project import (
    Project,
    atomic_folder,
    read_array,
    read_table,
    write_table,
)

EXCLUDED_READOUTS = ("sample", "hidden")


def run(
    project: Project, params: Params, stage: str | None = None, model: str | None = None, fold: str | None = None
) -> None:
    """Evaluate every model that has vectors, or those of one stage, or one model, on one fold or on all."""
    labels = read_table(project.out("labels", "labels.csv"), "labels")
    for split_fold in splits.select_folds(params, fold):
        folders = vector_folders(project, split_fold.name, stage, model)
        if stage is None:
            folders = probe.listed_in_params(folders, params)
        with tqdm(folders, desc=f"meaning {split_fold.name}", unit="model", mininterval=1.0) as bar:
            for folder in bar:
                bar.set_postfix_str(f"{folder.parts[-3]}/{folder.name}")
                _evaluate_model(project, params, folder, labels)
        home = project.out("meaning", split_fold.name)
        if stage is None:
            probe.remove_others(home, {(folder.parts[-3], folder.name) for folder in folders})
        metrics = {path.parent: _main_metrics(path) for path in sorted(home.glob("*/*/meaning.csv"))}
        probe.write_metrics(home.with_suffix(".json"), metrics)
        print(f"meaning: {len(folders)} vectors of {split_fold.name}")


def vector_folders(project: Project, fold: str, stage: str | None = None, model: str | None = None) -> list[Path]:
    """Return the folders out/<stage>/<fold>/<model> with vectors; a classifier has none.

    Raises:
        UserError: there is none.
    """
    folders = [folder for folder in probe.model_folders(project, fold, stage, model) if _readouts(folder)]
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


def _evaluate_model(project: Project, params: Params, folder: Path, labels: pd.DataFrame) -> None:
    """Evaluate all readouts of one model on one fold."""
    stage, fold, model = folder.parts[-3:]
    record = tracking.read_run_record(project, folder)
    clips = probe.check_clips(project, folder, record)
    if not labels["clip"].equals(clips["clip"]):
        raise UserError(f"the labels are of other clips than those of {fold}; run `dvc repro`")
    measurements = {
        readout: evaluate(_read_vectors(path, clips), clips, labels, params)
        for readout, path in _readouts(folder).items()
    }
    with (
        tracking.resume_run(project, record) as run,
        atomic_folder(project.out("meaning", fold, stage, model)) as partial,
    ):
        for readout, table in _write_tables(measurements, params, partial).items():
            run.log_metrics(dict(_metrics(readout, table)), model=contents.folder_name(readout))
        for name in ("meaning", "retrieval"):
            run.log_artifact(partial / f"{name}.csv", "meaning")
        if walks.can_walk(params, folder):
            run.log_metrics(walks.write(project, params, folder, clips, labels, partial))
            run.log_artifact(partial / "walks.csv", "meaning")


def _main_metrics(path: Path) -> dict[str, float]:
    """Return the values of the main readout of a meaning.csv, under their names in MLflow."""
    table = read_table(path, "meaning")
    metrics = dict(_metrics("", table[table["readout"] == ""]))
    return {name: value for name, value in metrics.items() if not name.endswith(".baseline")}


def _read_vectors(path: Path, clips: pd.DataFrame) -> np.ndarray:
    vectors = np.asarray(read_array(path, path.parts[-4]))
    if len(vectors) != len(clips):
        raise UserError(f"{path} holds {len(vectors)} rows for {len(clips)} clips; run `dvc repro`")
    return vectors


def _write_tables(
    measurements: dict[str, list[probes.Measurement]], params: Params, folder: Path
) -> dict[str, pd.DataFrame]:
    """Write meaning.csv, retrieval.csv and works.csv of one fold; return the lines of the first two by readout."""
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
    return tables


def _metrics(readout: str, table: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Yield metrics by name, such as "crops.meaning.loudness_db.r2" and "meaning.same_work.map"."""
    prefix = f"{readout}." if readout else ""
    for line in table[table["reason"] == ""].itertuples():
        name = f"{prefix}meaning.{str(line.label).replace(' ', '_')}"
        yield f"{name}.{str(line.measure).lower()}", float(str(line.value))
        yield f"{name}.baseline", float(str(line.baseline))
