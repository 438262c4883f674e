"""Collect the evidence on a model from MLflow: its results on the test works of every fold, and the data behind them.

The runs of one training configuration share the parameter `settings_key`; one run counts for each fold, see
`collect_evidence`. A probed run has probe/works.csv (work, readout, and the columns of `statistics.LEVELS`). Nothing is
read from out/, because the champion may be older than its contents.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from mlflow.artifacts import download_artifacts, list_artifacts

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.evaluation import statistics
from symphony2vec.project import Project, read_table
from symphony2vec.registry.candidates import SPLIT, Candidate, fold_name, search_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

WORKS = "probe/works.csv"
AUDIO, FEATURES = "audio.", "features."  # prefixes of the parameters of rendering or decoding, and of the features
CONTAMINATED_TEST_WORKS = "test_works_in_training"  # metric that the stage `pretrained` logs
CLIPS = "out/clips/clips.csv"


@dataclass(frozen=True)
class FoldEvidence:
    """One fold of one model.

    Attributes:
        name: Fold, such as "work-0".
        run_id: MLflow run.
        works: One row per test work (work, and the columns of `statistics.LEVELS`); None if the fold was not probed.
        clips_key: Hash of the clips and their splits.
        settings: Parameters of the audio and of the features.
        dataset: Input file of the run, such as "out/features/mel.npy"; of a pretrained model "out/audio/movements.csv".
        dataset_hash: DVC's hash of it (of its folder if it ends in ".dir"); "" if there is none.
        contaminated_test_works: Number of test works that are in the model's training data, or may be; above 0 only for
            pretrained models.
    """

    name: str
    run_id: str
    works: pd.DataFrame | None
    clips_key: str
    settings: Mapping[str, str]
    dataset: str
    dataset_hash: str
    contaminated_test_works: int = 0


def collect_evidence(
    client: MlflowClient, project: Project, candidate: Candidate, level: str = "clip"
) -> dict[str, FoldEvidence]:
    """Return the evidence of every fold of the split "work" in which a candidate's configuration was trained.

    The keys are the names of the folds, in order of their seeds. Of several runs of one fold the newest is used, except
    that the candidate's own run is used for its own fold.

    Raises:
        UserError: A run has no counts of this level (clip, movement or work).
    """
    run = candidate.run
    settings_key = run.data.params.get("settings_key", "")
    siblings = []
    if settings_key:
        same_settings = f"attributes.status = 'FINISHED' and params.settings_key = '{settings_key}'"
        siblings = search_runs(client, same_settings, [run.info.experiment_id])
    run_by_fold: dict[str, Run] = {}
    for fold_run in [run, *siblings]:
        if fold_run.data.params.get("split") == SPLIT and fold_name(fold_run):
            run_by_fold.setdefault(fold_name(fold_run), fold_run)
    ordered = sorted(run_by_fold.values(), key=lambda fold_run: int(fold_run.data.params["seed"]))
    return {fold_name(fold_run): _evidence_of_run(project, fold_run, candidate.readout, level) for fold_run in ordered}


def _evidence_of_run(project: Project, run: Run, readout: str, level: str) -> FoldEvidence:
    dataset = next((item for item in run.inputs.dataset_inputs if item.dataset.name != CLIPS), None)
    hashes = [tag.value for tag in dataset.tags if tag.key == "dvc.md5"] if dataset else []
    return FoldEvidence(
        name=fold_name(run),
        run_id=run.info.run_id,
        works=_download_works(project, run.info.run_id, readout, level),
        clips_key=run.data.params.get("clips_key", ""),
        settings={name: value for name, value in run.data.params.items() if name.startswith((AUDIO, FEATURES))},
        dataset=dataset.dataset.name if dataset else "",
        dataset_hash=hashes[0] if hashes else "",
        contaminated_test_works=int(run.data.metrics.get(CONTAMINATED_TEST_WORKS, 0)),
    )


def _download_works(project: Project, run_id: str, readout: str, level: str) -> pd.DataFrame | None:
    """Return the test works of one readout of a run; None if it has not been probed."""
    server = tracking.tracking_uri(project)
    files = list_artifacts(artifact_uri=f"runs:/{run_id}/{WORKS.rpartition('/')[0]}", tracking_uri=server)
    if WORKS not in {file.path for file in files}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = download_artifacts(artifact_uri=f"runs:/{run_id}/{WORKS}", dst_path=folder, tracking_uri=server)
        table = read_table(Path(path), "probe")
    table = table.rename(columns={"reading": "readout"})  # its name in earlier releases
    missing = {"work", "readout", *statistics.LEVELS["clip"], statistics.LEVELS[level][1]} - set(table.columns)
    if missing:
        raise UserError(f"{WORKS} of run {run_id} has no column {', '.join(sorted(missing))}; probe it again")
    works = table[table["readout"] == readout]
    return works.sort_values("work").reset_index(drop=True) if len(works) else None
