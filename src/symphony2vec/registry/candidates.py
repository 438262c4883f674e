"""Resolve a query to a candidate for promotion: a run id, or a name such as "vae-mel" or "vae-mel work-0".

A model's name without a fold stands for its first fold of the split "work", or of any split if it has no fold of that
one. If out/ holds that model (trained here or restored by `dvc checkout`), the name resolves to the run that produced
it, otherwise to the newest finished run of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.project import Project, SplitFold

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Models are compared on this split: no work is in both training and test clips, except that composers with fewer than
# three works may be split by movement (clips.fallback).
SPLIT = "work"
FOLD = re.compile(r"(work|movement|clip)-([0-9]+)")
RUN_ID_PREFIX = re.compile(r"[0-9a-f]{8,32}")
NAME = re.compile(r"[\w.:/ -]*")
RUN_SOURCE = re.compile(r"runs:/([0-9a-f]{32})/model(?:-(.+))?")
MODEL_LOCATION = re.compile(r"/models/(m-[0-9a-f]{32})/artifacts/?$")
MAX_LISTED = 8  # names in a message
# Start of a filter for finished runs; an operator and a name follow.
FINISHED_RUN_NAME = "attributes.status = 'FINISHED' and attributes.run_name"


@dataclass(frozen=True)
class Candidate:
    """One readout of a run's model.

    A *readout* is a way to compute a vector from the same network: ALI has `crops` (mean over all crops) beside the
    default one (the middle crop). A run logs a model for the default readout; one of ALI logs another for `crops`, one
    of the temporal ALI another for `pooled`.

    Attributes:
        run: The MLflow run, with its parameters, metrics and tags.
        readout: Name of the readout; "" for the default one.
    """

    run: Run
    readout: str

    @property
    def run_id(self) -> str:
        """The run's MLflow ID, 32 hexadecimal digits."""
        return str(self.run.info.run_id)

    @property
    def artifact_name(self) -> str:
        """The name of the logged model; in a run of an earlier release that of the artifact folder."""
        return f"model-{self.readout}" if self.readout else "model"

    @property
    def source(self) -> str:
        """Return the model's MLflow URI, such as "runs:/<id>/model-crops"."""
        return f"runs:/{self.run_id}/{self.artifact_name}"

    @property
    def fold(self) -> str:
        """Return the fold's name, such as "work-0"."""
        return fold_name(self.run)

    @property
    def name(self) -> str:
        """Return the name shown to users, such as "long-128 crops work-0"."""
        return " ".join(part for part in (_model_name(self.run), self.readout, self.fold) if part)


def find_candidate(client: MlflowClient, query: str, readout: str = "", project: Project | None = None) -> Candidate:
    """Return the candidate that a query resolves to.

    Args:
        client: Client of the tracking server.
        query: A run id, its first eight or more digits, or a model's name with or without a fold.
        readout: Readout of the run's model; "" for the default one.
        project: Project whose out/ decides between several runs of one name; without it the newest run is returned.

    Raises:
        UserError: No run or several runs match, the run has not finished, its model is a classifier, or the run that
            produced the model in out/ is not in MLflow.
    """
    query = " ".join(query.split())
    for text in (query, readout):
        if not NAME.fullmatch(text):
            raise UserError(f"'{text}' is not a valid run or readout name: use letters, digits and _-.:/")
    run = _run_by_id(client, query) if RUN_ID_PREFIX.fullmatch(query) else _run_by_name(client, query, project)
    candidate = Candidate(run, readout)
    if _is_classifier(run):
        raise UserError(f"{candidate.name} is a classifier and gives no vectors; promote an embedding")
    if run.info.status != "FINISHED":
        raise UserError(
            f"run {candidate.run_id} ({candidate.name}) is {run.info.status}; only a finished run can be promoted"
        )
    return candidate


def candidate_of_source(client: MlflowClient, source: str) -> Candidate | None:
    """Return the candidate from which a version of the registered model was made.

    None if its run or logged model is not in MLflow (any more), or if symphony2vec did not register the version.

    Args:
        client: Client of the tracking server.
        source: Source of the version: the artifact location of a logged model, or, if an earlier release registered the
            version, "runs:/<id>/model[-<readout>]".
    """
    try:
        if model_id := logged_model_id(source):
            model = client.get_logged_model(model_id)
            uri = f"runs:/{model.source_run_id}/{model.name}"
        else:
            uri = source
        match = RUN_SOURCE.fullmatch(uri)
        return Candidate(client.get_run(match[1]), match[2] or "") if match else None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def logged_model_id(location: str) -> str:
    """Return the ID of the logged model whose artifact location this is; "" if it is another location."""
    match = MODEL_LOCATION.search(location)
    return match[1] if match else ""


def search_runs(client: MlflowClient, filter_string: str, experiments: Sequence[str] | None = None) -> list[Run]:
    """Return all runs that match an MLflow filter, newest first; of every experiment unless ids are given."""
    ids = experiments or [experiment.experiment_id for experiment in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    page = client.search_runs(ids, filter_string=filter_string, order_by=order)
    runs = list(page)
    while page.token:
        page = client.search_runs(ids, filter_string=filter_string, order_by=order, page_token=page.token)
        runs += page
    return runs


def fold_name(run: Run) -> str:
    """Return the fold of a run, such as "work-0"; runs of earlier releases have it under "draw"."""
    tags = run.data.tags
    return str(tags.get("fold") or tags.get("draw", ""))


def _run_by_id(client: MlflowClient, digits: str) -> Run:
    matches = search_runs(client, f"attributes.run_id LIKE '{digits}%'")
    if not matches:
        raise UserError(f"MLflow has no run whose id begins with {digits}")
    if len(matches) > 1:
        raise UserError(f"the ids of {len(matches)} runs begin with {digits}: {_list_runs(matches)}; give more digits")
    return matches[0]


def _run_by_name(client: MlflowClient, query: str, project: Project | None) -> Run:
    """Return the finished run of a model's name: the one that produced the model in out/, otherwise the newest one.

    If the name has no fold, the first fold is used.
    """
    records = [] if project is None else _records_in_out(project, query)
    if len(records) == 1:
        return _run_of_record(client, query, *records[0])
    # LIKE treats "_" as a wildcard, so names are compared once more here.
    similar = search_runs(client, f"{FINISHED_RUN_NAME} LIKE '{query}%'")
    matches = [run for run in similar if run.info.run_name == query]
    if not matches:
        matches = [run for run in similar if _model_name(run) == query]
        matches = [run for run in matches if _split_fold(run).split == SPLIT] or matches
        first_seed = min((_split_fold(run).seed for run in matches), default=0)
        matches = [run for run in matches if _split_fold(run).seed == first_seed]
    if not matches:
        related = search_runs(client, f"{FINISHED_RUN_NAME} LIKE '%{query.split(' ')[0]}%'")
        related = [run for run in related if run.data.tags.get("kind") == "embedding" and not _is_classifier(run)]
        names = sorted({_model_name(run) for run in related})
        hint = f"MLflow has {', '.join(names[:MAX_LISTED])}" if names else "`dvc repro` trains those of params.yaml"
        raise UserError(f"MLflow has no finished run named '{query}'; {hint}")
    newest = {run.info.experiment_id: run for run in reversed(matches)}
    if len(newest) > 1:
        raise UserError(
            f"'{query}' matches runs of several experiments: {_list_runs(list(newest.values()))}; give the run's id"
        )
    return matches[0]


def _records_in_out(project: Project, query: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return the run.json files in out/ that a name matches, one per stage, each with its content."""
    model, _, fold = query.partition(" ")
    if not model or "/" in model or model.startswith("."):
        return []
    by_stage: dict[str, dict[SplitFold, Path]] = {}
    for path in sorted(project.root.glob(f"out/*/{fold or '*'}/{model}/run.json")):
        stage, name = path.parts[-4:-2]
        if FOLD.fullmatch(name):
            by_stage.setdefault(stage, {})[SplitFold.parse(name)] = path
    records = []
    for paths in by_stage.values():
        folds = [split_fold for split_fold in paths if split_fold.split == SPLIT] or list(paths)
        path = paths[min(folds, key=lambda split_fold: split_fold.seed)]
        records.append((path, tracking.read_run_record(project, path.parent)))
    return records


def _run_of_record(client: MlflowClient, query: str, path: Path, record: Mapping[str, Any]) -> Run:
    """Return the run that produced a folder of out/; print a notice if it is not the newest of its name.

    Raises:
        UserError: The run is not in this MLflow.
    """
    run_id = tracking.find_run_id(client, record)
    run = client.get_run(run_id) if run_id else None
    if run is None or "stands_for" in run.data.tags:
        stage, fold, model = path.parts[-4:-1]
        same_name = search_runs(client, f"{FINISHED_RUN_NAME} = '{model} {fold}'")
        others = [run for run in same_name if "stands_for" not in run.data.tags]
        hint = f", or promote another run of that name: {_list_runs(others)}" if others else ""
        raise UserError(
            f"out/{stage}/{fold}/{model} was trained elsewhere: this MLflow has no run that produced it; run "
            f"`dvc repro -f` for its stage to train it here{hint}"
        )
    newest = search_runs(client, f"{FINISHED_RUN_NAME} = '{run.info.run_name}'", [run.info.experiment_id])
    if newest and newest[0].info.run_id != run.info.run_id:
        tracking.print_notice(
            f"'{query}' is run {run.info.run_id[:12]}, which made the model in out/; the newest run of that name is "
            f"{newest[0].info.run_id[:12]}: give its id to promote it"
        )
    return run


def _is_classifier(run: Run) -> bool:
    """Return whether a run's model predicts composers and has no vectors.

    Earlier releases gave the classifiers of the stages `ali` and `temporal` the tag "embedding"; their names tell.
    """
    return run.data.tags.get("kind") == "classifier" or run.data.params.get("model") in tracking.CLASSIFIERS.values()


def _model_name(run: Run) -> str:
    """Return the name of a run without its fold."""
    return str(run.info.run_name).removesuffix(f" {fold_name(run)}")


def _split_fold(run: Run) -> SplitFold:
    match = FOLD.fullmatch(fold_name(run))
    return SplitFold(match[1], int(match[2])) if match else SplitFold("", 0)


def _list_runs(runs: list[Run]) -> str:
    rest = f" and {len(runs) - MAX_LISTED} more" if len(runs) > MAX_LISTED else ""
    return ", ".join(f"{run.info.run_name} {run.info.run_id[:12]}" for run in runs[:MAX_LISTED]) + rest
