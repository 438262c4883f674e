"""The stage `probe`: composer accuracy of every model from its vectors, with intervals over works.

    Reads   out/<stage>/<fold>/<model>/vectors*.npy or probabilities*.npy and run.json, out/clips/folds/<fold>.csv,
            out/features/near_duplicates.csv
    Writes  out/probe/<fold>/<stage>/<model>/  scores.json, predictions.csv (test clips), works.csv (how many clips
                and movements of each test work are predicted correctly), confusion.png; and the model's MLflow run
            out/probe/<fold>.json              the main scores of every model, for `dvc metrics`

A model may offer several *readouts*: vectors.npy is its main one, vectors-<readout>.npy are others of the same model.
A classifier has probabilities instead of vectors; they are scored as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from symphony2vec import figures, tracking
from symphony2vec.clips import leaks, splits
from symphony2vec.errors import UserError
from symphony2vec.evaluation.probe import regression, scores
from symphony2vec.evaluation.probe.regression import ProbeResult
from symphony2vec.package import contents, saving
from symphony2vec.params import Params, Probe
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

STAGES = ("classifiers", "embeddings", "ali", "temporal", "pretrained")  # have vectors or probabilities


def run(
    project: Project, params: Params, stage: str | None = None, model: str | None = None, fold: str | None = None
) -> None:
    """Probe every model in out/, or those of one stage, or one model, on one fold or on all."""
    for split_fold in splits.select_folds(params, fold):
        folders = model_folders(project, split_fold.name, stage, model)
        if stage is None:
            folders = listed_in_params(folders, params)
        with tqdm(folders, desc=f"probe {split_fold.name}", unit="model", mininterval=1.0) as bar:
            for folder in bar:
                bar.set_postfix_str(f"{folder.parts[-3]}/{folder.name}")
                _probe_model(project, params.probe, folder)
        home = project.out("probe", split_fold.name)
        if stage is None:
            remove_others(home, {(folder.parts[-3], folder.name) for folder in folders})
        write_metrics(
            home.with_suffix(".json"),
            {path.parent: _main_metrics(path) for path in sorted(home.glob("*/*/scores.json"))},
        )
        print(f"probe: {len(folders)} vectors and classifiers of {split_fold.name}")


def model_folders(project: Project, fold: str, stage: str | None = None, model: str | None = None) -> list[Path]:
    """Return the folders out/<stage>/<fold>/<model> that can be probed.

    Raises:
        UserError: there is none.
    """
    stages = [stage] if stage else STAGES
    folders = [record.parent for name in stages for record in project.out(name, fold).glob("[!.]*/run.json")]
    folders = sorted(folder for folder in folders if model in (None, folder.name))
    if not folders:
        what = f"no model '{model}' in" if model else "no models in"
        raise UserError(f"{what} {', '.join(str(project.out(name, fold)) for name in stages)}; `dvc repro` trains them")
    return folders


def listed_in_params(folders: list[Path], params: Params) -> list[Path]:
    """Return the folders of models that params.yaml lists: older models or manual trials may lie beside them."""
    models: dict[str, list[str]] = {
        "ali": params.ali.models,
        "temporal": params.temporal.models,
        "pretrained": list(params.pretrained.models),
    }
    return [folder for folder in folders if folder.name in models.get(folder.parts[-3], [folder.name])]


def remove_others(home: Path, expected: set[tuple[str, str]]) -> None:
    """Remove the results of models that no longer exist; `expected` holds (stage, model)."""
    for folder in home.glob("[!.]*/[!.]*"):
        if folder.parts[-2:] not in expected:
            shutil.rmtree(folder)
    for folder in home.glob("[!.]*/"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def write_metrics(path: Path, metrics: Mapping[Path, Mapping[str, float]]) -> None:
    """Write the metrics of one fold for DVC: stage -> model -> metric -> value."""
    by_stage: dict[str, dict[str, dict[str, float]]] = {}
    for folder, values in metrics.items():
        by_stage.setdefault(folder.parent.name, {})[folder.name] = dict(values)
    write_json(path, by_stage)


def check_clips(project: Project, folder: Path, record: Mapping[str, Any]) -> pd.DataFrame:
    """Return the clips of the fold out/<stage>/<fold>/<model>.

    Raises:
        UserError: they are not those that the model was trained on.
    """
    stage, fold, model = folder.parts[-3:]
    table = project.out("clips", "folds", f"{fold}.csv")
    if not table.is_file() or record["clips"] != key_of(table):
        raise UserError(f"the clips have changed since the stage {stage} trained {model}; run `dvc repro`")
    return read_table(table, "clips")


def _main_metrics(path: Path) -> dict[str, float]:
    """Return accuracy with its interval and macro-F1 at every level from a scores.json, under their names in MLflow."""
    metrics: dict[str, float] = {}
    for values in read_json(path, "probe")["scores"]:
        of_readout = {name: value for name, value in values.items() if name in scores.MAIN_METRICS}
        metrics |= _metrics({"readout": values["readout"], **of_readout})
    return metrics


def _probe_model(project: Project, settings: Probe, folder: Path) -> None:
    """Probe all readouts of one model on one fold."""
    stage, fold, model = folder.parts[-3:]
    record = tracking.read_run_record(project, folder)
    clips = check_clips(project, folder, record)
    with (
        tracking.resume_run(project, record) as run,
        atomic_folder(project.out("probe", fold, stage, model)) as partial,
    ):
        results = {name: _result(path, clips, settings) for name, path in _readouts(folder).items()}
        scored = [{"readout": name, **scores.score(*result, settings)} for name, result in results.items()]
        write_json(partial / "scores.json", {"stage": stage, "model": model, "fold": fold, "scores": scored})
        write_table(partial / "predictions.csv", _predictions(results, clips))
        works = [scores.correct_by_work(*result).assign(readout=name) for name, result in results.items()]
        write_table(partial / "works.csv", pd.concat(works))
        title = f"{model}, {fold}: test clips"
        figure = figures.confusion(np.array(scored[0]["confusion"]), results[""][0].composers, title)
        run.log_figure(figure, "confusion.png")
        figures.save(partial / "confusion.png", figure)
        for values in scored:
            run.log_metrics(_metrics(values), model=contents.folder_name(values["readout"]))
        run.log_metrics(leaks.compute_metrics(leaks.read_pairs(project), clips))
        run.log_artifact(partial / "works.csv", "probe")
        _complete_packages(run, folder, {values["readout"]: values for values in scored}, results)


def _complete_packages(
    run: tracking.Run,
    folder: Path,
    scored: Mapping[str, Any],
    results: Mapping[str, tuple[ProbeResult, pd.DataFrame]],
) -> None:
    """Add the fitted probe and the scores of the model card to the model's packages."""
    for readout, (result, _) in results.items():
        files = folder / contents.folder_name(readout)
        if files.is_dir():
            saving.complete(run, files, result.head, scored[readout])


def _readouts(folder: Path) -> dict[str, Path]:
    """The files to score by the name of their readout; the main one, "", comes first."""
    files = [path for kind in ("vectors", "probabilities") for path in sorted(folder.glob(f"{kind}*.npy"))]
    by_name = {path.stem.partition("-")[2]: path for path in files}
    if "" not in by_name:
        raise UserError(f"{folder} holds neither vectors.npy nor probabilities.npy; `dvc repro` trains the model again")
    return dict(sorted(by_name.items()))


def _result(path: Path, clips: pd.DataFrame, settings: Probe) -> tuple[ProbeResult, pd.DataFrame]:
    """The probe of one readout, and the table of the clips (or chunks of clips) that it predicts."""
    values = np.asarray(read_array(path, path.parts[-4]))
    if len(values) != len(clips):
        raise UserError(f"{path} holds {len(values)} rows for {len(clips)} clips; run `dvc repro`")
    if path.name.startswith("vectors"):
        return regression.fit(values, clips, settings), clips
    if not np.isfinite(values).all():
        raise UserError(f"{path} holds values that are not finite numbers: the model that made them has diverged")
    composers = sorted(clips["composer"].astype(str).unique())
    chunks = values.shape[1] if values.ndim == 3 else 1
    chunk_table = clips.loc[clips.index.repeat(chunks)].reset_index(drop=True)
    return ProbeResult(composers, None, values.reshape(-1, values.shape[-1]), True), chunk_table


def _predictions(results: Mapping[str, tuple[ProbeResult, pd.DataFrame]], clips: pd.DataFrame) -> pd.DataFrame:
    of_clips = {name: result for name, (result, table) in results.items() if len(table) == len(clips)}
    parts = [scores.predictions(result, clips).assign(readout=name) for name, result in of_clips.items()]
    return pd.concat(parts, ignore_index=True)


def _metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """The scores of one readout that MLflow gets, under its name."""
    prefix = f"{values['readout']}." if values["readout"] else ""
    return {f"{prefix}{name}": value for name, value in values.items() if name in scores.METRICS and value is not None}
