"""Calls to MLflow about a run, as plain values that can be queued on disk, and how they are sent.

A call has a kind, its values and the time at which it was made, so that it means the same whenever it is sent. Sent
twice it changes nothing: a run is found again by its tag `local_id`; parameters, tags, data sets and files are replaced
by themselves; MLflow keeps one of several equal metrics; an image is looked for first. An image of which only the full
size arrived, without its thumbnail, is sent again under a second name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import filelock
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from symphony2vec.project import Project
from symphony2vec.tracking import server
from symphony2vec.tracking.provenance import Subject, dvc_hash, tags

Call = dict[str, Any]
LARGE = ("file", "folder")  # kinds that a server may need long to store
PARENT = "mlflow.parentRunId"
METRICS_PER_REQUEST = 500  # metrics of one request; MLflow takes 1,000


def now_ms() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def open_call(
    project: Project,
    subject: Subject,
    local_id: str,
    parameters: Mapping[str, Any],
    inputs: Iterable[Path] = (),
    stands_for: str = "",
) -> Call:
    """Return the call that opens a run, or continues the one of this id.

    Args:
        project: whose versions of code and data are noted.
        subject: what the run is about.
        local_id: the id of the run to continue, or a new one: the run's id here until MLflow has given one.
        parameters: flat names and plain values.
        inputs: files or folders that the run learns from.
        stands_for: the id of a finished run that is only added to; "" for a training.
    """
    run_parameters = {"row": subject.name, "model": subject.model, "representation": subject.input, **parameters}
    digests = [(path, dvc_hash(project, path)) for path in inputs]
    return {
        "call": "open",
        "stage": subject.stage,
        "name": subject.label,
        "local_id": local_id,
        "tags": tags(project, subject) | ({"stands_for": stands_for} if stands_for else {}) | {"local_id": local_id},
        "parameters": {name: str(value) for name, value in run_parameters.items()},
        "data": [
            {"source": str(project.home / inside), "name": inside.as_posix(), "digest": digest}
            for inside, digest in ((path.relative_to(project.root), digest) for path, digest in digests)
        ],
        "runs_again": not stands_for,
        "at_ms": now_ms(),
    }


def find_run(client: MlflowClient, stage: str, run_id: str) -> Any:
    """Return the run of this id, or else the one opened under it while the server was away; None without either.

    A deleted run counts as none.
    """

    try:
        run = client.get_run(run_id)
    except MlflowException as fault:
        if fault.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    else:
        if run.info.lifecycle_stage == "active":
            return run
    experiment = client.get_experiment_by_name(stage)
    if experiment is None:
        return None
    query = f"tags.local_id = '{run_id}'"
    return next(iter(client.search_runs([experiment.experiment_id], query, max_results=1)), None)


def open_run(client: MlflowClient, project: Project, call: Call, is_new: bool) -> str:
    """Send an opening call and return the id that MLflow gives; a run that `is_new` is not looked for first."""

    run = None if is_new else find_run(client, call["stage"], call["local_id"])
    if run is None:
        home = _experiment(client, project, call["stage"])
        run = client.create_run(home, start_time=call["at_ms"], tags=call["tags"], run_name=call["name"])
    else:
        _resume(client, run, call["runs_again"])
    run_id = str(run.info.run_id)
    if not run.data.params:
        client.log_batch(run_id, params=[Param(name, value) for name, value in call["parameters"].items()])
    if call["data"] and not (run.inputs and run.inputs.dataset_inputs):
        _log_inputs(client, run_id, [_dataset_input(data) for data in call["data"]])
    return run_id


def send_call(client: MlflowClient, run_id: str, call: Call, attachment: Any = None, repeated: bool = False) -> None:
    """Send a call about an open run.

    Args:
        client: of the server.
        run_id: the run's id there.
        call: any but an opening one.
        attachment: what belongs to it: an image (H, W, 3) uint8, or the path of a file or folder.
        repeated: whether it may have been sent before.
    """
    match call["call"]:
        case "metrics":
            client.log_batch(run_id, metrics=_metrics(call))
        case "image":
            if not (repeated and _has_image(client, run_id, call)):
                client.log_image(run_id, attachment, key=call["key"], step=call["step"], timestamp=call["at_ms"])
        case "file":
            client.log_artifact(run_id, str(attachment), call["folder"])
        case "folder":
            client.log_artifacts(run_id, str(attachment), call["name"])
        case "tag":
            client.set_tag(run_id, call["key"], _value(client, call))
        case "end":
            if call["failure"]:
                client.set_tag(run_id, "failure", call["failure"])
            client.set_terminated(run_id, call["status"], call["at_ms"])


def _value(client: MlflowClient, call: Call) -> str:
    """The value of a tag; the parent's is its id on this server, which was unknown while the server was silent."""
    if call["key"] != PARENT:
        return str(call["value"])
    parent = find_run(client, call["stage"], call["value"])
    return str(call["value"] if parent is None else parent.info.run_id)


def send_metrics(client: MlflowClient, run_id: str, calls: Iterable[Call]) -> None:
    """Send calls of the kind "metrics" in as few requests as MLflow allows."""
    metrics = [metric for call in calls for metric in _metrics(call)]
    for start in range(0, len(metrics), METRICS_PER_REQUEST):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_REQUEST])


def _metrics(call: Call) -> list[Metric]:
    return [Metric(name, value, call["at_ms"], call["step"]) for name, value in call["values"].items()]


def _has_image(client: MlflowClient, run_id: str, call: Call) -> bool:
    """Whether the run has an image in both sizes, the full one and the thumbnail."""
    start = f"images/{call['key'].replace('/', '~')}+step+{call['step']}+timestamp+{call['at_ms']}+"
    paths = [file.path for file in client.list_artifacts(run_id, "images") if file.path.startswith(start)]
    return {path.rpartition(".")[2] for path in paths} == {"png", "webp"}


def _resume(client: MlflowClient, run: Any, runs_again: bool) -> None:
    if "failure" in run.data.tags:
        client.delete_tag(run.info.run_id, "failure")
    if runs_again:
        client.update_run(run.info.run_id, status="RUNNING")


def _experiment(client: MlflowClient, project: Project, stage: str) -> str:
    """The id of the stage's experiment, created if it is missing."""
    project.mlruns.mkdir(exist_ok=True)
    with filelock.FileLock(project.mlruns / ".experiment.lock"):
        experiment = client.get_experiment_by_name(stage)
        if experiment is not None:
            if experiment.lifecycle_stage != "active":
                client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        return str(client.create_experiment(stage, artifact_location=server.artifact_root(project, stage)))


def _log_inputs(client: MlflowClient, run_id: str, data: list[DatasetInput]) -> None:
    """Log data sets. If two runs are the first to use one, MLflow refuses the slower, which then tries again."""
    try:
        client.log_inputs(run_id, data)
    except MlflowException as fault:
        if not re.search("unique|duplicate", str(fault), re.I):
            raise
        client.log_inputs(run_id, data)


def _dataset_input(data: Mapping[str, str]) -> DatasetInput:
    source = LocalArtifactDatasetSource(data["source"])
    dataset = MetaDataset(source=source, name=data["name"], digest=data["digest"] or None)
    tags = {MLFLOW_DATASET_CONTEXT: "training", **({"dvc.md5": data["digest"]} if data["digest"] else {})}
    return DatasetInput(dataset._to_mlflow_entity(), [InputTag(key, value) for key, value in tags.items()])
