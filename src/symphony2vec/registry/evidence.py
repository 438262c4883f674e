"""What MLflow knows of a model's worth: its test works in every fold, and which data that was measured on.

The runs of one training configuration share the parameter `settings_key`, one run a fold; each carries probe/works.csv
(work, clips, right, readout). Nothing is read from out/: the champion may be older than what lies there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.artifacts import download_artifacts, list_artifacts

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project, read_table
from symphony2vec.registry.candidates import SPLIT, Candidate, fold_name, runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

WORKS = "probe/works.csv"
SOUND, FEATURES = "audio.", "features."  # parameters that say how the music was played, and how it was turned to arrays
CLIPS = "out/clips/clips.csv"


@dataclass(frozen=True)
class FoldEvidence:
    """One fold of one model.

    works: one row a test work (work, clips, right), None where the probe has not run; clips_key: hash of the clips
    and their sides; settings: how the music was played and turned to arrays; seen: the array that the model learned
    from; array: DVC's hash of it (of its folder, where that ends in ".dir"), "" where it has none.
    """

    name: str
    run_id: str
    works: pd.DataFrame | None
    clips_key: str
    settings: Mapping[str, str]
    seen: str
    array: str


def gathered(client: MlflowClient, project: Project, candidate: Candidate) -> dict[str, FoldEvidence]:
    """Every fold of whole works that a candidate's configuration was trained on, by name, in the order of their seeds.

    Of several runs of one fold the newest counts, but for the candidate's own fold its own run.
    """
    own = candidate.run
    key = own.data.params.get("settings_key", "")
    kin = []
    if key:
        wanted = f"attributes.status = 'FINISHED' and params.settings_key = '{key}'"
        kin = runs(client, wanted, [own.info.experiment_id])
    by_fold: dict[str, Run] = {}
    for run in [own, *kin]:
        if run.data.params.get("split") == SPLIT and fold_name(run):
            by_fold.setdefault(fold_name(run), run)
    ordered = sorted(by_fold.values(), key=lambda run: int(run.data.params["seed"]))
    return {fold_name(run): _evidence(project, run, candidate.readout) for run in ordered}


def _evidence(project: Project, run: Run, readout: str) -> FoldEvidence:
    settings = {name: value for name, value in run.data.params.items() if name.startswith((SOUND, FEATURES))}
    seen = next((one for one in run.inputs.dataset_inputs if one.dataset.name != CLIPS), None)
    hashes = [tag.value for tag in seen.tags if tag.key == "dvc.md5"] if seen else []
    return FoldEvidence(
        name=fold_name(run),
        run_id=run.info.run_id,
        works=_works(project, run, readout),
        clips_key=run.data.params.get("clips_key", ""),
        settings=settings,
        seen=seen.dataset.name if seen else "",
        array=hashes[0] if hashes else "",
    )


def _works(project: Project, run: Any, readout: str) -> pd.DataFrame | None:
    """The test works of one run in one readout; None where the probe has not told them."""

    server, folder = tracking.uri(project), f"runs:/{run.info.run_id}/{WORKS.rpartition('/')[0]}"
    if WORKS not in {one.path for one in list_artifacts(artifact_uri=folder, tracking_uri=server)}:
        return None
    with tempfile.TemporaryDirectory() as place:
        uri = f"runs:/{run.info.run_id}/{WORKS}"
        table = read_table(Path(download_artifacts(artifact_uri=uri, dst_path=place, tracking_uri=server)), "probe")
    table = table.rename(columns={"reading": "readout"})  # as earlier versions called it
    missing = {"work", "clips", "right", "readout"} - set(table.columns)
    if missing:
        raise UserError(f"{WORKS} of the run {run.info.run_id} has no {', '.join(sorted(missing))}; probe it again")
    own = table[table["readout"] == readout]
    return own.sort_values("work").reset_index(drop=True) if len(own) else None
